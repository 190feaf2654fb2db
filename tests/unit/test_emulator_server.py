"""The emulator on a socket: the doors below ``/_emulator/``, bad requests, TLS, the command, the fixture."""

import argparse
import asyncio
import gc
import json
import signal
import socket
import subprocess
import sys
import warnings
from contextlib import closing
from time import monotonic
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ucontact_async.api import ENDPOINTS
from ucontact_async.cli.emulator import add_parser
from ucontact_async.emulator import Emulator, Switches

pytest_plugins = ["pytester"]

PATH = "Dialers/RemoveContact"
FORM = {"campaign": "V->", "number": "098344484"}


@pytest.fixture
async def http():
    """A client that is not ours."""
    async with aiohttp.ClientSession() as session:
        yield session


async def post(http, emulator, path=PATH, form=FORM, token=None):
    token = token or emulator.state.sessions.open("api")
    url = f"{emulator.url}/Integra/resources/{path}"
    async with http.post(url, data=form, headers={"Authorization": f"Basic {token}"}) as response:
        return response.status, await response.read()


async def door(http, emulator, method, name, **body):
    async with http.request(method, f"{emulator.url}/_emulator/{name}", **body) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


async def test_a_session_from_login_to_logout(http, emulator):
    """Log in, work, log out, be refused."""
    status, body = await post(http, emulator, "auth/getUserToken", {"user": "api", "password": "secret"}, "none")
    token = json.loads(body)
    assert (status, await post(http, emulator, token=token)) == (200, (200, b"1"))
    async with http.post(f"{emulator.url}/Integra/resources/auth/EndSession?user=api&token={token}") as response:
        assert await response.read() == b"1"
    assert await post(http, emulator, token=token) == (401, b"")


async def test_the_ledger_is_shown_in_order_of_application(http, emulator):
    """Effects only: no logins, reads or refusals."""
    await post(http, emulator, "auth/UserLogin", {"user": "api", "password": "secret"}, "none")
    await post(http, emulator, token="dead")
    await post(http, emulator, form={"campaign": "V->"})
    row = {"campaign": "V->", "destination": "1001", "calldate": "2027-05-05 10:00:00", "data": "a=b"}
    await post(http, emulator, "Dialers/ScheduleDialerCall", {"callschedule": json.dumps(row)})
    await post(http, emulator)
    assert await door(http, emulator, "GET", "ledger") == (
        200,
        [
            {"seq": 1, "endpoint": "Dialers/ScheduleDialerCall", "fields": row, "answered": True},
            {"seq": 2, "endpoint": PATH, "fields": FORM, "answered": True},
        ],
    )


async def test_the_state_is_shown(http, emulator):
    """Logins, sessions, requests, and the rows by their wire names."""
    _, body = await post(http, emulator, "auth/UserLogin", {"user": "api", "password": "secret"}, "none")
    row = {"campaign": "V->", "destination": "1001", "calldate": "2027-05-05 10:00:00", "data": "a=b"}
    await post(http, emulator, "Dialers/ScheduleDialerCall", {"callschedule": json.dumps(row)}, json.loads(body)[2])
    _, state = await door(http, emulator, "GET", "state")
    assert state["requests"] == {"auth/UserLogin": 1, "Dialers/ScheduleDialerCall": 1}
    assert (state["logins"], state["sessions"], state["max_in_flight"]) == (1, 1, 1)
    assert (state["spool"], state["blacklist"]) == ([], [])
    assert state["schedule"][0].items() >= row.items()


async def test_a_reset_keeps_sessions_only(http, emulator):
    """Effects, faults and counts of requests go; tokens and the count of logins stay."""
    _, body = await post(http, emulator, "auth/UserLogin", {"user": "api", "password": "secret"}, "none")
    token = json.loads(body)[2]
    await post(http, emulator, token=token)
    emulator.set_faults({"rules": [{"fault": "status"}]})
    assert await door(http, emulator, "POST", "reset") == (204, "")
    _, state = await door(http, emulator, "GET", "state")
    assert (state["logins"], state["sessions"], state["requests"], state["applied"]) == (1, 1, {}, 0)
    assert await post(http, emulator, token=token) == (200, b"1")
    assert [entry.seq for entry in emulator.ledger] == [1]


