"""How many at once, how fast, who first, and when nobody: under a clock that moves only when it is told to."""

import asyncio
import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_server import VirtualLoop

from ucontact_async.adaptive import CAP, START
from ucontact_async.errors import NotSent, SettingsError
from ucontact_async.limiter import SHARE, Limiter, LimiterStats
from ucontact_async.pace import Pace


@pytest.fixture(scope="module")
def anyio_backend():
    """A loop whose time passes in no time."""
    return "asyncio", {"loop_factory": VirtualLoop}


class Longest(random.Random):
    """Chance that always takes the most."""

    def uniform(self, least, most):
        """Return ``most``."""
        return most


class Time:
    """The clock of the virtual loop."""

    def clock(self):
        """Return the moment."""
        return asyncio.get_running_loop().time()

    async def pass_(self, seconds):
        """Let ``seconds`` go by."""
        await settle()
        await asyncio.sleep(seconds)
        await settle()


class Stopped:
    """A clock that moves only when it is told to."""

    now = 1000.0

    def clock(self):
        """Return the moment."""
        return self.now


async def settle():
    """Give every task the turns it needs."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def time():
    """The time of the loop."""
    return Time()


def limiter_of(time, **options):
    """Return a limiter under that time, whose gate closes for as long as it may."""
    return Limiter(clock=time.clock, chance=Longest(), **options)


async def start(limiter, wait=None, priority="interactive"):
    """Wait for gate, pace and slot as a caller does."""
    while True:
        await limiter.turn(wait, priority=priority)
        if await limiter.acquire(priority, wait):
            return


class Club:
    """Tasks that want a slot, and the order in which they got one."""

    def __init__(self, limiter):
        self.limiter = limiter
        self.inside = []
        self.tasks = {}

    async def come(self, name, priority="interactive", wait=None):
        """Start a task that takes a slot."""

        async def work():
            await self.limiter.acquire(priority, wait)
            self.inside.append(name)

        self.tasks[name] = asyncio.ensure_future(work())
        await settle()

    async def cancel(self, name):
        """Cancel a waiter and wait for its end."""
        self.tasks[name].cancel()
        await asyncio.wait([self.tasks[name]])

    async def leave(self):
        """Give one slot back."""
        self.limiter.release()
        await settle()


class TestSlots:
    """How many requests are on the wire."""

    @pytest.mark.parametrize("limit", [1, 3, 7])
    async def test_the_bound_is_held_and_used(self, limit):
        """Of forty tasks never more than the limit are inside, and the limit is reached."""
        limiter = Limiter(limit)
        seen = []

        async def work(number):
            await limiter.acquire("bulk" if number % 3 else "interactive")
            seen.append(limiter.stats.in_flight)
            for _ in range(number % 5):
                await asyncio.sleep(0)
            limiter.release()

        async with asyncio.timeout(10):
            await asyncio.gather(*map(work, range(40)))
        assert max(seen) == limit
        assert (limiter.stats.in_flight, limiter.stats.waiting) == (0, 0)

    async def test_first_come_first_served(self):
        """Within one priority the order of arrival is kept."""
        club = Club(Limiter(1))
        for name in "abcde":
            await club.come(name)
        for _ in range(4):
            await club.leave()
        assert club.inside == list("abcde")

    async def test_interactive_calls_go_first(self):
        """A person does not wait behind a bulk run, and overtakes nobody of its own kind."""
        club = Club(Limiter(1))
        for name in ("bulk 1", "bulk 2", "bulk 3", "call 1", "call 2"):
            await club.come(name, "bulk" if name.startswith("bulk") else "interactive")
        for _ in range(4):
            await club.leave()
        assert club.inside == ["bulk 1", "call 1", "call 2", "bulk 2", "bulk 3"]

    async def test_interactive_is_the_default(self):
        """Whoever does not say that it is bulk is not."""
        club = Club(Limiter(1))
        await club.come("first")
        await club.come("bulk", "bulk")
        club.tasks["call"] = asyncio.ensure_future(club.limiter.acquire())
        await settle()
        await club.leave()
        assert club.tasks["call"].done()
        assert not club.tasks["bulk"].done()
        await club.cancel("bulk")

    async def test_a_released_slot_is_handed_over_at_once(self):
        """Whoever comes in the same turn does not slip in before those who waited."""
        club = Club(Limiter(1))
        await club.come("first")
        await club.come("waiter", "bulk")
        club.limiter.release()
        latecomer = asyncio.ensure_future(club.limiter.acquire())
        await settle()
        assert club.inside == ["first", "waiter"]
        assert not latecomer.done()
        await club.leave()
        assert latecomer.done()

    async def test_a_cancelled_waiter_is_forgotten(self):
        """Its place in the queue is gone, and no slot with it."""
        club = Club(Limiter(1))
        for name in "abc":
            await club.come(name)
        await club.cancel("b")
        assert club.limiter.stats.waiting == 1
        await club.leave()
        assert club.inside == ["a", "c"]
        await club.leave()
        assert club.limiter.stats.in_flight == 0

    async def test_cancelled_in_the_turn_of_the_hand_over(self):
        """A waiter that was given a slot and cancelled before it could take it passes the slot on."""
        club = Club(Limiter(1))
        for name in "abc":
            await club.come(name)
        club.limiter.release()
        club.tasks["b"].cancel()
        await settle()
        assert club.tasks["b"].cancelled()
        assert club.inside == ["a", "c"]
        await club.leave()
        assert club.limiter.stats.in_flight == 0

    async def test_released_in_the_turn_of_a_cancellation(self):
        """A slot that becomes free just after a waiter was cancelled goes to the next."""
        club = Club(Limiter(1))
        for name in "abc":
            await club.come(name)
        club.tasks["b"].cancel()
        club.limiter.release()
        await settle()
        assert club.inside == ["a", "c"]
        await club.leave()
        assert club.limiter.stats.in_flight == 0

    @pytest.mark.parametrize("wait", [0, 0.001])
    async def test_no_slot_within_the_time_to_wait(self, wait):
        """That is a NotSent: nothing left, and the queue is as it was before."""
        limiter = Limiter(1)
        await limiter.acquire()
        with pytest.raises(NotSent, match="no slot") as caught:
            await limiter.acquire(wait=wait)
        assert not caught.value.transient
        assert limiter.stats.waiting == 0
        limiter.release()
        await limiter.acquire(wait=0)

    @given(st.data())
    async def test_whatever_happens_no_slot_is_lost(self, data):
        """Any mix of arrivals, cancellations, releases and new limits: bound held, no free slot while one waits."""
        limiter = Limiter(data.draw(st.integers(1, 4)))
        waiting, holding = [], 0
        try:
            for _ in range(data.draw(st.integers(1, 30))):
                act = data.draw(st.sampled_from(["come", "come bulk", "cancel", "release", "limit", "settle"]))
                if act.startswith("come"):
                    waiting.append(
                        asyncio.ensure_future(limiter.acquire("bulk" if act == "come bulk" else "interactive"))
                    )
                elif act == "cancel" and waiting:
                    data.draw(st.sampled_from(waiting)).cancel()
                elif act == "release" and holding:
                    holding -= 1
                    limiter.release()
                elif act == "limit":
                    limiter.max_concurrency = data.draw(st.integers(1, 4))
                elif act == "settle":
                    await settle()
                    holding += sum(task.done() and not task.cancelled() for task in waiting)
                    waiting = [task for task in waiting if not task.done()]
                    stats = limiter.stats
                    assert (stats.in_flight, stats.waiting) == (holding, len(waiting))
                    assert not waiting or stats.in_flight >= stats.max_concurrency
            await settle()
            holding += sum(task.done() and not task.cancelled() for task in waiting)
            waiting = [task for task in waiting if not task.done()]
            while holding:
                limiter.release()
                await settle()
                taken = sum(task.done() for task in waiting)
                waiting = [task for task in waiting if not task.done()]
                holding += taken - 1
            assert waiting == []
            assert (limiter.stats.in_flight, limiter.stats.waiting) == (0, 0)
        finally:  # hypothesis ends an example wherever it likes; what waits then must not be found by the collector
            for task in waiting:
                task.cancel()
            await settle()


class TestLimit:
    """The number of slots, also while they are used."""

    async def test_a_raised_limit_lets_the_waiting_in(self):
        """Nobody has to leave first."""
        club = Club(Limiter(1))
        for name in "abcd":
            await club.come(name)
        club.limiter.max_concurrency = 3
        await settle()
        assert club.inside == ["a", "b", "c"]
        await club.leave()
        assert club.inside == ["a", "b", "c", "d"]

    async def test_a_lowered_limit_throws_nobody_out(self):
        """Those inside finish; nobody enters until fewer than the limit are left."""
        club = Club(Limiter(3))
        for name in "abcd":
            await club.come(name)
        club.limiter.max_concurrency = 1
        for left in (2, 1):
            await club.leave()
            assert club.limiter.stats.in_flight == left
            assert len(club.inside) == 3
        await club.leave()
        assert club.inside == list("abcd")

    @pytest.mark.parametrize("value", [0, -1, 1.5, "16", None, True, math.inf])
    def test_what_is_no_limit(self, value):
        """The message says what may be given; the limit in force stays."""
        with pytest.raises(SettingsError, match="'auto' or a whole number from 1"):
            Limiter(value)
        limiter = Limiter(5)
        with pytest.raises(SettingsError):
            limiter.max_concurrency = value
        with pytest.raises(SettingsError):
            limiter.widen(value)
        assert limiter.max_concurrency == 5

    @pytest.mark.parametrize("value", [0, 1.5, "64", None, True])
    def test_what_is_no_cap(self, value):
        """The cap is a whole number, and the limit never exceeds it."""
        with pytest.raises(SettingsError, match="cap is a whole number from 1"):
            Limiter(cap=value)
        assert Limiter(cap=2).max_concurrency == 2
        assert Limiter(cap=2).widen("auto") == 2

    @pytest.mark.parametrize("value", [0, -1, math.nan])
    def test_what_is_no_rate(self, value):
        """The same for the pace."""
        with pytest.raises(SettingsError, match="greater than 0"):
            Limiter(max_per_second=value)
        limiter = Limiter(max_per_second=5)
        with pytest.raises(SettingsError):
            limiter.max_per_second = value
        assert limiter.max_per_second == 5

    @pytest.mark.parametrize(
        ("limit", "wanted", "workers", "afterwards"),
        [
            ("auto", "auto", CAP, START),
            ("auto", 2, 2, START),
            ("auto", 100, 100, 100),
            (8, "auto", 8, 8),
            (8, 4, 4, 8),
            (8, 100, 8, 8),
        ],
    )
    def test_how_many_workers_a_run_may_have(self, limit, wanted, workers, afterwards):
        """A limit that somebody chose is never raised by a run; one that was left to us is."""
        limiter = Limiter(limit)
        assert limiter.widen(wanted) == workers
        assert limiter.max_concurrency == afterwards

    def test_a_limit_set_while_running_is_chosen_too(self):
        """Whoever sets a number means it; ``auto`` gives the choice back."""
        limiter = Limiter()
        limiter.max_concurrency = 4
        assert limiter.widen(100) == 4
        limiter.max_concurrency = "auto"
        assert limiter.widen(100) == limiter.max_concurrency == 100
        assert limiter.widen(200) == 200

    @pytest.mark.parametrize(("limit", "afterwards"), [("auto", START), (200, 200)])
    def test_what_a_run_widened_is_taken_back(self, limit, afterwards):
        """After the run the limit is ours again, or still the one that somebody chose."""
        limiter = Limiter(limit)
        limiter.widen(100)
        limiter.widen(50)
        limiter.narrow(100)
        assert limiter.max_concurrency == max(50, afterwards)
        limiter.narrow(50)
        limiter.narrow("auto")
        assert limiter.max_concurrency == afterwards

    async def test_widening_lets_the_waiting_in(self):
        """A run that widens the limit need not wait for a release."""
        limiter = Limiter()
        waiting = [asyncio.ensure_future(limiter.acquire()) for _ in range(START + 2)]
        await settle()
        assert limiter.stats.waiting == 2
        limiter.widen(START + 2)
        await settle()
        assert all(task.done() for task in waiting)


class TestKinds:
    """Two classes of traffic within one limit."""

    @pytest.mark.parametrize("pace", [None, 1000])
    async def test_a_flood_of_calls_does_not_starve_a_run(self, time, pace):
        """While calls keep coming a run gets every fifth slot, and no more."""
        limiter = limiter_of(time, max_concurrency=2, max_per_second=pace)
        taken = []

        async def user(priority):
            while len(taken) < 1000:
                await start(limiter, priority=priority)
                taken.append(priority)
                await asyncio.sleep(0.01)
                limiter.release()

        await asyncio.gather(*(user("interactive") for _ in range(50)), *(user("bulk") for _ in range(10)))
        assert taken[:1000].count("bulk") == pytest.approx(1000 / SHARE, abs=5)
        assert limiter.stats.in_flight == limiter.stats.waiting == 0

    async def test_a_call_waits_for_one_slot_only(self, time):
        """However many rows wait, a call has the next slot and the next start."""
        limiter = limiter_of(time, max_concurrency=4, max_per_second=10)
        rows = [asyncio.ensure_future(start(limiter, priority="bulk")) for _ in range(100)]
        await time.pass_(0.25)
        began = time.clock()
        call = asyncio.ensure_future(start(limiter))
        await call
        assert time.clock() - began == pytest.approx(0.05)
        for row in rows:
            row.cancel()
        await asyncio.wait(rows)

    async def test_few_rows_stand_ready_where_starts_are_held_up(self, time):
        """Rows that need no slot yet are not marked: a slow server leaves the pace's turns unused."""
        limiter = limiter_of(time, max_concurrency=1, max_per_second=10)
        await start(limiter)
        rows = [asyncio.ensure_future(start(limiter, priority="bulk")) for _ in range(50)]
        await time.pass_(30)
        assert limiter.stats.waiting <= 3
        for row in rows:
            row.cancel()
        await asyncio.wait(rows)


