"""Rows into the fleet's database: as a run on one machine would see them, all of an input or nothing."""

import asyncio
import contextlib
from datetime import datetime

import pytest

from ucontact_async import RemoveContact, ScheduledCall, UContact
from ucontact_async.batch.operations import OPERATIONS, plan
from ucontact_async.batch.options import BulkOptions
from ucontact_async.batch.sources import CsvSource
from ucontact_async.errors import JournalMismatch, SettingsError

pytest.importorskip("psycopg", reason="psycopg is not installed: python -m pip install 'ucontact-async[fleet]'")

from ucontact_async.fleet.database import Database, DatabaseAway
from ucontact_async.fleet.lease import Lease
from ucontact_async.fleet.load import load

WHEN = datetime(2099, 5, 5, 10)


@pytest.fixture
def client():
    return UContact("http://127.0.0.1:1", user="api", password="secret", timezone="America/Montevideo")


def calls(*numbers):
    return [ScheduledCall(campaign="Ventas->", destination=f"09{number:07d}", calldate=WHEN) for number in numbers]


async def entered(database, client, items, batch="b", **options):
    async with database.transaction() as connection:
        planner = options.pop("planner", None)
        return await load(
            connection, client, items, batch=batch, options=BulkOptions(**options), planner=planner, shard=2
        )


async def statuses(database):
    async with database.connection() as connection:
        found = await connection.execute("SELECT position, status, reason FROM ucontact.rows ORDER BY position, id")
        return await found.fetchall()


async def settle(database, position, status, reason=""):
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE ucontact.rows SET status = %s, reason = %s WHERE position = %s", (status, reason, position)
        )


async def test_rows_are_planned_and_cut_into_shards(database, client):
    """Every sound row is planned once, doubles and late ones are left out, and only open shards are named."""
    late = ScheduledCall(campaign="Ventas->", destination="090000009", calldate=datetime(2001, 1, 1))
    loaded = await entered(database, client, [*calls(1, 2, 3, 1), late])
    assert (loaded.rows, loaded.planned, len(loaded.shards)) == (5, 3, 2)
    assert loaded.report.reasons == {("skipped", "duplicate"): 1, ("skipped", "late"): 1}
    assert [status for _, status, _ in await statuses(database)] == ["planned"] * 3 + ["skipped"] * 2


async def test_a_slow_input_is_waited_for(fleet_url, client):
    """A load may stand still for longer than other transactions: it takes the time that its input takes."""

    async def slowly():
        for call in calls(1, 2, 3):
            await asyncio.sleep(0.3)
            yield call

    async with Database(fleet_url, still=0.1) as database:
        assert (await entered(database, client, slowly())).planned == 3


async def test_the_same_load_again_goes_on(database, client):
    """What is done or unknown stays so, what was not sent or not by its own fault is planned again, nothing is new."""
    rows = calls(1, 2, 3, 4, 5)
    await entered(database, client, rows)
    await settle(database, 0, "succeeded")
    await settle(database, 1, "unknown", "ReplyLost")
    await settle(database, 2, "failed", "NotSent")
    await settle(database, 3, "failed", "Rejected")
    again = await entered(database, client, rows)
    assert (again.rows, again.planned) == (5, 2)
    assert again.report.reasons == {
        ("skipped", "done before"): 1,
        ("unknown", "ReplyLost"): 1,
        ("failed", "Rejected"): 1,
    }
    found = [status for _, status, _ in await statuses(database)]
    assert found == ["succeeded", "unknown", "planned", "failed", "planned"]
    insisted = await entered(database, client, rows, retry_refused=True)
    assert insisted.planned == 3


async def test_a_row_that_is_on_its_way_is_left_alone(database, client):
    """A load beside running workers changes no row that one of them has marked as sent."""
    await entered(database, client, calls(1, 2))
    await settle(database, 0, "sent")
    await entered(database, client, calls(1, 2))
    assert [status for _, status, _ in await statuses(database)] == ["sent", "planned"]


