"""The service helper, and the example services under load as real processes that are told to end."""

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
import pytest

from ucontact_async import JournalBusy, ScheduledCall, Service, SettingsError, Status, UContact, open_journal

EXAMPLES = Path(__file__).parents[2] / "examples" / "services"
WHEN = datetime(2099, 5, 5, 12, tzinfo=UTC)
SLOW = {"rules": [{"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.05}]}


def call(number):
    return ScheduledCall(campaign="Ventas->", destination=f"0900{number:05d}", calldate=WHEN)


def row(number):
    return {"campaign": "Ventas->", "destination": f"0900{number:05d}", "calldate": WHEN.isoformat()}


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


@contextlib.asynccontextmanager
async def process_of(framework, emulator, folder):
    """Run an example service as a process of its own, and yield it and its URL once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    name = f"{framework}_service"
    start = [f"{EXAMPLES / name}.py", str(port)]
    if framework != "aiohttp":
        start = ["-m", "uvicorn", f"{name}:app", "--port", str(port), "--app-dir", str(EXAMPLES), "--log-level=warning"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *start,
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        env=os.environ
        | {
            "UCONTACT_URL": emulator.url,
            "UCONTACT_USER": "api",
            "UCONTACT_PASSWORD": "secret",
            "UCONTACT_TIMEZONE": "America/Montevideo",
        },
    )
    try:
        for _ in range(1000):
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            await asyncio.sleep(0.02)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("framework", ["aiohttp", "fastapi", "litestar"])
async def test_a_service_ends_in_order(framework, emulator, tmp_path):
    """A hundred requests and a bulk run are under way when SIGTERM comes: none is cut, and no row is unknown."""
    for component in () if framework == "aiohttp" else (framework, "uvicorn"):
        if importlib.util.find_spec(component) is None:
            pytest.skip(f"{component} is not installed: python -m pip install {component}")
    emulator.set_faults(SLOW)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        process_of(framework, emulator, tmp_path) as (process, url),
        aiohttp.ClientSession(connector=connector) as session,
    ):
        async with session.put(f"{url}/runs/march", json=[row(n) for n in range(5000)]) as answer:
            assert answer.status == 202, await answer.text()
        async with session.put(f"{url}/runs/march", json=[row(1)]) as answer:
            assert answer.status == 409

        async def schedule(number):
            async with session.post(f"{url}/calls", json=row(number)) as answer:
                return answer.status

        async def view():
            async with session.get(f"{url}/runs/march") as answer:
                lines = [line async for line in answer.content if line.startswith(b"data: ")]
            return [msgspec.json.decode(line.removeprefix(b"data: ").strip()) for line in lines]

        viewer = asyncio.create_task(view())
        requests = [asyncio.create_task(schedule(10_000 + n)) for n in range(100)]
        while emulator.snapshot()["applied"] < 40:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*requests) == [201] * 100
        looks = await viewer
        await asyncio.wait_for(process.wait(), 20)
    assert looks[-1]["rows"] > 0
    numbers = [entry.fields["destination"] for entry in emulator.ledger]
    assert len(set(numbers)) == len(numbers)
    single = {f"0900{10_000 + n:05d}" for n in range(100)}
    with open_journal(tmp_path / "march.journal") as journal:
        counts = journal.counts()
    assert counts.get(Status.UNKNOWN, 0) == counts.get("sent", 0) == 0
    assert counts[Status.SUCCEEDED] == len(set(numbers) - single) < 5000
    assert single <= set(numbers)
    assert emulator.snapshot()["sessions"] == 0


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