class TestGate:
    """When nobody may start."""

    async def test_an_open_gate_costs_nothing(self, time):
        """Without gate and pace nobody sleeps."""
        limiter = limiter_of(time)
        began = time.clock()
        await limiter.turn()
        await limiter.turn(wait=0)
        assert not limiter.closed
        assert limiter.stats.gate == "open"
        assert time.clock() == began

    async def test_first_attempts_wait_too(self, time):
        """Whoever wants to start waits until the gate opens, to the moment."""
        limiter = limiter_of(time)
        limiter.overloaded(7.0)
        assert limiter.closed
        assert (limiter.stats.gate, limiter.stats.gate_seconds) == ("closed", 7.0)
        starters = [asyncio.ensure_future(limiter.turn()) for _ in range(3)]
        await time.pass_(6.99)
        assert not any(starter.done() for starter in starters)
        await time.pass_(0.01)
        assert all(starter.done() for starter in starters)
        assert not limiter.closed
        assert limiter.stats.gate_seconds == 0.0

    async def test_a_gate_that_is_closed_again(self, time):
        """A later sign keeps those waiting who wait already."""
        limiter = limiter_of(time)
        limiter.overloaded(5.0)
        starter = asyncio.ensure_future(limiter.turn())
        await time.pass_(4.0)
        limiter.overloaded(5.0)
        await time.pass_(4.0)
        assert not starter.done()
        await time.pass_(1.0)
        assert starter.done()

    async def test_a_gate_that_stays_closed_too_long(self, time):
        """NotSent at once, not after the wait: it is known that it would be in vain."""
        limiter = limiter_of(time)
        limiter.overloaded(31.0)
        with pytest.raises(NotSent, match="slow down"):
            await limiter.turn(wait=30.0)
        limiter = limiter_of(time)
        limiter.overloaded(30.0)
        starter = asyncio.ensure_future(limiter.turn(wait=30.0))
        await time.pass_(30.0)
        assert starter.done()

    async def test_those_who_wait_for_a_slot_are_sent_back(self, time):
        """A gate that closes gives nobody a slot: rows that were armed are planned again at once."""
        limiter = limiter_of(time, max_concurrency=1)
        await limiter.acquire()
        waiting = [asyncio.ensure_future(limiter.acquire(kind)) for kind in ("bulk", "interactive")]
        await settle()
        limiter.overloaded(1.0)
        await settle()
        assert [task.result() for task in waiting] == [False, False]
        assert await limiter.acquire() is False
        assert limiter.stats.in_flight == 1

    def test_signs_in_a_row(self):
        """0.1 s doubled each time, 10 s at most, for ever; an answer starts again."""
        time = Stopped()
        limiter = limiter_of(time)
        waits = []
        for _ in range(2000):
            limiter.overloaded()
            waits.append(limiter.stats.gate_seconds)
            time.now += 10.0
        assert waits[:8] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0])
        assert set(waits[8:]) == {10.0}
        limiter.recovered()
        limiter.overloaded()
        assert limiter.stats.gate_seconds == pytest.approx(0.1)

    def test_gates_close_for_different_times(self):
        """Clients of one server do not come back together: the time is anything from nothing to the longest."""
        waits = []
        for seed in range(200):
            limiter = Limiter(clock=Stopped().clock, chance=random.Random(seed))
            limiter.overloaded()
            waits.append(limiter.stats.gate_seconds)
        assert 0.0 <= min(waits) < 0.01
        assert 0.09 < max(waits) <= 0.1

    def test_signs_while_it_is_closed(self):
        """Fifty answers that were under way at once are one sign, not fifty."""
        limiter = limiter_of(Stopped())
        for _ in range(50):
            limiter.overloaded()
        assert limiter.stats.gate_seconds == pytest.approx(0.1)

    def test_the_longer_one_counts(self):
        """A server that asks for less than another answer did before does not open the gate."""
        limiter = limiter_of(Stopped())
        for seconds in (5.0, 20.0, 1.0, 0.0):
            limiter.overloaded(seconds)
        assert limiter.stats.gate_seconds == 20.0

    def test_how_long_nobody_reached_the_server(self):
        """It counts from the first failure in a row to reach it, until an answer of any kind."""
        time = Stopped()
        limiter = limiter_of(time)
        assert limiter.unreached_seconds == 0.0
        for _ in range(3):
            limiter.overloaded(reached=False)
            time.now += 5.0
        assert limiter.unreached_seconds == 15.0
        limiter.overloaded(1.0)
        assert limiter.unreached_seconds == 0.0
        limiter.overloaded(reached=False)
        time.now += 2.0
        assert limiter.unreached_seconds == 2.0
        limiter.recovered()
        assert limiter.unreached_seconds == 0.0


