"""Settings as one frozen value, and what the variables of the environment say of it.

This file knows no HTTP library and opens no socket.
"""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec

from .environment import variables
from .errors import SettingsError, unseen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Secret", "ServerProfile", "Settings", "Tls", "read_database", "read_environment"]

# Bytes of a file that are read for a password in its first line: a device would not end.
_LONGEST = 65_536
ROOT = "/Integra/resources/"
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")
_PIN = re.compile(r"[0-9A-Fa-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")


class Secret:
    """A password or token that never shows itself: ``reveal()`` is the only way to its text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Keep ``text`` out of every ``repr``, format and pickle."""
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled; build the client where it is used, from the environment")


class ServerProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What is declared about one server, because the vendor's page does not say it.

    ``trust_429`` and ``trust_retry_after_503``: such an answer means that nothing was done. Turn either off and it
    becomes an unknown outcome. ``trust_503``: the same for a 503 without Retry-After (off: ``reliability.md`` 1.4).
    ``login_page``: a 302 or 303 to a path with this last part (extension and case aside) is a refused token.
    ``campaign_arrows``: dialer campaigns must end in ``<-`` or ``->``.
    ``hangup``: which of the two published spellings of the endpoint that hangs up a phone it has. ``lateness``: for how
    many seconds it may still do what it was sent after the answer was lost. ``removes_one_second``: a removal of
    scheduled calls with from = to takes off a call of that very second. ``removes_tasks``: so it does a dialer task
    with a calldate. ``refuses_empty_removal``: a removal that finds nothing is answered 0.

    ``ucontact-async probe`` writes one as TOML; :meth:`read` reads it. What it leaves out is the careful answer.
    """

    trust_429: bool = True
    trust_retry_after_503: bool = True
    trust_503: bool = False
    login_page: str = "login"
    campaign_arrows: bool = True
    hangup: Literal["HungupPhone", "HangupPhone"] = "HungupPhone"
    lateness: float = 300.0
    removes_one_second: bool = False
    removes_tasks: bool = False
    refuses_empty_removal: bool = False

    @property
    def quarantine(self) -> float:
        """For how many seconds a call is left alone of which nobody knows: ten minutes, twice the lateness at least."""
        return max(600.0, 2 * self.lateness)

    @classmethod
    def read(cls, path: str | Path) -> ServerProfile:
        """Read the TOML file at ``path``; raise :class:`SettingsError` for what is not in a profile."""
        try:
            document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SettingsError(f"the server profile {path} cannot be read: {error}") from None
        if unknown := sorted(set(document) - set(cls.__struct_fields__)):
            raise SettingsError(f"the server profile {path} has no setting {unknown[0]!r}")
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise SettingsError(f"the server profile {path}: {error}") from None


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Whom TLS trusts, and who we are: certificates are always verified, and nothing below TLS 1.2 is spoken.

    ``ca``: a PEM file of trusted authorities, in the place of the system's; the own certificate of a server that signed
    itself will do. ``pins``: SHA-256 fingerprints in hex, with or without colons (``openssl x509 -noout -fingerprint
    -sha256``); the server's certificate must, beside being valid, be one of them, and so must those of the hosts of
    recordings. ``cert`` and ``key``: PEM files of our own certificate and its key, which may be in one file;
    ``key_password`` opens it. There is no way to leave certificates unverified.
    """

    ca: Path | None = None
    pins: tuple[str, ...] = ()
    cert: Path | None = None
    key: Path | None = None
    key_password: Secret | None = None

    def __post_init__(self) -> None:
        for pin in self.pins:
            if not _PIN.fullmatch(pin.replace(":", "")):
                raise SettingsError("a pin is a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons")
        if self.cert is None and (self.key is not None or self.key_password is not None):
            raise SettingsError("the key of a client certificate needs the certificate: UCONTACT_CLIENT_CERT")

    @property
    def fingerprints(self) -> frozenset[bytes]:
        """The pins as bytes."""
        return frozenset(bytes.fromhex(pin.replace(":", "")) for pin in self.pins)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a client needs to know before it opens its first connection."""

    url: str
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    token_scheme: Literal["Basic", "Bearer"] = "Basic"
    timezone: ZoneInfo | None = None
    records: str | None = None
    backup_records: str | None = None
    connection: Literal["keep", "fresh"] = "keep"
    lane: Literal["auto", "session", "command"] = "auto"
    tls: Tls = Tls()
    timeout: float = 30.0
    wait: float = 30.0
    profile: ServerProfile = ServerProfile()

    def __post_init__(self) -> None:
        if self.token is None and (self.user is None or self.password is None):
            raise SettingsError("give user and password (UCONTACT_USER, UCONTACT_PASSWORD), or a token")
        if self.token_scheme not in ("Basic", "Bearer"):
            raise SettingsError(f"token_scheme is Basic or Bearer, not {self.token_scheme!r}")
        if self.connection not in ("keep", "fresh"):
            raise SettingsError(f"connection is 'keep' or 'fresh', not {self.connection!r}")
        if self.lane not in ("auto", "session", "command"):
            raise SettingsError(f"lane is 'auto', 'session' or 'command', not {self.lane!r}")
        if self.profile.hangup not in ("HungupPhone", "HangupPhone"):
            raise SettingsError(f"hangup is 'HungupPhone' or 'HangupPhone', not {self.profile.hangup!r}")
        if not self.profile.lateness >= 0:
            raise SettingsError(f"lateness is in seconds, 0 or more, not {self.profile.lateness!r}")
        if self.token is not None and not re.fullmatch(r"[\x21-\x7e]+", self.token.reveal()):
            raise SettingsError("the token holds characters that an HTTP header cannot carry")
        if not (self.timeout > 0 and self.wait > 0):
            raise SettingsError("timeout and wait are seconds, greater than 0")

    @classmethod
    @unseen
    def of(
        cls,
        *,
        url: str,
        login: tuple[str | None, str | Secret | None, str | Secret | None, Literal["Basic", "Bearer"]],
        timezone: str | ZoneInfo | None,
        recordings: tuple[str | None, str | None],
        way: tuple[Literal["keep", "fresh"], Literal["auto", "session", "command"]],
        ca: str | Path | None,
        tls: Tls | None,
        profile: ServerProfile | str | Path | None,
    ) -> Settings:
        """Return what a client was given, checked; raises :class:`SettingsError`.

        ``login`` is user, password, token and the token's scheme, ``recordings`` the hosts of recordings and their
        backup, ``way`` connection and lane.
        """
        user, password, token, scheme = login
        hosts = [None if host is None else origin_of(host) for host in recordings]
        return cls(
            url=origin_of(url),
            user=user,
            password=Secret(password) if isinstance(password, str) else password,
            token=Secret(token) if isinstance(token, str) else token,
            token_scheme=scheme,
            timezone=zone_of(timezone),
            records=hosts[0],
            backup_records=hosts[1],
            connection=way[0],
            lane=way[1],
            tls=(tls or Tls()) if ca is None else msgspec.structs.replace(tls or Tls(), ca=Path(ca)),
            profile=ServerProfile.read(profile) if isinstance(profile, str | Path) else profile or ServerProfile(),
        )

    @property
    def hosts_of_recordings(self) -> list[str]:
        """Where recordings are, the host to ask first before its backup."""
        hosts = (self.records or self.url, self.backup_records)
        return [host for host in hosts if host is not None]

    def path(self, endpoint: str) -> str:
        """Return the path on the server of an endpoint; one that starts with ``/`` is taken as it is."""
        if endpoint == "Agents/HungupPhone":
            endpoint = f"Agents/{self.profile.hangup}"
        return endpoint if endpoint.startswith("/") else ROOT + endpoint


def origin_of(url: str) -> str:
    """Return scheme, host and port of ``url``; refuse what is not a plain server address, warn of one without TLS."""
    origin = plain_origin(url)
    host = urlsplit(origin).hostname or ""
    if origin.startswith("http:") and not _LOOPBACK.fullmatch(host):
        warnings.warn(
            f"{host} is addressed over http://: password, token and phone numbers travel in the clear",
            stacklevel=5,
        )
    return origin


def plain_origin(url: str) -> str:
    """Return scheme, host and port of ``url``; refuse what is not a plain server address."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # its own text may quote the address, and so a password in it
        raise SettingsError("the server address cannot be read; write it as https://acme.ucontactcloud.com") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            "the server address must start with https:// (or http://), such as https://acme.ucontactcloud.com"
        )
    if "@" in parts.netloc:
        raise SettingsError("put user and password beside the server address, not into it")
    if parts.query or parts.fragment or parts.path.rstrip("/") not in ("", ROOT.rstrip("/"), "/Integra"):
        raise SettingsError("the server address is scheme, host and port only, such as https://acme.ucontactcloud.com")
    if not _HOST.fullmatch(parts.netloc):
        raise SettingsError("the server address holds characters that no host name has")
    if not all(0 < len(label) <= 63 for label in parts.hostname.removesuffix(".").split(".")):
        raise SettingsError("a part of the server's name is empty, or longer than 63 characters")
    try:
        port_is_wrong = parts.port == 0 or parts.netloc.endswith(":")
    except ValueError:
        port_is_wrong = True
    if port_is_wrong:
        raise SettingsError("the port of the server address is not a number from 1 to 65535")
    return f"{parts.scheme}://{parts.netloc}"


