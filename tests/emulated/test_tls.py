import asyncio
import ssl
from datetime import datetime

import pytest

from ucontact_async import NotSent, ScheduledCall, UContact, UnreadableReply
from ucontact_async.emulator import Emulator

trustme = pytest.importorskip("trustme", reason="trustme is not installed: python -m pip install trustme")

SCHEDULE = "Dialers/ScheduleDialerCall"


def call(number):
    return ScheduledCall(campaign="Ventas->", destination=f"09{number:07d}", calldate=datetime(2099, 5, 5, 10))


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def trusted(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_context(authority, name="127.0.0.1"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_of(url, **options):
    return UContact(url, **{"user": "api", "password": "secret", "timezone": "America/Montevideo", **options})


@pytest.mark.parametrize("lane", ["command", "session"])
@pytest.mark.parametrize("connection", ["keep", "fresh"])
async def test_calls_over_tls(authority, trusted, connection, lane):
    """With the authority's certificate given, calls go over TLS, on kept connections and on fresh ones."""
    async with Emulator(ssl_context=server_context(authority)) as emulator:
        async with client_of(emulator.url, ca=trusted, connection=connection, lane=lane) as uc:
            for number in range(5):
                await uc.send(call(number))
            await asyncio.gather(*(uc.send(call(number)) for number in range(10, 60)))
        assert len(emulator.ledger) == 55


@pytest.mark.parametrize("lane", ["command", "session"])
async def test_faults_over_tls_are_told_as_without(authority, trusted, lane):
    """A lost answer over TLS is unknown and sent once; a poisoned idle connection is replaced."""
    async with Emulator(ssl_context=server_context(authority)) as emulator:
        emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "unsolicited", "count": 10}]})
        async with client_of(emulator.url, ca=trusted, lane=lane) as uc:
            for number in range(20):
                await uc.send(call(number))
                await asyncio.sleep(0.002)
            emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "reset_after_apply"}]})
            report = await uc.bulk([call(100), call(101)], max_concurrency=1)
        assert report.unknown == 2
        assert emulator.ledger.requests[SCHEDULE] == len(emulator.ledger) == 22


async def test_bytes_that_are_no_answer(authority, trusted):
    """A connection that aiohttp closes twice over such bytes, after which asyncio's transport is mute, is unknown."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"no HTTP at all\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(authority))
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with client_of(f"https://127.0.0.1:{port}", token="x", password=None, ca=trusted) as uc:
            with pytest.raises(UnreadableReply):
                await uc.send(call(1))


@pytest.mark.parametrize("case", ["unknown authority", "another name", "no TLS there", "TLS 1.2"])
async def test_a_server_that_is_not_the_one_gets_nothing(authority, trusted, case):
    """A certificate that is not trusted, for another host, or none at all: nothing is sent, and the error says why."""
    context = server_context(authority, "other.example" if case == "another name" else "127.0.0.1")
    if case == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    plain = case == "no TLS there"
    async with Emulator(ssl_context=None if plain else context) as emulator:
        url = emulator.url.replace("http://", "https://") if plain else emulator.url
        ca = None if case == "unknown authority" else trusted
        async with client_of(url, ca=ca) as uc:
            if case == "TLS 1.2":
                await uc.send(call(1))  # 1.2 is the oldest that is taken
                return
            with pytest.raises(NotSent) as raised:
                await uc.send(call(1))
        assert raised.value.attempts == 1
        why = {"unknown authority": "issuer certificate", "another name": "mismatch", "no TLS there": "wrong version"}
        assert why[case] in str(raised.value)
        assert not emulator.ledger.requests