class TestProbe:
    """Who finds out whether the gate may open."""

    async def test_one_probe_for_all(self, time):
        """Of all who wait one asks, the others wait for its answer, and then all pass."""
        limiter = limiter_of(time)
        asked = []

        async def probe():
            asked.append(time.clock())
            assert limiter.stats.gate == "probing"
            await asyncio.sleep(0.5)
            return True

        limiter.overloaded(2.0)
        began = time.clock()
        starters = [asyncio.ensure_future(limiter.turn(probe=probe)) for _ in range(20)]
        await time.pass_(2.4)
        assert not any(starter.done() for starter in starters)
        await time.pass_(0.2)
        assert all(starter.done() for starter in starters)
        assert asked == [began + 2.0]

    async def test_a_probe_that_fails(self, time):
        """The gate closes again, for longer each time, and the run can see for how long nothing answers."""
        limiter = limiter_of(time)
        asked = []

        async def probe():
            asked.append(time.clock())
            return len(asked) == 5

        limiter.overloaded()
        began = time.clock()
        await limiter.turn(probe=probe)
        assert [round(moment - began, 6) for moment in asked] == [0.1, 0.3, 0.7, 1.5, 3.1]
        assert limiter.unreached_seconds == 0.0
        asked.clear()
        limiter.overloaded(1.0)
        starter = asyncio.ensure_future(limiter.turn(probe=probe))
        await time.pass_(3.0)
        assert limiter.unreached_seconds == pytest.approx(2.0)
        starter.cancel()
        await asyncio.wait([starter])

    async def test_whoever_probes_may_be_cancelled(self, time):
        """Another of those who wait asks then."""
        limiter = limiter_of(time)
        asked = []

        async def probe():
            asked.append(time.clock())
            await asyncio.sleep(1.0)
            return True

        limiter.overloaded(0.1)
        starters = [asyncio.ensure_future(limiter.turn(probe=probe)) for _ in range(3)]
        await time.pass_(0.5)
        starters[0].cancel()
        await time.pass_(1.0)
        assert len(asked) == 2
        assert [starter.cancelled() for starter in starters] == [True, False, False]
        assert all(starter.done() for starter in starters)

    async def test_the_wait_for_a_probe_is_bounded(self, time):
        """Those who wait for another's probe do not wait longer than they said."""
        limiter = limiter_of(time)
        limiter.overloaded(0.1)
        prober = asyncio.ensure_future(limiter.turn(probe=lambda: asyncio.sleep(100, result=True)))
        await time.pass_(0.2)
        began = time.clock()
        with pytest.raises(NotSent, match="did not recover"):
            await limiter.turn(wait=5.0)
        assert time.clock() - began == pytest.approx(5.0)
        prober.cancel()
        await asyncio.wait([prober])

    async def test_a_read_waits_for_the_time_only(self, time):
        """It does no harm, so it need not wait for a probe; the gate stays closed for all others."""
        limiter = limiter_of(time)
        limiter.overloaded(2.0)
        began = time.clock()
        await limiter.turn(harmless=True)
        assert time.clock() - began == pytest.approx(2.0)
        assert await limiter.acquire(harmless=True)
        assert limiter.closed
        assert not await limiter.acquire()


