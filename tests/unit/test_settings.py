"""Settings: what is refused and in which words, what the environment says, and that secrets stay secret."""

import copy
import pickle
import traceback
import warnings
from pathlib import Path
from typing import get_args, get_type_hints
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ucontact_async import UContact
from ucontact_async.api import ENDPOINTS
from ucontact_async.errors import SettingsError
from ucontact_async.settings import Secret, ServerProfile, Settings, origin_of, read_environment, zone_of

CANARY = "s3cr3t-canary"
URL = "https://acme.ucontactcloud.com"
LOGIN = {"UCONTACT_URL": URL, "UCONTACT_USER": "api", "UCONTACT_PASSWORD": CANARY}


def settings(**changes):
    """Return sound settings with ``changes``."""
    return Settings(**{"url": URL, "user": "api", "password": Secret(CANARY)} | changes)


class TestSecret:
    """A secret never shows itself."""

    @pytest.mark.parametrize(
        "show",
        [
            repr,
            str,
            "{}".format,
            "{0!r}".format,
            "%s".__mod__,
            "%r".__mod__,
            lambda secret: f"{secret}",
            lambda secret: f"{[secret]} { ({'a': secret}) }",
            lambda secret: "".join(traceback.TracebackException.from_exception(KeyError(secret)).format()),
        ],
    )
    def test_it_is_not_shown(self, show):
        """No way to make text of it gives the text."""
        assert CANARY not in show(Secret(CANARY))

    @pytest.mark.parametrize("clone", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_it_is_not_pickled(self, clone):
        """Pickle and its kin are refused with what to do instead, and the refusal does not quote it."""
        with pytest.raises(TypeError, match="from the environment") as caught:
            clone(Secret(CANARY))
        assert CANARY not in str(caught.value)

    @pytest.mark.parametrize("encode", [msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins])
    def test_it_is_not_encoded(self, encode):
        """No serialiser finds a way into it."""
        with pytest.raises(TypeError):
            encode(Secret(CANARY))

    def test_it_has_one_door(self):
        """``reveal`` gives the text; nothing else of it is public."""
        assert Secret(CANARY).reveal() == CANARY
        assert [name for name in dir(Secret) if not name.startswith("_")] == ["reveal"]
        assert not hasattr(Secret(CANARY), "__dict__")

    def test_it_compares_by_value(self):
        """Equal texts are equal secrets, and a secret is not equal to its text."""
        assert Secret("a") == Secret("a")
        assert Secret("a") != Secret("b")
        assert Secret("a") != "a"
        assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


class TestSettings:
    """What cannot work is refused before anything is opened."""

    @pytest.mark.parametrize("show", [repr, str, "{}".format])
    def test_no_secret_is_shown(self, show):
        """Neither password nor token is in any text made of settings."""
        shown = show(settings(token=Secret(CANARY)))
        assert URL in shown
        assert CANARY not in shown

    def test_no_secret_in_a_rich_repr(self):
        """The pretty printer of rich sees the mask too."""
        assert CANARY not in repr(list(settings(token=Secret(CANARY)).__rich_repr__()))

    def test_they_are_not_pickled(self):
        """Settings that hold a secret do not leave the process."""
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(settings())

    def test_they_are_frozen(self):
        """Settings in force do not change under a running client."""
        with pytest.raises(AttributeError):
            settings().url = "https://elsewhere"

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"password": None}, "UCONTACT_PASSWORD"),
            ({"user": None}, "UCONTACT_USER"),
            ({"token_scheme": "Digest"}, "Basic or Bearer"),
            ({"connection": "reuse"}, "'keep' or 'fresh'"),
            ({"lane": "fast"}, "'auto', 'session' or 'command'"),
            ({"profile": ServerProfile(hangup="HangUpPhone")}, "'HungupPhone' or 'HangupPhone'"),
            ({"timeout": 0}, "greater than 0"),
            ({"timeout": float("nan")}, "greater than 0"),
            ({"wait": -1}, "greater than 0"),
        ],
    )
    def test_what_cannot_work_is_refused(self, changes, said):
        """The message names what may be given instead."""
        with pytest.raises(SettingsError, match=said):
            settings(**changes)

    @pytest.mark.parametrize("end", ["\r\nX-Injected: 1", "\n", " ", "\x00", "\x7f", "é", "\u2028", "\ud800"])
    def test_a_token_that_no_header_can_carry(self, end):
        """A token that could become a second header is refused, and not quoted."""
        with pytest.raises(SettingsError, match="HTTP header") as caught:
            settings(token=Secret(CANARY + end))
        assert CANARY not in str(caught.value)

    def test_a_token_is_enough(self):
        """With a token, user and password are not needed."""
        assert Settings(url=URL, token=Secret("abc")).user is None

    @pytest.mark.parametrize(
        ("endpoint", "path"),
        [
            ("Dialers/Respool", "/Integra/resources/Dialers/Respool"),
            ("/IntegraChannels/resources/x", "/IntegraChannels/resources/x"),
        ],
    )
    def test_the_path_of_an_endpoint(self, endpoint, path):
        """An endpoint stands under the documented root, an absolute path stands for itself."""
        assert settings().path(endpoint) == path

    @pytest.mark.parametrize("hangup", get_args(get_type_hints(ServerProfile)["hangup"]))
    def test_how_hanging_up_is_spelt(self, hangup):
        """The profile chooses the spelling, of those that were published, and changes no other path."""
        chosen = settings(profile=ServerProfile(hangup=hangup))
        assert chosen.path("Agents/HungupPhone") == f"/Integra/resources/Agents/{hangup}"
        assert chosen.path("Agents/AgentCall") == "/Integra/resources/Agents/AgentCall"
        published = ENDPOINTS["Agents/HungupPhone"]
        assert f"Agents/{hangup}" in (published.path, *published.also)

    def test_what_is_declared_of_a_server(self):
        """The defaults of a profile are the answer table's."""
        assert msgspec.structs.asdict(ServerProfile()) == {
            "trust_429": True,
            "trust_retry_after_503": True,
            "trust_503": False,
            "login_page": "login",
            "campaign_arrows": True,
            "hangup": "HungupPhone",
            "lateness": 300.0,
            "removes_one_second": False,
            "removes_tasks": False,
            "refuses_empty_removal": False,
        }


