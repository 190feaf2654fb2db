"""``doctor``: what a run needs, looked at one by one, each with the next step where it is wanting."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .command import CHECK_LOGIN, DONE, INCOMPLETE, USAGE, add_server, client_of, tell
from .language import translated

if TYPE_CHECKING:
    import asyncio
    import ssl

    from ..client import UContact
    from ..settings import Settings

__all__ = ["add_parser"]

_DISTRIBUTION = "ucontact-async"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*\bextra\s*==\s*['\"]([^'\"]+)['\"])?")
# Seconds to connect, and by how many two clocks may differ before calls are wrong by a minute.
_PATIENCE, _SKEW = 10.0, 10.0
_EXPIRES = timedelta(days=14)


class Finding(NamedTuple):
    """What was looked at, whether it is well (``None``: it is as it is), and a sentence."""

    what: str
    well: bool | None
    text: str


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    what = "look at settings, installation, clock, TLS, login and logout; it changes nothing"
    parser = commands.add_parser("doctor", help=what)
    parser.add_argument("--offline", action="store_true", help="ask the server nothing")
    add_server(parser, profile=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell what is found; 0 if all is well, 2 if it is the settings that are not, 1 for anything else."""
    import asyncio

    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    from ..errors import UContactError
    from ..trust import trust_of

    bad = sum(map(_tell, _installation()))
    try:
        uc = client_of(args)
        trust_of(uc.settings)
    except UContactError as error:
        return _conclude(bad + _tell(Finding("settings", well=False, text=str(error))), USAGE)
    bad += sum(map(_tell, _settings(uc.settings)))
    if not args.offline:
        async for finding in _server(uc):
            bad += _tell(finding)
    await uc.aclose()
    return _conclude(bad, INCOMPLETE)


def _conclude(bad: int, code: int) -> int:
    tell("all is well" if not bad else f"to be mended: {bad}")
    return code if bad else DONE


def _tell(finding: Finding) -> bool:
    mark = {True: "ok", False: "BAD", None: "--"}[finding.well]
    tell(f"{translated(mark):<4}{translated(finding.what):<18}{translated(finding.text)}")
    return finding.well is False


def _installation() -> Iterator[Finding]:
    from importlib import metadata

    from .. import __version__
    from ..batch.journal_calls import sqlite_version
    from ..errors import JournalError

    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("version", well=None, text=f"ucontact-async {__version__}, Python {python} on {sys.platform}")
    try:
        yield Finding("SQLite", well=True, text=f"{sqlite_version()}, for the journal")
    except JournalError as error:
        yield Finding("SQLite", well=False, text=str(error))
    needed: dict[str, list[str]] = {}
    try:
        requirements = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", well=None, text="not installed as a package: extras are not known")
        return
    for requirement in requirements:
        if (match := _REQUIREMENT.match(requirement)) and match[1] != _DISTRIBUTION:
            needed.setdefault(match[2] or "", []).append(match[1])
    for extra, names in needed.items():
        if not extra.startswith("test"):
            yield _packages(extra, names)


# The fork of an archived package has its import name.
_STAND_INS = {"backoff": ("python-backoff",)}


def _packages(extra: str, names: list[str]) -> Finding:
    from importlib import metadata

    found, missing = [], []
    for name in names:
        for installed in (name, *_STAND_INS.get(name, ())):
            with contextlib.suppress(metadata.PackageNotFoundError):
                found.append(f"{installed} {metadata.version(installed)}")
                break
        else:
            missing.append(name)
    if not extra:
        absent = [name for name in missing if name != "tzdata"]  # asked for on Windows only
        text = f"missing: {', '.join(absent)}; python -m pip install {' '.join(absent)}" if absent else ", ".join(found)
        return Finding("packages", well=not absent, text=text)
    how = f"not installed, for what needs it: python -m pip install '{_DISTRIBUTION}[{extra}]'"
    return Finding(f"extra {extra}", well=None if missing else True, text=how if missing else ", ".join(found))