async def test_another_version_of_the_file_must_be_named_so(database, client, tmp_path):
    """A batch refuses another digest unless amended, and another operation always; known rows keep what they are."""
    file = tmp_path / "contacts.csv"

    async def entering(lines, **options):
        file.write_text("destination;calldate\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")
        source = CsvSource(file)
        planner = plan(source.columns, OPERATIONS["schedule"], campaign="Ventas->")
        return await entered(
            database, client, source, planner=planner, operation="schedule", digest=source.digest, **options
        )

    first, second = "090000001;2099-05-05 10:00", "090000002;2099-05-05 10:00"
    assert (await entering([first, "nonsense;2099-05-05 10:00"])).report.reasons == {("skipped", "invalid"): 1}
    await settle(database, 2, "succeeded")
    with pytest.raises(JournalMismatch, match="--amended"):
        await entering([second, first])
    amended = await entering([second, first], amended=True)
    assert (amended.planned, amended.report.reasons) == (1, {("skipped", "done before"): 1})
    assert await statuses(database) == [(2, "planned", ""), (3, "succeeded", "")]
    with pytest.raises(JournalMismatch, match="operation schedule"):
        await entered(database, client, [], operation="respool", amended=True)


async def test_a_load_that_fails_leaves_nothing(database, client):
    """Rows before the one that cannot be taken are not there, and neither is the batch."""
    with pytest.raises(TypeError):
        await entered(database, client, [*calls(1, 2, 3), "no request"])
    async with database.connection() as connection:
        found = await connection.execute(
            "SELECT count(*) FROM ucontact.batches UNION ALL SELECT count(*) FROM ucontact.rows"
        )
        assert await found.fetchall() == [(0,), (0,)]


async def test_removals_are_a_batch_of_their_own(database, client):
    """Removals and what they could remove are refused in one batch, and marked as what they are in one of their own."""
    removal = RemoveContact(campaign="Ventas->", destination="090000001")
    with pytest.raises(SettingsError, match="two batches"):
        await entered(database, client, [*calls(1), removal])
    await entered(database, client, [removal])
    async with database.connection() as connection:
        found = await connection.execute("SELECT removals FROM ucontact.shards")
        assert await found.fetchall() == [(True,)]


async def test_two_tenants_do_not_meet(database, client):
    """The same rows of another user, or in another batch, are other rows."""
    other = UContact("http://127.0.0.1:1", user="other", password="secret", timezone="America/Montevideo")
    for who, batch in ((client, "b"), (other, "b"), (client, "c")):
        assert (await entered(database, who, calls(1), batch=batch)).planned == 1


@contextlib.asynccontextmanager
async def held(database, client):
    """Live as a worker that has claimed all rows of one shard, and yield what gives it back."""
    async with Lease.hold(database, server=client.settings.url, user="api", name="one") as lease:
        async with database.connection() as connection:
            found = await connection.execute(
                "SELECT shard FROM ucontact.claim(%s, '{}', 1, NULL, NULL, false)", (lease.id,)
            )
            ((shard,),) = await found.fetchall()

        async def release():
            async with database.connection() as connection:
                await connection.execute("SELECT ucontact.release(%s, %s)", (lease.id, shard))

        yield release


async def test_what_is_planned_again_is_found_by_whoever_gives_its_shard_back(database, client):
    """A shard that a worker gives back while a load plans a row of it again is open after both."""
    await entered(database, client, calls(1, 2))
    async with held(database, client) as release:
        await settle(database, 0, "succeeded")
        await settle(database, 1, "failed", "NotSent")
        async with database.transaction() as connection:
            assert (await load(connection, client, calls(1, 2), batch="b")).planned == 1
            giving_back = asyncio.create_task(release())
            await asyncio.wait([giving_back], timeout=0.2)  # it would not wait, or it does
        await giving_back
    async with database.connection() as connection:
        found = await connection.execute("SELECT open, owner FROM ucontact.shards")
        assert await found.fetchall() == [(True, None)]


async def test_a_load_that_stops_before_its_commit_holds_up_nobody(fleet_url, client):
    """The rows of a process that stands still once its input has been read are not entered, and nothing waits."""
    async with Database(fleet_url, still=0.1) as database:
        await entered(database, client, calls(1, 2))
        async with held(database, client) as release:
            await settle(database, 1, "failed", "NotSent")

            async def stopped():
                async with database.transaction() as connection:
                    await load(connection, client, calls(1, 2), batch="b")
                    await release()
                    await asyncio.sleep(0.1)

            with pytest.raises(DatabaseAway, match="idle-in-transaction"):
                await stopped()
        assert [status for _, status, _ in await statuses(database)] == ["planned", "failed"]