class Starts:
    """Tasks that want to start, and the moments at which they did."""

    def __init__(self, time, **options):
        self.time = time
        self.limiter = limiter_of(time, max_concurrency=1000, **options)
        self.began = time.clock()
        self.at = []
        self.tasks = []

    async def come(self, count, wait=None, priority="interactive"):
        """Let ``count`` tasks start."""

        async def work():
            await start(self.limiter, wait, priority)
            self.at.append(round(self.time.clock() - self.began, 6))
            self.limiter.release()

        self.tasks += [asyncio.ensure_future(work()) for _ in range(count)]
        await settle()

    def gaps(self):
        """Return the time between each start and the next."""
        return [later - earlier for earlier, later in itertools.pairwise(self.at)]


class TestPace:
    """How many may start in a second."""

    @pytest.mark.parametrize("priority", ["interactive", "bulk"])
    async def test_starts_are_spread_evenly(self, time, priority):
        """The first at once, each other exactly one interval after the one before."""
        starts = Starts(time, max_per_second=4)
        await starts.come(5, priority=priority)
        assert starts.at == [0.0]
        await time.pass_(10)
        assert starts.at == [0.0, 0.25, 0.5, 0.75, 1.0]

    async def test_nothing_is_saved_up(self, time):
        """After a quiet hour there is no burst."""
        starts = Starts(time, max_per_second=2)
        await starts.come(1)
        await time.pass_(3600)
        await starts.come(3)
        await time.pass_(10)
        assert starts.at == [0.0, 3600.0, 3600.5, 3601.0]

    async def test_no_room_within_the_time_to_wait(self, time):
        """Those for whom there is no start in time get NotSent at once, and take nobody else's."""
        starts = Starts(time, max_per_second=1)
        await starts.come(5, wait=2.5)
        assert [task.done() for task in starts.tasks] == [True, False, False, True, True]
        for task in starts.tasks[3:]:
            assert isinstance(task.exception(), NotSent)
        await starts.come(1)
        await time.pass_(10)
        assert starts.at == [0.0, 1.0, 2.0, 3.0]

    @pytest.mark.parametrize("priority", ["interactive", "bulk"])
    async def test_no_burst_after_a_stall(self, time, priority):
        """Starts that a slow server held up leave one interval apart, not all at once when slots become free."""
        starts = Starts(time, max_per_second=10)
        starts.limiter.max_concurrency = 5
        for _ in range(5):
            await starts.limiter.acquire()
        await starts.come(50, priority=priority)
        await time.pass_(20)
        for _ in range(5):
            starts.limiter.release()
        await time.pass_(60)
        assert len(starts.at) == 50
        assert min(starts.gaps()) == pytest.approx(0.1, abs=1e-5)
        assert starts.at[-1] - starts.at[0] == pytest.approx(4.9, abs=0.1)

    async def test_a_pace_of_their_own(self, time):
        """A run keeps its own pace within that of all, and does not hold up others."""
        limiter = limiter_of(time, max_concurrency=100, max_per_second=20)
        began, own, others = time.clock(), [], []
        pace = Pace(5, clock=time.clock)

        async def row(pace, at):
            while not await limiter.acquire("bulk", None, pace):
                pass
            at.append(round(time.clock() - began, 6))
            limiter.release()

        tasks = [asyncio.ensure_future(row(pace, own)) for _ in range(10)]
        tasks += [asyncio.ensure_future(row(None, others)) for _ in range(10)]
        await asyncio.gather(*tasks)
        assert all(later - earlier >= 0.2 - 1e-6 for earlier, later in itertools.pairwise(own))
        assert own[-1] == pytest.approx(1.8, abs=0.06)
        assert others[-1] < 1.0
        both = sorted(own + others)
        assert all(later - earlier >= 0.05 - 1e-6 for earlier, later in itertools.pairwise(both))

    @pytest.mark.parametrize("closed_at", [0.0, 0.15, 0.95])
    async def test_no_burst_when_the_gate_opens(self, time, closed_at):
        """The pace holds behind a gate too, whenever it was closed."""
        starts = Starts(time, max_per_second=10)
        await starts.come(20)
        await time.pass_(closed_at)
        starts.limiter.overloaded(5.0)
        await time.pass_(1)
        await starts.come(10)
        await time.pass_(60)
        assert len(starts.at) == 30
        assert not [moment for moment in starts.at if closed_at < moment < closed_at + 5.0 - 1e-9]
        assert min(starts.gaps()) == pytest.approx(0.1, abs=1e-5)

    async def test_a_pace_changed_while_running(self, time):
        """The interval after the last start is the one now in force, longer or shorter."""
        starts = Starts(time, max_per_second=0.1)
        await starts.come(2)
        starts.limiter.max_per_second = 2
        await time.pass_(1)
        assert starts.at == [0.0, 0.5]
        starts.limiter.max_per_second = 0.25
        await starts.come(1)
        await time.pass_(10)
        assert starts.at == [0.0, 0.5, 4.5]
        assert starts.limiter.max_per_second == 0.25

    async def test_a_pace_taken_away(self, time):
        """Without a limit all start at once, those too who wait already."""
        starts = Starts(time, max_per_second=1)
        await starts.come(3)
        starts.limiter.max_per_second = None
        await starts.come(3)
        assert starts.at == [0.0] * 6

    async def test_a_cancelled_starter(self, time):
        """Its start is the next one's."""
        starts = Starts(time, max_per_second=1)
        await starts.come(3)
        starts.tasks[1].cancel()
        await time.pass_(10)
        assert starts.at == [0.0, 1.0]

    @given(
        rate=st.sampled_from([0.5, 1, 3, 10, 1000]),
        acts=st.lists(
            st.tuples(st.sampled_from(["come", "come bulk", "pass", "close"]), st.integers(1, 8)), max_size=15
        ),
    )
    async def test_strictly(self, rate, acts):
        """Whatever comes, waits and closes: two starts are never closer than the interval, and all start in the end."""
        time = Time()
        starts = Starts(time, max_per_second=rate)
        for act, number in acts:
            if act.startswith("come"):
                await starts.come(number, priority="bulk" if act == "come bulk" else "interactive")
            elif act == "pass":
                await time.pass_(number / rate / 3)
            else:
                starts.limiter.overloaded(number / rate / 2)
        await time.pass_(1000)
        assert len(starts.at) == len(starts.tasks)
        assert all(gap >= 1 / rate - 1e-5 for gap in starts.gaps())


