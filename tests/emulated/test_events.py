"""What a run shows of itself: the stream of events that terminals, services and programs share."""

import asyncio
import contextlib
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest

from ucontact_async import (
    Abandoned,
    Event,
    FuseBlown,
    GateClosed,
    GateOpened,
    LimitChanged,
    Limiter,
    LoggedIn,
    LoginFailed,
    Progress,
    Service,
    SettingsError,
    Stopped,
    UContact,
)
from ucontact_async.api.dialers import ScheduledCall

CANARY = "099123456"
WHEN = datetime(2099, 5, 5, 12, tzinfo=UTC)
SCHEDULE = "Dialers/ScheduleDialerCall"


def call(number):
    return ScheduledCall(campaign="Ventas->", destination=f"0900{number:05d}", calldate=WHEN)


def calls(count):
    return [call(number) for number in range(count)]


def client_of(emulator, *, password="secret", limiter=None):
    return UContact(emulator.url, user="api", password=password, timezone="America/Montevideo", limiter=limiter)


def fault(**rule):
    return {"rules": [{"endpoint": SCHEDULE, **rule}]}


async def test_to_watch_is_to_run(emulator):
    """Where nobody reads the outcomes whoever watches has them counted, and sees the run to its end."""
    events = []
    async with client_of(emulator) as uc, uc.stream(calls(600)) as run:
        async for event in run.events(every=0.01):
            events.append(event)
            uc.limiter.max_concurrency = 8
    assert len(emulator.ledger) == run.report.succeeded == 600
    looks = [event for event in events if isinstance(event, Progress)]
    assert events[0] is looks[0]
    assert (looks[0].state, looks[0].rows) == ("running", 0)
    assert events[-1] is looks[-1]
    assert (looks[-1].state, looks[-1].rows, looks[-1].in_flight) == ("ended", 600, 0)
    assert [look.rows for look in looks] == sorted(look.rows for look in looks)
    assert LoggedIn(generation=1) in events
    changes = [event for event in events if isinstance(event, LimitChanged)]
    assert changes[0].before == 4
    assert all(one.after == other.before for one, other in pairwise(changes))


async def test_every_event_is_json(emulator):
    """A page gets each event with its class as type, and a program makes it of that text again."""
    emulator.set_faults(fault(fault="status", status=429, count=1))
    async with client_of(emulator) as uc, uc.stream(calls(20)) as run:
        events = [event async for event in run.events(every=0.01)]
    assert {type(event) for event in events} >= {Progress, LoggedIn, GateClosed, GateOpened}
    for event in events:
        text = msgspec.json.encode(event)
        assert msgspec.json.decode(text)["type"] == type(event).__name__
        assert msgspec.json.decode(text, type=Event) == event


async def test_who_reads_the_outcomes_has_them_all(emulator):
    """Beside a reader any number of viewers look on: every outcome is the reader's, every viewer sees the end."""
    async with client_of(emulator) as uc, uc.stream(calls(300)) as run:

        async def look_on(every):
            return [event async for event in run.events(every=every)][-1]

        viewers = [asyncio.create_task(look_on(every)) for every in (0.01, 60.0)]
        outcomes = [outcome async for outcome in run]
        assert len(outcomes) == 300
        for last in await asyncio.gather(*viewers):
            assert (last.state, last.rows) == ("ended", 300)


async def test_viewers_that_come_together(emulator):
    """Of several that look on without a reader one has the outcomes counted, and all see the end."""
    async with client_of(emulator) as uc, uc.stream(calls(300)) as run:

        async def look_on():
            return [event async for event in run.events(every=0.01)][-1]

        for last in await asyncio.gather(look_on(), look_on(), look_on()):
            assert (last.state, last.rows) == ("ended", 300)


async def test_outcomes_have_one_reader(emulator):
    """Once a viewer has them counted, who asks for the outcomes is told so and gets no share of them."""
    async with client_of(emulator) as uc, uc.stream(calls(300)) as run:
        events = run.events(every=0.01)
        await anext(events)
        with pytest.raises(RuntimeError, match="before it"):
            await run.finish()
        with pytest.raises(RuntimeError, match="before it"):
            await anext(aiter(run))
        assert [event async for event in events][-1].rows == 300


async def test_who_leaves_can_come_back(emulator):
    """A viewer that leaves the loop leaves the run to the next one, which sees the rest."""
    async with client_of(emulator) as uc, uc.stream(calls(1000)) as run:
        async with contextlib.aclosing(run.events(every=0.01)) as events:
            await anext(events)
        assert [event async for event in run.events(every=0.01)][-1].rows == 1000


async def test_a_gate_that_closes_and_opens(emulator):
    """The gate is told of in order and in time, with how long it is closed, to a viewer that looks once a minute."""
    emulator.set_faults(fault(fault="status", status=429, count=1, after=3))
    async with client_of(emulator) as uc, uc.stream(calls(30)) as run:
        events = [event async for event in run.events(every=60.0)]
    gate = [event for event in events if isinstance(event, GateClosed | GateOpened)]
    assert [type(event) for event in gate] == [GateClosed, GateOpened]
    assert gate[0] == GateClosed(seconds=gate[0].seconds, reached=True)
    assert gate[0].seconds > 0
    assert run.report.succeeded == 30


