"""Rows that wait: in the order of their times, a bounded number of them, and until nothing more can come."""

import asyncio

from ucontact_async.batch.agenda import ROOM, Agenda


def now():
    return asyncio.get_running_loop().time()


async def test_rows_come_when_they_are_due():
    """The earliest comes first, whenever it was put in; what is put in again comes again; then there is an end."""
    agenda = Agenda(now)
    agenda.put(now() + 0.05, "second")
    waiting = asyncio.create_task(agenda.next())
    await asyncio.sleep(0)
    agenda.put(now(), "first")
    assert await waiting == "first"
    agenda.close()
    assert await agenda.next() == "second"
    agenda.put(now(), "second, again")
    agenda.finish()
    assert await agenda.next() == "second, again"
    # Two rows are still worked on: either may be put in again.
    waiting = asyncio.create_task(agenda.next())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    agenda.finish()
    agenda.finish()
    assert await waiting is None


async def test_no_more_than_there_is_room_for():
    """A full agenda holds back whoever would add to it, until a row is taken or the run stops."""
    agenda = Agenda(now)
    for number in range(ROOM):
        agenda.put(now(), number)
    assert agenda.full
    waiting = asyncio.create_task(agenda.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await agenda.next() == 0
    await waiting
    agenda.put(now(), ROOM)
    assert agenda.full
    assert agenda.clear() == [*range(1, ROOM), ROOM]
    await agenda.room()