class TestAddress:
    """Scheme, host and port; nothing else belongs into the server's address."""

    @pytest.mark.parametrize(
        ("url", "origin"),
        [
            (URL, URL),
            (URL + "/", URL),
            (f"  {URL}\n", URL),
            (URL + "/Integra/resources/", URL),
            (URL + "/Integra/resources", URL),
            (URL + "/Integra/", URL),
            ("HTTPS://acme.ucontactcloud.com:8443", URL + ":8443"),
            ("https://10.0.0.7:8443/", "https://10.0.0.7:8443"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ],
    )
    def test_what_is_taken(self, url, origin):
        """An address as people paste it is cut down to its origin."""
        assert origin_of(url) == origin

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("", "must start with https://"),
            ("acme.ucontactcloud.com", "must start with https://"),
            ("ftp://acme", "must start with https://"),
            ("https://", "must start with https://"),
            ("https://:443", "must start with https://"),
            ("https://acme/portal", "scheme, host and port only"),
            ("https://acme/?a=b", "scheme, host and port only"),
            ("https://acme/#top", "scheme, host and port only"),
            ("https://acme\\evil", "characters that no host name has"),
            ("https://ac me", "characters that no host name has"),
            ("https://acme%2eevil", "characters that no host name has"),
            ("https://acmé.com", "characters that no host name has"),
            ("https://acme:port", "from 1 to 65535"),
            ("https://acme:65536", "from 1 to 65535"),
            ("https://acme:0", "from 1 to 65535"),
            ("https://acme:", "from 1 to 65535"),
            ("https://[::1", "write it as https://"),
            ("https://[no]", "write it as https://|characters"),
        ],
    )
    def test_what_is_refused(self, url, said):
        """The message says what to write instead."""
        with pytest.raises(SettingsError, match=said):
            origin_of(url)

    @pytest.mark.parametrize("host", ["acme", "[::1", "\u2100.com", "acme:port", "ac me", ""])
    @pytest.mark.parametrize("user", [f"api:{CANARY}@", f"{CANARY}@", f"api:x{CANARY}@"])
    def test_credentials_in_the_address_are_never_echoed(self, user, host):
        """Whatever else is wrong with it, no part of the message or its traceback quotes a password."""
        with pytest.raises(SettingsError) as caught:
            origin_of(f"https://{user}{host}")
        told = "".join(traceback.format_exception(caught.value, limit=0))
        assert CANARY not in told

    def test_credentials_in_the_address_are_refused(self):
        """User and password have parameters of their own."""
        with pytest.raises(SettingsError, match="beside the server address"):
            origin_of(f"https://api:{CANARY}@acme.ucontactcloud.com")

    @pytest.mark.parametrize("host", ["acme.example", "127.evil.example", "10.0.0.1", "localhost.evil.example"])
    def test_plain_http_is_warned_about(self, host):
        """Off loopback one warning, which points to the line that built the client."""
        with pytest.warns(UserWarning, match="in the clear") as caught:
            UContact(f"http://{host}", user="api", password="x")
        assert len(caught) == 1
        assert caught[0].filename == __file__

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1234", "127.0.1.1", "[::1]:80"])
    def test_plain_http_on_loopback_is_silent(self, host):
        """The emulator is nothing to warn about."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert origin_of(f"http://{host}").startswith("http://")


class TestZone:
    """The server's time zone by its name."""

    def test_a_name_or_a_zone(self):
        """Both are taken, and none is none."""
        madrid = ZoneInfo("Europe/Madrid")
        assert zone_of("Europe/Madrid") == madrid
        assert zone_of(madrid) is madrid
        assert zone_of(None) is None

    @pytest.mark.parametrize("name", ["", "Montevideo", "America/Nowhere", "../etc/passwd", "/etc/localtime", "a\x00b"])
    def test_an_unknown_zone(self, name):
        """The message gives an example, and what to install where the system has no zones."""
        with pytest.raises(SettingsError, match=r"America/Montevideo .*tzdata"):
            zone_of(name)