async def test_a_server_out_of_reach(emulator):
    """A gate that closes because nobody was reached says so."""
    events = []
    limiter = Limiter()
    async with client_of(emulator, limiter=limiter) as uc:
        uc.listen(events.append, GateClosed, GateOpened, LoggedIn)
        await uc.login()
        emulator.set_faults(fault(fault="refuse", seconds=0.2, count=1))
        await uc.bulk(calls(5), max_concurrency=1)
    assert events[0] == LoggedIn(generation=1)
    assert isinstance(events[1], GateClosed)
    assert not events[1].reached
    assert isinstance(events[2], GateOpened)


async def test_the_fuse(emulator):
    """A fuse that blows is told of before the stop that it is, and the last look has its words."""
    emulator.set_faults(fault(fault="close_after_apply"))
    async with client_of(emulator) as uc, uc.stream(calls(60), max_unknown=3) as run:
        events = [event async for event in run.events(every=60.0)]
    told = [event for event in events if isinstance(event, FuseBlown | Stopped)]
    assert [type(event) for event in told] == [FuseBlown, Stopped]
    assert told[0].reason == told[1].reason == events[-1].stopped == "more than 3 unknown outcomes (max_unknown)"
    assert events[-1].unknown > 3


async def test_a_login_that_fails(emulator):
    """It is an event with the class and the words of the error, and with no password; the stop follows."""
    async with client_of(emulator, password="hush-hush") as uc, uc.stream(calls(3)) as run:
        events = [event async for event in run.events(every=60.0)]
    failed, stopped = (event for event in events if isinstance(event, LoginFailed | Stopped))
    assert failed.error == "Unauthorized"
    assert failed.reason in stopped.reason
    assert "hush" not in repr(events)


async def test_what_a_row_says_is_in_no_event(emulator):
    """An input that fails quotes its row; the events say the class of that error, and who runs it gets it whole."""

    def rows():
        yield call(1)
        raise ValueError(CANARY)

    events = []

    async def watch(run):
        async for event in run.events(every=60.0):
            events.append(event)  # noqa: PERF401  kept although the stream raises in the end

    async with client_of(emulator) as uc, uc.stream(rows()) as run:
        with pytest.raises(ValueError, match=CANARY):
            await watch(run)
    assert events[-1].error == events[-1].stopped == "ValueError"
    assert events[-1].state == "failed"
    assert CANARY not in repr(events)


async def test_who_leaves_a_run_that_failed_is_told_at_its_end(emulator):
    """What a run failed with after its viewer had seen enough is raised where the block of the run ends, once."""

    def rows():
        yield call(1)
        raise ValueError(CANARY)

    async def leave_early(uc):
        async with uc.stream(rows()) as run, contextlib.aclosing(run.events(every=60.0)) as events:
            await anext(events)
            while run.look().state == "running":
                await asyncio.sleep(0.001)

    async with client_of(emulator) as uc:
        with pytest.raises(ValueError, match=CANARY):
            await leave_early(uc)


async def test_a_viewer_asks_for_a_pace_that_exists(emulator):
    """No pace, or none at all, is refused before anything is read."""
    async with client_of(emulator) as uc, uc.stream([]) as run:
        for every in (0, -1, float("nan")):
            with pytest.raises(SettingsError, match="above 0"):
                await anext(run.events(every=every))
        await run.finish()


async def test_a_listener_that_fails_harms_nobody(emulator, caplog):
    """Its error is logged by its class alone, and every call and every other listener goes on."""
    heard = []

    def broken(event):
        raise ValueError(CANARY)

    limiter = Limiter()
    limiter.events.subscribe(broken)
    leave = limiter.events.subscribe(heard.append)
    emulator.set_faults(fault(fault="status", status=429, count=1))
    async with client_of(emulator, limiter=limiter) as uc:
        assert (await uc.bulk(calls(5))).succeeded == 5
        leave()
        emulator.set_faults(fault(fault="status", status=429, count=1))
        assert (await uc.bulk(calls(5))).succeeded == 5
    assert [type(event) for event in heard] == [GateClosed, GateOpened]
    assert "a listener failed: ValueError" in caplog.text
    assert CANARY not in caplog.text


async def test_a_listener_hears_what_it_asked_for(emulator):
    """Without kinds that are the calls whose callers went away; a closed client tells nothing of its limiter."""
    limiter, all_of_them, logins = Limiter(), [], []
    async with client_of(emulator, limiter=limiter) as uc:
        uc.listen(all_of_them.append)
        uc.listen(logins.append, LoggedIn, Abandoned)
        await uc.login()
    limiter.overloaded(0.0)
    assert (all_of_them, logins) == ([], [LoggedIn(generation=1)])


async def test_a_run_in_the_background_has_the_same_stream(emulator, caplog):
    """Its events carry its name, and end with the look at the ended run whatever it failed with."""

    def rows():
        yield call(1)
        raise ValueError(CANARY)

    async with Service(lambda: client_of(emulator)) as service:
        run = await service.start("march", service.client.stream(rows()))
        events = [event async for event in run.events(every=60.0)]
        with pytest.raises(ValueError, match=CANARY):
            await run.finished()
    assert isinstance(events[-1], Progress)
    assert (events[-1].name, events[-1].state, events[-1].error) == ("march", "failed", "ValueError")
    assert CANARY not in f"{events!r}{caplog.text}"
    assert "run march failed: ValueError" in caplog.text
