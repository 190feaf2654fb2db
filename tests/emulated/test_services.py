"""The service helper, and the example services under load as real processes that are told to end."""

import asyncio
import functools
import importlib.util
import runpy
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from ucontact_async import JournalBusy, ScheduledCall, Service, SettingsError, UContact

sys.path.insert(0, str(Path(__file__).parent))

import service_load

WHEN = datetime(2099, 5, 5, 12, tzinfo=UTC)
SLOW = {"rules": [{"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.05}]}


def call(number):
    return ScheduledCall(campaign="Ventas->", destination=f"0900{number:05d}", calldate=WHEN)


@pytest.fixture
async def service(emulator):
    """A service of the emulator."""

    def client():
        return UContact(emulator.url, user="api", password="secret", timezone="America/Montevideo")

    async with Service(client) as service:
        yield service


class TestRuns:
    """Runs in the background of a service."""

    async def test_a_run_goes_on_by_itself(self, service, emulator):
        """Nobody has to wait for a run; its report is there at the end, and its name is free again."""
        run = await service.start("march", service.client.stream([call(n) for n in range(30)]))
        report = await run.finished()
        assert (report.succeeded, len(emulator.ledger), run.done) == (30, 30, True)
        again = await service.start("march", service.client.stream([call(31)]))
        assert service.runs["march"] is again
        assert (await again.finished()).rows == 1

    async def test_a_name_is_taken_once(self, service, emulator, tmp_path):
        """A run of a name that goes on, and a journal that is held, are refused; the first run does not mind."""
        emulator.set_faults(SLOW)
        stream = service.client.stream
        journal = tmp_path / "a.journal"
        run = await service.start("a", stream([call(n) for n in range(30)], journal=journal, max_concurrency=2))
        with pytest.raises(SettingsError, match="'a' goes on"):
            await service.start("a", stream([call(31)]))
        with pytest.raises(JournalBusy):
            await service.start("b", stream([call(31)], journal=journal))
        assert list(service.runs) == ["a"]
        assert (await run.finished()).succeeded == 30

    async def test_every_viewer_sees_the_end(self, service, emulator):
        """Each look adds up, and the last one of every viewer is of the ended run."""
        emulator.set_faults(SLOW)
        run = await service.start("a", service.client.stream([call(n) for n in range(40)], max_concurrency=8))

        async def view(every):
            return [look async for look in run.progress(every=every)]

        for looks in await asyncio.gather(view(0.01), view(0.02), view(60)):
            assert looks[0].state == "running"
            assert all(look.rows == look.succeeded for look in looks)
            assert (looks[-1].state, looks[-1].rows, looks[-1].error) == ("ended", 40, None)
        assert msgspec.json.decode(msgspec.json.encode(run.look()))["name"] == "a"

    async def test_leaving_stops_the_runs(self, emulator, tmp_path):
        """A service that ends stops its runs with nothing unknown, ends its session, and starts no other."""
        emulator.set_faults(SLOW)

        def client():
            return UContact(emulator.url, user="api", password="secret", timezone="America/Montevideo")

        async with Service(client) as service:
            rows = (call(n) for n in range(1000))
            run = await service.start("a", service.client.stream(rows, journal=tmp_path / "j", max_concurrency=4))
            while run.report.succeeded < 4:
                await asyncio.sleep(0.01)
        report = await run.finished()
        assert (report.stopped, report.unknown) == ("the service ends", 0)
        assert report.succeeded == len(emulator.ledger) < 1000
        assert emulator.snapshot()["sessions"] == 0
        with pytest.raises(SettingsError, match="ending"):
            await service.start("b", service.client.stream([]))

    async def test_a_failed_run_says_why(self, service):
        """What a run fails with is raised to who waits for it, and told to who looks at it."""

        def rows():
            yield call(1)
            raise OSError("the disk is gone")

        run = await service.start("a", service.client.stream(rows()))
        with pytest.raises(OSError, match="the disk is gone"):
            await run.finished()
        assert [(look.state, look.error) async for look in run.progress()] == [("failed", "OSError")]

    async def test_only_so_many_ended_runs_are_kept(self, service):
        """The names of old runs go; the memory of a service that lives for months does not grow."""
        for number in range(105):
            await (await service.start(str(number), service.client.stream([]))).finished()
        assert len(service.runs) <= 101
        assert "104" in service.runs


def test_a_signal_after_the_service_does_what_it_did_before():
    """Whoever put a handler over ours calls it for ever: long after the loop is gone the one below is still asked."""
    told = []
    original = signal.signal(signal.SIGTERM, lambda *_: told.append("before"))
    try:

        async def serve():
            async with Service(lambda: UContact("http://127.0.0.1:1", token="t")):
                ours = signal.getsignal(signal.SIGTERM)
                signal.signal(signal.SIGTERM, functools.partial(ours))

        asyncio.run(serve())
        signal.raise_signal(signal.SIGTERM)
        assert told == ["before"]
    finally:
        signal.signal(signal.SIGTERM, original)


async def test_a_run_of_the_example_has_a_name_and_no_path(emulator, tmp_path, monkeypatch):
    """Who names a run names no journal outside the folder; what is no list of calls is the caller's mistake."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"URL": emulator.url, "USER": "api", "PASSWORD": "secret", "TIMEZONE": "UTC"}.items():
        monkeypatch.setenv(f"UCONTACT_{name}", value)
    example = Path(__file__).parents[2] / "examples" / "services" / "aiohttp_service.py"
    app = runpy.run_path(str(example))["app"]
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        for path, body, status in (("a", b"{", 400), ("..%2Fa", b"[]", 405), ("march-1", b"[]", 202)):
            async with session.put(URL(f"{server.make_url('/')}runs/{path}", encoded=True), data=body) as answer:
                assert answer.status == status, path
    assert {path.name for path in tmp_path.iterdir()} == {"march-1.journal", "march-1.journal-lock"}
    assert not (tmp_path.parent / "a.journal").exists()


@pytest.mark.parametrize("framework", service_load.FRAMEWORKS)
async def test_a_service_ends_in_order(framework, emulator, tmp_path):
    """A hundred requests and a bulk run are under way when SIGTERM comes: none is cut, and no row is unknown."""
    for component in () if framework == "aiohttp" else (framework, "uvicorn"):
        if importlib.util.find_spec(component) is None:
            pytest.skip(f"{component} is not installed: python -m pip install {component}")
    figures = await service_load.load(framework, emulator, tmp_path, seconds=0.2)
    assert figures.sound, figures
    assert len(figures.seconds) >= 100


async def test_a_dropped_tab_leaves_nothing_half_known(service, emulator):
    """Whose browser goes away in the middle of a click-to-call does not cut the call: its outcome is an event."""
    fastapi = pytest.importorskip("fastapi", reason="fastapi is not installed: python -m pip install fastapi")
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed: python -m pip install uvicorn")
    await service.client.login()
    emulator.set_faults({"rules": [{"endpoint": "Agents/AgentCall", "fault": "latency", "seconds": 0.3}]})
    heard, app = [], fastapi.FastAPI()
    service.client.listen(heard.append)

    async def dial(request: fastapi.Request):
        calling = asyncio.create_task(
            service.client.calls.dial(agent="Ana", phone="1001", destination="090000001", outqueue="Sales->")
        )
        while not calling.done():
            if await request.is_disconnected():
                calling.cancel()
            await asyncio.wait([calling], timeout=0.01)
        return calling.result()

    app.post("/dial")(dial)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_level="critical"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"POST /dial HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        while emulator.snapshot()["in_flight"] == 0:
            await asyncio.sleep(0.01)
        writer.close()
        while not heard:
            await asyncio.sleep(0.01)
        server.should_exit = True
        await serving
    assert len(heard) == len(emulator.ledger) == 1
    assert (heard[0].error, heard[0].reply) == (None, emulator.state.switchboard.cdr[0].guid)