class TestEnvironment:
    """The ``UCONTACT_*`` variables."""

    def test_every_variable(self):
        """Each documented variable is read, by our parameter names."""
        environ = LOGIN | {
            "UCONTACT_TOKEN": "t",
            "UCONTACT_TOKEN_SCHEME": "Bearer",
            "UCONTACT_TIMEZONE": "America/Montevideo",
            "UCONTACT_RECORDS_URL": "https://records",
            "UCONTACT_BACKUP_RECORDS_URL": "https://backup",
            "PATH": "/bin",
        }
        assert read_environment(environ) == {
            "url": URL,
            "user": "api",
            "password": Secret(CANARY),
            "token": Secret("t"),
            "token_scheme": "Bearer",
            "timezone": "America/Montevideo",
            "records": "https://records",
            "backup_records": "https://backup",
        }

    def test_an_empty_variable_is_not_set(self):
        """``UCONTACT_TOKEN=`` in a compose file means no token."""
        assert "token" not in read_environment(LOGIN | {"UCONTACT_TOKEN": ""})

    def test_the_process_is_asked_by_default(self, monkeypatch):
        """Without an argument it is the environment of the process."""
        monkeypatch.setenv("UCONTACT_USER", "someone")
        assert read_environment()["user"] == "someone"

    @pytest.mark.parametrize("text", [CANARY, CANARY + "\n", CANARY + "\r\n", CANARY + "\nsecond line\n"])
    def test_a_password_file(self, tmp_path, text):
        """The first line is the password, without its line end."""
        file = tmp_path / "password"
        file.write_bytes(text.encode())
        file.chmod(0o600)
        assert read_environment({"UCONTACT_PASSWORD_FILE": str(file)})["password"] == Secret(CANARY)

    def test_a_password_comes_before_its_file(self, tmp_path):
        """A password that is given needs no file."""
        found = read_environment(LOGIN | {"UCONTACT_PASSWORD_FILE": str(tmp_path / "none")})
        assert found["password"] == Secret(CANARY)

    @pytest.mark.parametrize("content", [None, b"", b"\n", b"\nsecond line", b"\xff\xfe" + CANARY.encode()])
    def test_a_password_file_without_a_password(self, tmp_path, content):
        """No file, an empty one, an empty first line and no text at all: the message names variable and file."""
        file = tmp_path / "password"
        if content is not None:
            file.write_bytes(content)
            file.chmod(0o600)
        with pytest.raises(SettingsError, match="UCONTACT_PASSWORD_FILE") as caught:
            read_environment({"UCONTACT_PASSWORD_FILE": str(file)})
        assert str(file) in str(caught.value)
        assert CANARY not in str(caught.value)

    def test_a_password_file_that_is_a_folder(self, tmp_path):
        """A path that cannot be read at all is the same error."""
        with pytest.raises(SettingsError, match="cannot read a password"):
            read_environment({"UCONTACT_PASSWORD_FILE": str(tmp_path)})

    def test_a_client_from_the_environment(self):
        """``from_env`` builds the same client as the parameters would."""
        uc = UContact.from_env(LOGIN | {"UCONTACT_TIMEZONE": "America/Montevideo", "UCONTACT_TOKEN_SCHEME": "Bearer"})
        assert uc.settings == settings(timezone=ZoneInfo("America/Montevideo"), token_scheme="Bearer")
        assert CANARY not in repr(uc)

    @pytest.mark.parametrize(
        ("left_out", "said"),
        [("UCONTACT_URL", "UCONTACT_URL"), ("UCONTACT_USER", "UCONTACT_USER"), ("UCONTACT_PASSWORD", "PASSWORD")],
    )
    def test_what_is_missing_is_named(self, left_out, said):
        """A variable that is not set is named."""
        with pytest.raises(SettingsError, match=said):
            UContact.from_env({name: value for name, value in LOGIN.items() if name != left_out})

    def test_a_wrong_scheme_in_the_environment(self):
        """The environment is checked as the parameters are."""
        with pytest.raises(SettingsError, match="Basic or Bearer"):
            UContact.from_env(LOGIN | {"UCONTACT_TOKEN_SCHEME": "basic"})

    def test_other_parameters_become_their_types(self):
        """A path of certificates and the record servers are taken as text too."""
        uc = UContact(URL, token="t", ca="ca.pem", records="https://records/", backup_records="https://backup")
        assert uc.settings.tls.ca == Path("ca.pem")
        assert (uc.settings.records, uc.settings.backup_records) == ("https://records", "https://backup")


