"""Places for rows under way: no more than there are, first come, first served."""

import asyncio

import pytest

from ucontact_async.batch.places import Places

pytestmark = pytest.mark.anyio


async def test_a_place_is_kept_for_the_next_row():
    """Who has a place and nobody behind it sends its next row on it, and the number of places stays what it is."""
    places = Places(2)
    assert places.take()
    assert places.keep()
    assert places.take()
    assert not places.take()


async def test_whoever_waits_gets_the_place_instead():
    """A worker that goes from row to row does not keep out those that wait."""
    places = Places(1)
    assert places.take()
    waiting = asyncio.ensure_future(places.wait())
    await asyncio.sleep(0)
    assert not places.keep()
    await asyncio.wait_for(waiting, 5)
    assert not places.take()


async def test_a_place_too_many_is_not_kept():
    """When the limit has fallen rows end until there are no more of them under way than it allows."""
    places = Places(2)
    assert places.take()
    assert places.take()
    places.number = 1
    assert not places.keep()
    assert places.keep()
    assert not places.take()


async def test_who_is_cancelled_as_the_place_is_handed_over_gives_it_on():
    """A place that was given to somebody who has just left is not lost."""
    places = Places(1)
    assert places.take()
    first, second = asyncio.ensure_future(places.wait()), asyncio.ensure_future(places.wait())
    await asyncio.sleep(0)
    assert not places.keep()
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert first.cancelled()
