"""``doctor``: every part of a sound set-up is told as well, every wanting one with its next step."""

import http.server
import re
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib import metadata

import pytest

from ucontact_async.cli import main


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Run the command in an environment of its own; return its exit code and its findings by name."""

    def run(*arguments, **environment):
        for name in ("URL", "USER", "PASSWORD", "TOKEN", "TIMEZONE", "CA", "PIN"):
            monkeypatch.delenv(f"UCONTACT_{name}", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(f"UCONTACT_{name}", value)
        code = main(["doctor", *arguments])
        lines = capsys.readouterr().out.splitlines()
        return code, {line[4:22].strip(): (line[:4].strip(), line[22:]) for line in lines[:-1]}

    return run


LOGIN = {"USER": "api", "PASSWORD": "secret", "TIMEZONE": "America/Montevideo"}


def test_a_sound_set_up_is_well(doctor, url):
    """Settings, journal, packages, zone, login and logout are looked at, and nothing secret is told."""
    code, found = doctor(URL=url, **LOGIN)
    assert code == 0
    well = {what for what, (mark, _) in found.items() if mark == "ok"}
    assert well >= {"SQLite", "packages", "settings", "time zone", "login", "logout"}
    assert found["settings"][1] == f"{url}, user 'api' with a password"
    assert found["TLS"] == ("--", "none: with http:// everything travels in the clear")
    assert metadata.version("aiohttp") in found["packages"][1]
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("settings", "code", "what", "told"),
    [
        ({}, 2, "settings", "set UCONTACT_URL or give --url"),
        ({"USER": "api"}, 2, "settings", "UCONTACT_PASSWORD"),
        ({**LOGIN, "TIMEZONE": "Montevideo"}, 2, "settings", "no time zone 'Montevideo' here"),
        ({**LOGIN, "PASSWORD": "wrong"}, 1, "login", "Unauthorized: .* check UCONTACT_USER and UCONTACT_PASSWORD"),
        ({"USER": "api", "PASSWORD": "secret"}, 1, "time zone", "set UCONTACT_TIMEZONE"),
        ({**LOGIN, "URL": f"https://{'a' * 64}.example"}, 2, "settings", "longer than 63 characters"),
        ({**LOGIN, "URL": "https://127.0.0.1:9", "CA": "nowhere.pem"}, 2, "settings", "cannot be read from nowhere"),
        ({**LOGIN, "URL": "http://127.0.0.1:9"}, 1, "connection", "127.0.0.1, port 9: .*; check the address"),
    ],
)
def test_what_is_wanting_is_told_with_the_next_step(doctor, url, settings, code, what, told):
    """Each mistake is found where it is, with what to do; exit 2 for settings, 1 for all else."""
    given = {"URL": url, **settings} if settings else {}
    exit_code, found = doctor(**given)
    assert exit_code == code
    assert found[what][0] == "BAD"
    assert re.search(told, found[what][1])


def test_offline_asks_the_server_nothing(doctor):
    """Settings and installation can be looked at without any server."""
    code, found = doctor("--offline", URL="https://nowhere.invalid", **LOGIN)
    assert code == 0
    assert "login" not in found


def test_who_logs_in_is_told_in_spanish(doctor):
    """No finding is half in another language."""
    _, found = doctor("--offline", "--lang", "es", URL="https://nowhere.invalid", **LOGIN)
    assert found["ajustes"] == ("ok", "https://nowhere.invalid, usuario 'api' con contraseña")


@contextmanager
def answering(date, context=None):
    """Run a web server that only says what time it is."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response_only(404)
            self.send_header("Date", date)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("seconds", "mark", "told"),
    [(0, "ok", "within 10 s"), (90, "BAD", "s behind the server's"), (-90, "BAD", "s ahead of the server's")],
)
def test_clocks_are_compared(doctor, seconds, mark, told):
    """A machine whose clock is off would judge calldates and windows wrongly."""
    with answering(format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)) as port:
        _, found = doctor(URL=f"http://127.0.0.1:{port}", **LOGIN)
    assert found["clock"][0] == mark
    assert told in found["clock"][1]


def test_a_port_without_tls(doctor, url):
    """https:// to a port that speaks none says so, and nothing of authorities."""
    _, found = doctor(URL=url.replace("http:", "https:"), **LOGIN)
    assert found["TLS"] == ("BAD", "wrong version number; check the address: does that port speak TLS?")


def test_a_line_without_end_is_no_time(doctor):
    """A server that answers with a header of a megabyte says no time, and is looked at on."""
    with answering("x" * 1_000_000) as port:
        _, found = doctor(URL=f"http://127.0.0.1:{port}", **LOGIN)
    assert found["clock"] == ("--", "the server does not say what time it is")


def test_a_certificate_that_nobody_vouches_for(doctor, monkeypatch, tmp_path):
    """TLS is told with what is wrong and the next step; after that it is well, and the day of its end is told."""
    trustme = pytest.importorskip("trustme", reason="trustme is not installed: python -m pip install trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with answering("", context) as port:
        code, found = doctor(URL=f"https://127.0.0.1:{port}", **LOGIN)
        assert (code, found["TLS"][0]) == (1, "BAD")
        assert found["TLS"][1].endswith("issuer certificate; name its authority with --ca (UCONTACT_CA)")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        _, found = doctor(URL=f"https://127.0.0.1:{port}", **LOGIN, PIN="a" * 64)
        assert "none of those that were pinned; look whether" in found["TLS"][1]
        _, found = doctor(URL=f"https://127.0.0.1:{port}", **LOGIN, CA=str(tmp_path / "ca.pem"))
    assert found["TLS"][0] == "ok"
    assert found["TLS"][1].startswith("TLSv1.")
