"""Task engines redeliver work that is under way: it is found to be held or done, and nothing is applied twice."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")
pytest.importorskip("taskiq", reason="taskiq is not installed: python -m pip install taskiq")

import procrastinate
import taskiq
from tenants import Tenant, applied, calls, client_of, slow
from waiting import until

from ucontact_async.errors import JournalError
from ucontact_async.fleet.database import Database
from ucontact_async.fleet.engine import ShardRunner
from ucontact_async.fleet.procrastinate import ShardJobs

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "fleet"


async def serve(app, jobs, **options):
    await app.run_worker_async(
        queues=[jobs.queue],
        install_signal_handlers=False,
        fetch_job_polling_interval=0.1,
        **options,
    )


async def test_procrastinate_redelivers_a_shard_that_is_running(fleet_url, emulator):
    """Every job is set going again while it runs, for another worker process: each call is made once."""
    slow(emulator, 0.02)
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    complaints = []
    # Who is second to end a job fails in a task of procrastinate's own that nobody waits for.
    loop.set_exception_handler(lambda _, context: complaints.append(context.get("exception")))
    async with Database(fleet_url) as database, client_of(emulator, concurrency=4) as client:
        tenant = Tenant(database, client)
        apps = [procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=fleet_url)) for _ in range(2)]
        jobs = [ShardJobs(app) for app in apps]
        async with (
            apps[0].open_async(),
            apps[1].open_async(),
            ShardRunner(tenant.worker(lease=30.0), database) as one,
            ShardRunner(tenant.worker(lease=30.0), database) as two,
        ):
            await apps[0].schema_manager.apply_schema_async()
            async with database.transaction() as connection:
                loaded = await tenant.load_in(connection, calls(60))
                assert await jobs[0].enqueue(connection, loaded.shards) == 3
                assert await jobs[0].enqueue(connection, loaded.shards) == 0
            for job, runner in zip(jobs, (one, two), strict=True):
                job.serve(runner, database)
            serving = [asyncio.create_task(serve(app, job, concurrency=3)) for app, job in zip(apps, jobs, strict=True)]
            redelivered = 0
            while emulator.ledger.total < 60:
                for job in await apps[0].job_manager.list_jobs_async(task="ucontact.run_shard", status="doing"):
                    with contextlib.suppress(procrastinate.exceptions.ConnectorException):  # it ended meanwhile
                        await apps[0].job_manager.retry_job(job)
                        redelivered += 1
                await asyncio.sleep(0.05)
            await until_all(tenant, 60)
            for task in serving:
                task.cancel()
            await asyncio.wait(serving)
        loop.set_exception_handler(handler)
        assert {type(complaint) for complaint in complaints} <= {procrastinate.exceptions.ConnectorException}
        assert redelivered > 0
        assert set(applied(emulator).values()) == {1}


async def until_all(tenant, count):
    async with asyncio.timeout(20):
        while await tenant.statuses() != {"succeeded": count}:
            await asyncio.sleep(0.02)


async def test_without_a_life_no_shard_is_waited_for(empty_database, emulator):
    """A runner whose worker cannot begin, as in a database without the fleet's schema, says so to every task."""
    async with Database(empty_database) as database, client_of(emulator) as client:
        runner = ShardRunner(Tenant(database, client).worker(), database)
        await runner.__aenter__()
        done, _ = await asyncio.wait([asyncio.create_task(runner.run_shard(1))], timeout=5)
        with pytest.raises(JournalError, match="does not exist"):
            await runner.__aexit__()
        assert [type(task.exception()) for task in done] == [JournalError]


async def test_a_load_that_is_rolled_back_leaves_no_job(fleet_url, emulator):
    """Rows and jobs come and go together."""
    async with Database(fleet_url) as database, client_of(emulator) as client:
        tenant = Tenant(database, client)
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=fleet_url))
        jobs = ShardJobs(app)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            with contextlib.suppress(ZeroDivisionError):
                async with database.transaction() as connection:
                    loaded = await tenant.load_in(connection, calls(3))
                    assert await jobs.enqueue(connection, loaded.shards) == 1
                    raise ZeroDivisionError
            assert list(await app.job_manager.list_jobs_async()) == []
            assert await tenant.statuses() == {}


async def test_the_sweep_finds_what_has_no_job(fleet_url, emulator):
    """Shards whose job is gone, as after a crash, are enqueued again by the journal's word."""
    async with Database(fleet_url) as database, client_of(emulator) as client:
        tenant = Tenant(database, client)
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=fleet_url))
        jobs = ShardJobs(app)
        async with app.open_async(), ShardRunner(tenant.worker(), database) as runner:
            await app.schema_manager.apply_schema_async()
            await tenant.load(calls(50))
            jobs.serve(runner, database)
            await until(lambda: runner.lease is not None)
            await jobs.sweep()
            await jobs.sweep()
            assert len(list(await app.job_manager.list_jobs_async())) == 3
            await serve(app, jobs, wait=False)
        assert await tenant.statuses() == {"succeeded": 50}


async def test_taskiq_delivers_a_shard_three_times_at_once(database, emulator):
    """The same message to several runners at once: one sends, the others find the shard held or done."""
    slow(emulator, 0.02)
    broker = taskiq.InMemoryBroker()
    async with client_of(emulator, concurrency=4) as client:
        tenant = Tenant(database, client)
        results = await deliver(broker, tenant)
    assert set(results) <= {"done", "held"}
    assert set(applied(emulator).values()) == {1}
    assert await tenant.statuses() == {"succeeded": 40}


async def deliver(broker, tenant):
    async with (
        ShardRunner(tenant.worker(lease=30.0), tenant.database) as one,
        ShardRunner(tenant.worker(lease=30.0), tenant.database) as two,
    ):

        @broker.task
        async def run_shard(shard: int, runner: int) -> str:
            return await (one, two)[runner].run_shard(shard)

        shards = (await tenant.load(calls(40))).shards
        tasks = [await run_shard.kiq(shard, runner) for shard in shards for runner in (0, 1, 0)]
        return [(await task.wait_result(timeout=30)).return_value for task in tasks]


@pytest.mark.long
@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_examples_run(example, fleet_url, tmp_path):
    """Each example of the fleet is short, runs against an emulator and a database, and ends well."""
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 40
    emulator = subprocess.Popen([sys.executable, "-m", "ucontact_async", "emulator"], stdout=subprocess.PIPE, text=True)
    url = emulator.stdout.readline().split()[-1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")} | {
        "UCONTACT_DATABASE": fleet_url,
        "UCONTACT_URL": url,
        "UCONTACT_USER": "api",
        "UCONTACT_PASSWORD": "secret",
        "UCONTACT_TIMEZONE": "UTC",
    }
    if "procrastinate" in example.stem:
        app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=fleet_url))
        with app.open():
            app.schema_manager.apply_schema()
    result = subprocess.run(
        [sys.executable, str(example)], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    emulator.terminate()
    emulator.wait(10)
    emulator.stdout.close()
    assert result.returncode == 0, result.stderr
    assert "1 succeeded" in result.stdout or "done" in result.stdout or "0 rows" in result.stdout