async def test_faults_are_replaced_over_http(http, emulator):
    """204 for rules, 400 with a sentence for what is none; then the old ones stay."""
    rule = {"endpoint": "Dialers/*", "fault": "status", "status": 502}
    assert await door(http, emulator, "PUT", "faults", json={"seed": 1, "rules": [rule]}) == (204, "")
    assert (await post(http, emulator))[0] == 502
    status, sentence = await door(http, emulator, "PUT", "faults", json={"rules": [rule | {"fault": "x"}]})
    assert (status, "rule 0" in sentence) == (400, True)
    assert (await post(http, emulator))[0] == 502
    assert await door(http, emulator, "PUT", "faults", json={"rules": []}) == (204, "")
    assert (await post(http, emulator))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/Integra/resources/Dialers/Nothing", 404),
        ("POST", "/Integra/resources/", 404),
        ("POST", "/", 404),
        ("GET", "/_emulator/nothing", 404),
        ("DELETE", "/_emulator/ledger", 405),
        ("GET", "/Integra/resources/Dialers/RemoveContact", 405),
    ],
)
async def test_what_is_not_there(http, emulator, method, path, status):
    """Unknown endpoints are 404, wrong methods 405."""
    async with http.request(method, emulator.url + path) as response:
        assert response.status == status


async def test_answers_may_end_in_a_line_break(http):
    """One client trims, so some server must do it."""
    async with Emulator(switches=Switches(trailing_newline=True)) as emulator:
        assert await post(http, emulator) == (200, b"1\n")
        assert await post(http, emulator, form={}) == (200, b"0\n")
        assert await post(http, emulator, token="dead") == (401, b"")


async def test_a_form_is_a_form_whatever_its_headers_claim(http, emulator):
    """A body that is said to be compressed, and is not, is read as it is."""
    token = emulator.state.sessions.open("api")
    headers = {"Authorization": f"Basic {token}", "Content-Encoding": "gzip", "Content-Type": "image/png"}
    url = f"{emulator.url}/Integra/resources/{PATH}"
    async with http.post(url, data=b"campaign=V-%3E&number=098344484", headers=headers) as response:
        assert await response.read() == b"1"
    assert emulator.ledger.entries[-1].fields == FORM


async def test_requests_in_flight_are_counted(http, emulator):
    """The most that were in flight at once."""
    emulator.set_faults({"rules": [{"fault": "latency", "seconds": 0.05}]})
    token = emulator.state.sessions.open("api")
    assert await asyncio.gather(*(post(http, emulator, token=token) for _ in range(7))) == [(200, b"1")] * 7
    assert (emulator.ledger.max_in_flight, emulator.ledger.in_flight) == (7, 0)