def _settings(settings: Settings) -> Iterator[Finding]:
    given = f"a given {settings.token_scheme} token"
    who = f"user {settings.user!r} with a password" if settings.token is None else given
    yield Finding("settings", well=True, text=f"{settings.url}, {translated(who)}")
    zone = settings.timezone
    if zone is None:
        why = "the server's is not known, so no date can be sent: set UCONTACT_TIMEZONE, or give --timezone"
        yield Finding("time zone", well=False, text=why)
    else:
        yield Finding("time zone", well=True, text=f"{zone}: the server has {datetime.now(zone):%Y-%m-%d %H:%M}")


async def _server(uc: UContact) -> AsyncIterator[Finding]:
    import logging

    from ..errors import UContactError, Unauthorized

    warnings: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("ucontact_async.tokens")
    log.addHandler(handler)
    try:
        reached = True
        async for finding in _connection(uc.settings):
            reached = reached and finding.well is not False
            yield finding
        if not reached:
            return
        try:
            queues = await uc.campaigns.summary()
        except UContactError as error:
            hint = f"; {translated(CHECK_LOGIN)}" if isinstance(error, Unauthorized) else ""
            yield Finding("login", well=False, text=f"{type(error).__name__}: {translated(str(error))}{hint}")
            return
        yield Finding("login", well=True, text=f"it answers a read: {len(queues)} queues")
        await uc.aclose()
        if uc.settings.token is None:
            yield Finding("logout", well=not warnings, text=warnings[0] if warnings else "the session was ended")
    finally:
        await uc.aclose()
        log.removeHandler(handler)


async def _connection(settings: Settings) -> AsyncIterator[Finding]:
    import asyncio
    import ssl

    from ..pool import cause_of
    from ..trust import trust_of

    parts = urlsplit(settings.url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        async with asyncio.timeout(_PATIENCE):
            trust = trust_of(settings) if secure else None
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=trust)
    except ssl.SSLError as error:
        yield Finding("TLS", well=False, text=f"{translated(cause_of(error))}; {translated(_next_step(error))}")
        return
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no connection within {_PATIENCE:g} s"
        yield Finding("connection", well=False, text=f"{parts.hostname}, port {port}: {why}; check the address")
        return
    try:
        yield _tls(writer.get_extra_info("ssl_object"))
        async with asyncio.timeout(_PATIENCE):
            yield await _clock(reader, writer, parts.netloc)
    except (OSError, ValueError):  # a time-out is the one, a line without end the other
        yield Finding("clock", well=None, text="the server does not say what time it is")
    finally:
        writer.close()


def _next_step(error: ssl.SSLError) -> str:
    # X509_V_ERR of OpenSSL: 18 to 21 are certificates of nobody who is trusted; a wrong pin has no number.
    code = getattr(error, "verify_code", None)
    if code in (18, 19, 20, 21):
        return "name its authority with --ca (UCONTACT_CA)"
    if code:
        return "the server's certificate has to be mended"
    if "pinned" in str(error):
        return "look whether the server's certificate was renewed, and mend --pin (UCONTACT_PIN)"
    if "ALERT" in (error.reason or ""):  # what the server says of us
        return "the server wants something else of us, such as --client-cert (UCONTACT_CLIENT_CERT)"
    return "check the address: does that port speak TLS?"


def _tls(connection: Any) -> Finding:
    import ssl

    if connection is None:
        return Finding("TLS", well=None, text="none: with http:// everything travels in the clear")
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(connection.getpeercert()["notAfter"]), UTC)
    text = f"{connection.version()}, the certificate ends on {ends:%Y-%m-%d}"
    return Finding("TLS", well=True if ends - datetime.now(UTC) > _EXPIRES else None, text=text)


async def _clock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> Finding:
    from email.utils import parsedate_to_datetime

    writer.write(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii"))
    while (line := (await reader.readline()).decode("latin-1").strip()) and not line.lower().startswith("date:"):
        pass
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(line[5:].strip())).total_seconds()
    except (ValueError, TypeError):
        return Finding("clock", well=None, text="the server does not say what time it is")
    if abs(skew) <= _SKEW:
        return Finding("clock", well=True, text=f"within {_SKEW:g} s of the server's")
    way = "ahead of" if skew > 0 else "behind"
    text = f"{abs(skew):.0f} s {way} the server's; set this machine's (timedatectl, NTP)"
    return Finding("clock", well=False, text=text)