def zone_of(name: str | ZoneInfo | None) -> ZoneInfo | None:
    """Return the time zone called ``name``, such as ``America/Montevideo``."""
    if name is None or isinstance(name, ZoneInfo):
        return name
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise SettingsError(
            f"no time zone {name!r} here; use an IANA name such as America/Montevideo "
            "(where the system has none: pip install tzdata)"
        ) from None


def read_environment(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what the ``UCONTACT_*`` variables say, by our parameter names; secrets as :class:`Secret`.

    ``UCONTACT_PASSWORD_FILE`` names a file whose first line is the password (Docker and Kubernetes secrets).
    ``UCONTACT_PIN`` holds fingerprints, blanks between them.
    """
    try:
        return _read_environment(variables() if environ is None else environ)
    finally:
        del environ


@unseen
def _read_environment(source: Mapping[str, str]) -> dict[str, Any]:
    names = {
        "UCONTACT_URL": "url",
        "UCONTACT_USER": "user",
        "UCONTACT_PASSWORD": "password",
        "UCONTACT_TOKEN": "token",
        "UCONTACT_TOKEN_SCHEME": "token_scheme",
        "UCONTACT_TIMEZONE": "timezone",
        "UCONTACT_RECORDS_URL": "records",
        "UCONTACT_BACKUP_RECORDS_URL": "backup_records",
        "UCONTACT_PROFILE": "profile",
    }
    found: dict[str, Any] = {ours: source[theirs] for theirs, ours in names.items() if source.get(theirs)}
    if "password" not in found and (file := source.get("UCONTACT_PASSWORD_FILE")):
        found["password"] = _first_line("UCONTACT_PASSWORD_FILE", file)
    for name in ("password", "token"):
        if name in found:
            found[name] = Secret(found[name])
    if (tls := _read_tls(source)) != Tls():
        found["tls"] = tls
    return found


def _read_tls(source: Mapping[str, str]) -> Tls:
    files = {"ca": "UCONTACT_CA", "cert": "UCONTACT_CLIENT_CERT", "key": "UCONTACT_CLIENT_KEY"}
    given = {ours: Path(source[theirs]) for ours, theirs in files.items() if source.get(theirs)}
    password: str | None = source.get("UCONTACT_CLIENT_KEY_PASSWORD")
    if not password and (file := source.get("UCONTACT_CLIENT_KEY_PASSWORD_FILE")):
        password = _first_line("UCONTACT_CLIENT_KEY_PASSWORD_FILE", file)
    return Tls(
        ca=given.get("ca"),
        pins=tuple(source.get("UCONTACT_PIN", "").split()),
        cert=given.get("cert"),
        key=given.get("key"),
        key_password=Secret(password) if password else None,
    )


def _first_line(variable: str, file: str) -> str:
    """Return the first line of ``file``; refuse one that is ours and that others can read."""
    try:
        with Path(file).open(encoding="utf-8") as opened:
            refuse_open(variable, opened.fileno(), file)
            line = opened.read(_LONGEST).splitlines()[0]
    except (OSError, ValueError, IndexError):
        raise SettingsError(f"{variable}: cannot read a password from {file}") from None
    if not line:
        raise SettingsError(f"{variable}: the first line of {file} is empty; write the password there")
    return line


def refuse_open(variable: str, descriptor: int, file: str) -> None:
    """Refuse a secret file of our own that other users can read; what an orchestrator mounts is its own business."""
    if os.name != "posix":
        return
    found = os.fstat(descriptor)
    mounted = os.fstatvfs(descriptor).f_flag & os.ST_RDONLY or Path(file).resolve().is_relative_to("/run/secrets")
    if found.st_uid == os.geteuid() and found.st_mode & 0o077 and not mounted:
        mode = f"{found.st_mode & 0o777:03o}"
        raise SettingsError(f"{variable}: other users can read {file} (mode {mode}); say chmod 600 {file}")


def read_database(environ: Mapping[str, str] | None = None) -> str | None:
    """Return where the fleet's database is: ``UCONTACT_DATABASE``."""
    return (variables() if environ is None else environ).get("UCONTACT_DATABASE") or None
