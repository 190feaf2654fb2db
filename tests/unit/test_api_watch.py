"""Watches under a clock of our own: when they read, what they say of failures, how they end."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from ucontact_async.api.watch import CAP, Snapshot, Watch
from ucontact_async.errors import (
    InvalidRequest,
    NotSent,
    ReplyLost,
    ServerFault,
    SessionStolen,
    SettingsError,
    Throttled,
    Unauthorized,
)

LOST = ReplyLost("lost", phase="sent")


class Even(Random):
    """Chance that always takes the middle."""

    def uniform(self, a, b):
        """Return the mean."""
        return (a + b) / 2


class World:
    """A server, a clock and a bed: what is read is what was put in, and time passes only by sleeping."""

    def __init__(self, *answers, takes=0.0, every=5.0, chance=None):
        self.answers = list(answers)
        self.takes = takes
        self.now = 1000.0
        self.slept = []
        self.read_at = []
        self.reading = 0
        self.watch = Watch(
            self.read, empty=(), every=every, clock=lambda: self.now, sleep=self.sleep, chance=chance or Even()
        )

    async def sleep(self, seconds):
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def read(self):
        """Answer with what comes next; the last one for ever."""
        self.read_at.append(self.now)
        self.reading += 1
        assert self.reading == 1
        await asyncio.sleep(0)
        self.now += self.takes
        self.reading -= 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def rounds(self, number):
        """Return so many snapshots."""
        return [await anext(self.watch) for _ in range(number)]


class TestRounds:
    """When it reads."""

    async def test_at_once_and_then_at_intervals(self):
        """The first round waits for nothing; each carries what the server said then."""
        world = World("a", "b", "c")
        before = datetime.now(UTC)
        seen = await world.rounds(3)
        assert [snapshot.data for snapshot in seen] == ["a", "b", "c"]
        assert world.read_at == [1000, 1005, 1010]
        assert not any(snapshot.stale for snapshot in seen)
        assert {snapshot.age for snapshot in seen} == {0.0}
        assert before <= seen[0].at <= seen[2].at <= before + timedelta(seconds=30)

    async def test_an_interval_begins_with_the_answer(self):
        """A server that takes long is not asked again at once."""
        world = World("a", takes=7.0)
        await world.rounds(3)
        assert world.read_at == [1000, 1012, 1024]

    async def test_a_slow_consumer_makes_up_for_nothing(self):
        """Who comes late gets one round at once, not those that were missed."""
        world = World("a")
        await world.rounds(1)
        world.now += 60
        await world.rounds(2)
        assert world.read_at == [1000, 1060, 1065]

    async def test_intervals_are_spread_by_chance(self):
        """The same seed spreads the same way, within a tenth on either side and not always to the same one."""
        world = World("a", every=10.0, chance=Random(7))
        await world.rounds(50)
        chance = Random(7)
        assert world.slept == pytest.approx([10 * chance.uniform(0.9, 1.1) for _ in range(49)])
        assert 9 <= min(world.slept) < 9.5
        assert 10.5 < max(world.slept) <= 11

    async def test_two_tasks_get_no_round_at_once(self):
        """Reads never overlap: the second task is told."""
        world = World("a")
        first = asyncio.ensure_future(anext(world.watch))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two tasks"):
            await anext(world.watch)
        assert (await first).data == "a"


class TestFailures:
    """What it says when the server cannot be read."""

    async def test_the_last_data_are_marked_stale(self):
        """They come with their age and the error, the pause doubles, and a success ends all of it."""
        world = World("a", LOST, LOST, "b", LOST, "c")
        seen = await world.rounds(6)
        assert [snapshot.data for snapshot in seen] == ["a", "a", "a", "b", "b", "c"]
        assert [snapshot.stale for snapshot in seen] == [False, True, True, False, True, False]
        assert [snapshot.age for snapshot in seen] == [0, 5, 15, 0, 5, 0]
        assert [snapshot.error for snapshot in seen] == [None, LOST, LOST, None, LOST, None]
        assert seen[2].at == seen[0].at
        assert world.slept == [5, 10, 20, 5, 10]

    async def test_before_the_first_answer_there_is_nothing(self):
        """The data are empty, of no time and infinitely old."""
        (seen,) = await World(LOST).rounds(1)
        assert seen == Snapshot(data=(), at=None, age=math.inf, error=LOST)
        assert seen.stale

    @pytest.mark.parametrize(("every", "longest"), [(5.0, CAP), (300.0, 300.0)])
    async def test_pauses_grow_to_a_minute(self, every, longest):
        """Or to the interval, where that is longer; thousands of failures overflow nothing."""
        world = World(LOST, every=every)
        await world.rounds(3000)
        assert world.slept[-1] == max(world.slept) == longest

    @pytest.mark.parametrize("error", [Unauthorized("no", status=401), SessionStolen("stolen", status=401)])
    async def test_refused_credentials_are_tried_slowly_from_the_start(self, error):
        """An account that is tried every few seconds may be locked."""
        world = World(error)
        await world.rounds(2)
        assert world.slept == [CAP]

    @pytest.mark.parametrize(("asked", "pause"), [(None, 10), (3.0, 10), (200.0, 200)])
    async def test_a_server_that_asks_for_time_gets_it(self, asked, pause):
        """Retry-After is the least, however small the chance."""
        world = World(Throttled("slow", status=429, retry_after=asked), "a")
        await world.rounds(2)
        assert world.slept == [pause]

    @pytest.mark.parametrize("error", [NotSent("no"), ServerFault("500", status=500), LOST])
    async def test_every_failure_of_the_way_is_survived(self, error):
        """Whatever became of a read, the next round asks again."""
        world = World(error, "a")
        assert [snapshot.data for snapshot in await world.rounds(2)] == [(), "a"]

    @pytest.mark.parametrize("error", [SettingsError("x"), InvalidRequest("queue", "x")])
    async def test_what_no_repetition_mends_is_raised(self, error):
        """A wrong request or setting ends the watch with its error."""
        world = World("a", error)
        await world.rounds(1)
        with pytest.raises(type(error)):
            await anext(world.watch)
        assert [snapshot async for snapshot in world.watch] == []

    async def test_a_mistake_of_the_program_is_not_swallowed(self):
        """Only our own errors are failures of the server."""
        with pytest.raises(ZeroDivisionError):
            await World(ZeroDivisionError()).rounds(1)

    async def test_a_time_out_from_below_is_not_an_end(self):
        """A foreign TimeoutError is not mistaken for being closed."""
        with pytest.raises(TimeoutError):
            await World(TimeoutError()).rounds(1)


class Stuck(World):
    """A world where the ``number``-th wait never ends."""

    def __init__(self, where):
        super().__init__("a")
        self.where = where
        self.ended = []

    async def sleep(self, seconds):
        """Sleep for ever, if that is where it is stuck."""
        await self.stick("sleep")

    async def read(self):
        """Read for ever, if that is where it is stuck."""
        if self.read_at:
            await self.stick("read")
        return await super().read()

    async def stick(self, where):
        """Wait until cancelled, slowly."""
        if where != self.where:
            return
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.01)
            self.ended.append(where)


class TestEnd:
    """How it ends."""

    async def collect(self, watch, seen):
        """Consume ``watch``."""
        async for snapshot in watch:
            seen.append(snapshot.data)

    @pytest.mark.parametrize("where", ["sleep", "read"])
    async def test_closed_from_outside(self, where):
        """The loop ends as if there were no more, and aclose returns when nothing is on the wire any more."""
        world, seen = Stuck(where), []
        task = asyncio.ensure_future(self.collect(world.watch, seen))
        await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(world.watch.aclose())
        await world.watch.aclose()
        assert world.ended == [where]
        await closing
        await task
        assert seen == ["a"]
        with pytest.raises(StopAsyncIteration):
            await anext(world.watch)

    @pytest.mark.parametrize("where", ["sleep", "read"])
    async def test_cancelled(self, where):
        """Cancelling passes unchanged, and the watch can be asked again."""
        world, seen = Stuck(where), []
        task = asyncio.ensure_future(self.collect(world.watch, seen))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (seen, world.ended) == (["a"], [where])
        world.where = "nowhere"
        assert (await anext(world.watch)).data == "a"

    async def test_a_time_limit_around_one_round(self):
        """A time-out of the caller's own is a TimeoutError of the caller's own."""
        world = Stuck("read")
        await anext(world.watch)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(world.watch)

    async def test_left_or_closed_between_rounds(self):
        """Leaving the loop leaves nothing behind; closing is allowed at any time and more than once."""
        world = World("a")
        async for _ in world.watch:
            break
        assert world.reading == 0
        await world.watch.aclose()
        await world.watch.aclose()
        assert [snapshot async for snapshot in world.watch] == []
        assert len(world.read_at) == 1