class TestProfile:
    """What is known of a server, from a file."""

    def test_a_profile_is_read(self, tmp_path):
        """What a TOML file says is taken, what it leaves out is the careful answer."""
        file = tmp_path / "server.toml"
        file.write_text("# asked on a Sunday\nlateness = 120.5\nremoves_one_second = true\n", encoding="utf-8")
        profile = ServerProfile.read(file)
        assert profile == ServerProfile(lateness=120.5, removes_one_second=True)
        assert (profile.removes_tasks, profile.trust_503, profile.quarantine) == (False, False, 600.0)
        assert ServerProfile(lateness=900).quarantine == 1800.0

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("lateness", "cannot be read"),
            ("latenes = 1", "no setting 'latenes'"),
            ("lateness = 'long'", "lateness"),
            ("hangup = 'Hang'", "hangup"),
        ],
    )
    def test_what_is_no_profile_is_refused(self, tmp_path, text, complaint):
        """A misspelt setting must not become a careless one."""
        file = tmp_path / "server.toml"
        file.write_text(text, encoding="utf-8")
        with pytest.raises(SettingsError, match=complaint):
            ServerProfile.read(file)
        with pytest.raises(SettingsError, match="cannot be read"):
            ServerProfile.read(tmp_path / "none.toml")

    def test_a_lateness_below_nothing(self):
        """Settings refuse what a profile built by hand gets wrong."""
        with pytest.raises(SettingsError, match="lateness"):
            Settings(url="https://acme.example", token=Secret("t"), profile=ServerProfile(lateness=-1))