class TestStats:
    """What there is to look at."""

    def test_of_a_limit_that_somebody_chose(self):
        """It is fixed, and nothing was learnt."""
        assert Limiter(7).stats == LimiterStats(
            in_flight=0,
            waiting=0,
            max_concurrency=7,
            gate_seconds=0.0,
            gate="open",
            phase="fixed",
            base_latency=None,
            rate=None,
        )

    async def test_of_a_limit_that_learns(self, time):
        """Base latency and rate are those of the server."""
        limiter = limiter_of(time)

        async def user():
            for _ in range(100):
                await start(limiter)
                await asyncio.sleep(0.05)
                limiter.release(0.05)

        assert limiter.stats.phase == "start"
        await asyncio.gather(*(user() for _ in range(20)))
        stats = limiter.stats
        assert stats.max_concurrency > START
        assert stats.base_latency == pytest.approx(0.05)
        assert 80 <= stats.rate <= 401

    async def test_what_was_learnt_is_forgotten_after_a_quiet_minute(self, time):
        """The server may be another then: the limit starts anew."""
        limiter = limiter_of(time)

        async def user():
            for _ in range(100):
                await start(limiter)
                await asyncio.sleep(0.05)
                limiter.release(0.05)

        await asyncio.gather(*(user() for _ in range(20)))
        learnt = limiter.max_concurrency
        await time.pass_(50)
        await start(limiter)
        limiter.release()
        assert limiter.max_concurrency == learnt > START
        await time.pass_(61)
        await start(limiter)
        assert limiter.max_concurrency == START