async def test_a_connection_serves_many_requests(emulator):
    """Connections are kept, and closed when the client asks for it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
    request = b"POST /Integra/resources/auth/EndSession?user=api&token=x HTTP/1.1\r\nHost: x\r\n"
    for _ in range(3):
        writer.write(request + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n1")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.write(request + b"Connection: close\r\n\r\n")
    assert b"Connection: close" in await reader.read()
    writer.close()


async def test_a_body_is_bounded(emulator):
    """More than 32 MiB is 413, announced or not."""
    for framing in ("Content-Length: 33554433", "Transfer-Encoding: chunked"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
        writer.write(f"POST /Integra/resources/{PATH} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
        if "chunked" in framing:
            piece = b"100000\r\n" + b"x" * 1_048_576 + b"\r\n"
            for _ in range(33):
                writer.write(piece)
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(sorted(ENDPOINTS)),
    body=st.binary(max_size=300)
    | st.sampled_from([b"call=", b"callspool=", b"callschedule=%7B", b"campaign=V&number="]).flatmap(
        lambda head: st.binary(max_size=60).map(lambda tail: head + tail)
    ),
    query=st.binary(max_size=30).map(lambda query: query.hex()) | st.from_regex(r"\A[!$-~]{0,40}\Z"),
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "Content-Encoding", "Authorization", "Accept-Charset", "X-Chunked"]), PRINTABLE
    ),
)
async def test_no_request_makes_it_fail(emulator, path, body, query, headers):
    """Whatever is sent, the answer is never 5xx and the emulator goes on."""
    headers = {"Authorization": f"Basic {emulator.state.sessions.open('api')}"} | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if "X-Chunked" in headers and body:
        framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        framed = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    target = f"/Integra/resources/{path}?{query}"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.rpartition(":")[2]))
    writer.write(f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}".encode() + framed)
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.0 4"))


async def test_it_speaks_tls(http):
    """With a context given the address is https, and a reset is a reset there too."""
    trustme = pytest.importorskip("trustme")
    import ssl

    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with Emulator(ssl_context=server) as emulator:
        assert emulator.url.startswith("https://127.0.0.1:")
        url = f"{emulator.url}/Integra/resources/auth/EndSession?user=api&token=x"
        async with http.post(url, ssl=client) as response:
            assert await response.read() == b"1"
        emulator.set_faults({"rules": [{"fault": "reset_after_read"}]})
        with pytest.raises(aiohttp.ClientError):
            await http.post(url, ssl=client)


async def test_the_same_port_can_be_taken_again():
    """An emulator that ended leaves its port free."""
    async with Emulator() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await Emulator(port=port).__aenter__()
    async with Emulator(port=port) as second:
        assert second.url == first.url


RUN = """
import argparse, sys
from ucontact_async.cli.emulator import add_parser
parser = argparse.ArgumentParser()
add_parser(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_one_line_and_ends_when_told(number, tmp_path):
    """One flushed line of output, exit 0 within two seconds of a signal, though a request hangs."""
    faults = tmp_path / "faults.json"
    faults.write_text('{"rules": [{"fault": "hang_after_apply"}]}')
    command = [sys.executable, "-c", RUN, "emulator", "--user", "u", "--password", "p", "--faults", str(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        host, _, port = line.split("//")[1].strip().partition(":")
        asyncio.run(_leave_hanging(host, int(port)))
        process.send_signal(number)
        started = monotonic()
        assert process.wait(5) == 0
        assert monotonic() - started < 2
        assert process.stdout.read() == ""


async def _leave_hanging(host, port):
    _, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST /Integra/resources/auth/UserLogin HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--faults", "/nowhere"], "nowhere"),
        (["--port", "99999"], "port"),
        (["--host", "nowhere.invalid"], "emulator: "),
    ],
)
def test_the_command_refuses_what_it_cannot_use(arguments, complaint, capsys):
    """Exit 2 and a sentence."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["emulator", *arguments])
    assert args.run(args) == 2
    assert complaint in capsys.readouterr().err


def test_users_get_the_fixtures_from_the_plugin(pytester):
    """``pytest_plugins = ["ucontact_async.testing"]`` in a conftest is all it takes; each test has its own server."""
    pytester.makeconftest('pytest_plugins = ["ucontact_async.testing"]')
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.parametrize("time", [1, 2])
        async def test_it(ucontact_server, ucontact_client, time):
            await ucontact_client.dialers.remove_contact(campaign="Ventas->", destination="090000001")
            assert len(ucontact_server.ledger) == 1
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


async def left_behind(turns, said=b"", **options):
    """End an emulator when its loop has turned so often since a client connected; return what is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with Emulator(**options) as emulator:
            with closing(socket.create_connection(("127.0.0.1", urlsplit(emulator.url).port))) as client:
                client.sendall(said)
                for _ in range(turns):
                    await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        gc.collect()
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_being_accepted_at_the_end_is_closed(turns):
    """However far the loop has come with a connection when the emulator ends, its socket is closed."""
    assert await left_behind(turns) == []


@pytest.mark.parametrize("turns", range(16))
async def test_a_refusal_leaves_no_socket_behind(turns):
    """However far the port is with refusing and coming back when the emulator ends, its socket is closed."""
    said = b"POST /Integra/resources/auth/UserLogin HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    assert await left_behind(turns, said, faults={"rules": [{"fault": "refuse", "seconds": 0.0}]}) == []
