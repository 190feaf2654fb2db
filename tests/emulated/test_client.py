import asyncio
import gc
import logging
import pickle
import time
import traceback
from datetime import datetime

import anyio
import msgspec
import pytest
from scripted_server import ANSWER, Scripted

from ucontact_async import (
    Abandoned,
    DialerTask,
    HangUp,
    InvalidRequest,
    LoggedIn,
    NotSent,
    RemoveContact,
    Reply,
    ReplyLost,
    Safety,
    ScheduledCall,
    SessionStolen,
    SettingsError,
    Throttled,
    UContact,
    UContactError,
    Unauthorized,
    UnreadableReply,
)
from ucontact_async.api import endpoint_of
from ucontact_async.caller import HttpCaller
from ucontact_async.emulator import Emulator, Switches
from ucontact_async.endpoint import Flight
from ucontact_async.limiter import Limiter
from ucontact_async.retry import RetryRule

each_lane = pytest.mark.parametrize("lane", ["command", "session"])
SCHEDULE = "Dialers/ScheduleDialerCall"
WHEN = datetime(2027, 5, 5, 10)


def client_of(emulator, **options):
    return UContact(emulator.url, **{"user": "api", "password": "secret", "timezone": "America/Montevideo", **options})


def call(number="090000001", **fields):
    return ScheduledCall(**{"campaign": "Ventas->", "destination": number, "calldate": WHEN, **fields})


async def test_a_call_is_made_with_its_fields(emulator):
    """A scheduled call reaches the server with every field as the page documents it."""
    async with client_of(emulator) as uc:
        answer = await uc.dialers.schedule(
            campaign="Ventas->",
            destination="090000001",
            calldate=WHEN,
            alternatives=["090000002", "090000003"],
            agentphone="1001",
            data={"id": "7", "nombre": "Ñandú & Cía + 50%"},
        )
    assert answer is None
    (entry,) = emulator.ledger
    assert entry.fields == {
        "campaign": "Ventas->",
        "destination": "090000001",
        "calldate": "2027-05-05 10:00:00",
        "alternatives": "090000002:090000003",
        "agentphone": "1001",
        "data": "id=7:nombre=Ñandú & Cía + 50%",
    }


async def test_the_same_request_as_a_value(emulator):
    """send() performs any request and returns its reply."""
    async with client_of(emulator) as uc:
        await uc.send(call())
        await uc.send(DialerTask.urgent(campaign="Ventas<-", destination="090000002"))
        await uc.send(RemoveContact(campaign="Ventas<-", destination="090000002"))
    assert [entry.endpoint for entry in emulator.ledger] == [
        SCHEDULE,
        "Dialers/DialerTask",
        "Dialers/RemoveContact",
    ]


async def test_login_once_and_logout_at_the_end(emulator):
    """One login serves all calls, and the session is ended when the client closes."""
    async with client_of(emulator) as uc:
        for number in range(3):
            await uc.send(call(f"09000000{number}"))
        assert (emulator.ledger.logins, len(emulator.state.sessions.live)) == (1, 1)
    assert len(emulator.state.sessions.live) == 0


async def test_an_old_server_is_logged_in_to(anyio_backend):
    """Where getUserToken answers 404, UserLogin is asked, and from then on at once."""
    async with Emulator(switches=Switches(get_user_token="absent")) as emulator, client_of(emulator) as uc:
        await uc.send(call())
        assert len(emulator.ledger) == 1


async def test_a_server_that_was_being_deployed_is_not_taken_for_an_old_one(emulator):
    """Where both login endpoints are missing for a moment, the next login asks for the new one again."""
    gone = {"fault": "status", "status": 404}
    emulator.set_faults({"rules": [{"endpoint": "auth/*", **gone}]})
    async with client_of(emulator) as uc:
        with pytest.raises(NotSent):
            await uc.campaigns.summary()
        emulator.set_faults({"rules": [{"endpoint": "auth/UserLogin", **gone}]})
        assert await uc.campaigns.summary()


async def test_a_dead_token_costs_200_callers_one_login(emulator):
    """200 coroutines that meet an expired token at once log in once, and all of them succeed."""
    async with client_of(emulator, limiter=Limiter(200)) as uc:
        await uc.send(call())
        emulator.state.sessions.live.clear()
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(uc.send, call(f"0901{number:05d}"))
    assert emulator.ledger.logins == 2
    assert len(emulator.ledger.of(SCHEDULE)) == 201


async def test_a_failing_login_is_one_attempt(emulator):
    """All who wait for a login that is refused share its failure."""
    async with client_of(emulator, password="wrong") as uc:
        results = await asyncio.gather(*(uc.send(call(f"0901{n:05d}")) for n in range(50)), return_exceptions=True)
    assert {type(result) for result in results} == {Unauthorized}
    assert emulator.ledger.requests["auth/getUserToken"] == 1
    assert len(emulator.ledger) == 0


async def test_a_login_that_fails_is_never_an_unknown_outcome(emulator):
    """A command that waited for a login which broke was not sent, and says so."""
    emulator.set_faults({"rules": [{"endpoint": "auth/*", "fault": "close_after_read"}]})
    async with client_of(emulator) as uc:
        with pytest.raises(NotSent):
            await uc.send(call())


async def test_a_given_token_is_used_and_never_ended(emulator):
    """A given token makes no login and survives the client; refused, it raises at once."""
    async with client_of(emulator) as first:
        await first.send(call())
        (token,) = list(emulator.state.sessions.live)
        async with UContact(emulator.url, token=token, timezone="America/Montevideo") as uc:
            await uc.send(call("090000002"))
        assert token in emulator.state.sessions.live
    async with UContact(emulator.url, token=token, timezone="America/Montevideo") as uc:
        with pytest.raises(Unauthorized):
            await uc.send(call("090000003"))
    assert emulator.ledger.logins == 1


async def test_two_clients_that_log_each_other_out_notice(emulator):
    """Tokens that die within a minute of their birth end in SessionStolen, not in a fight."""
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "status", "status": 401}]})
    async with client_of(emulator) as uc:
        with pytest.raises(Unauthorized):
            await uc.send(call())
        with pytest.raises(SessionStolen):
            await uc.send(call())
        assert emulator.ledger.logins == 2


async def test_nothing_is_sent_for_a_bad_request(emulator):
    """A request that breaks a rule raises before a connection is opened."""
    async with client_of(emulator) as uc:
        with pytest.raises(InvalidRequest, match="destination"):
            await uc.send(call("0900 00001"))
        with pytest.raises(InvalidRequest, match="campaign"):
            await uc.send(call(campaign="Ventas"))
    assert not emulator.ledger.requests


@pytest.mark.parametrize(
    "afterwards",
    [
        lambda connection: connection.sendall(ANSWER),
        # Alone in the buffer: it is read in the very turn between connection and first byte.
        lambda connection: time.sleep(0.002) or connection.sendall(ANSWER),
        lambda connection: True,
    ],
    ids=["answers again", "answers again later", "closes"],
)
@pytest.mark.parametrize(("connection", "lane"), [("keep", "command"), ("keep", "session"), ("fresh", "auto")])
async def test_a_poisoned_connection_is_not_used(afterwards, connection, lane):
    """What waits unread on an idle connection, an answer or its end, is neither our answer nor our loss."""
    betrayed = 0

    def answer(peer, number, request):
        nonlocal betrayed
        peer.sendall(ANSWER)
        over = b"Dialers" in request and afterwards(peer)
        betrayed += b"Dialers" in request
        return over

    with Scripted(answer) as server:
        async with UContact(server.url, token="x", timezone="UTC", connection=connection, lane=lane) as uc:
            for number in range(30):
                await uc.send(call(f"0900000{number:02d}"))
                while betrayed <= number:
                    time.sleep(0.001)  # noqa: ASYNC251  a busy loop: it has not seen yet what came meanwhile
                time.sleep(0.004)  # noqa: ASYNC251
        assert betrayed == 30


async def test_cancelled_before_the_first_byte_nothing_happens(emulator):
    """A caller that is cancelled while it waits for a slot leaves nothing behind."""
    limiter = Limiter(1)
    async with client_of(emulator, limiter=limiter) as uc:
        await uc.login()
        await limiter.acquire()
        with anyio.move_on_after(0.05) as scope:
            await uc.send(call())
        assert scope.cancelled_caught
        limiter.release()
        await asyncio.sleep(0.05)
    assert not emulator.ledger.requests[SCHEDULE]


@each_lane
async def test_cancelled_after_the_first_byte_the_call_is_finished(emulator, lane):
    """A caller cancelled in the middle of a call that must not be repeated learns its end as an event."""
    events = []
    emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "latency", "seconds": 0.15}]})
    async with client_of(emulator, lane=lane) as uc:
        uc.listen(events.append)
        await uc.login()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(uc.send, call())
                while not emulator.ledger.in_flight:
                    await asyncio.sleep(0.001)
                scope.cancel()
        assert events == []
    assert events == [Abandoned(call())]
    assert len(emulator.ledger) == 1


async def test_a_listener_that_fails_harms_no_other(emulator, caplog):
    """Whoever listens beside one that fails hears of logins and abandoned calls all the same."""
    events = []
    emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "latency", "seconds": 0.1}]})
    async with client_of(emulator) as uc:
        for listener in (lambda _: 1 / 0, events.append):
            uc.listen(listener, Abandoned, LoggedIn)
        await uc.login()
        task = asyncio.ensure_future(uc.send(call()))
        while not emulator.ledger.in_flight:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
    assert events == [LoggedIn(generation=1), Abandoned(call())]
    assert caplog.text.count("a listener failed: ZeroDivisionError") == 2


@each_lane
async def test_a_finished_call_may_end_badly(emulator, lane):
    """The event of an abandoned call carries the error that it ended in."""
    events = []
    emulator.set_faults(
        {
            "rules": [
                {"fault": "latency", "seconds": 0.1, "endpoint": SCHEDULE},
                {"fault": "close_after_apply", "endpoint": SCHEDULE},
            ]
        }
    )
    async with client_of(emulator, lane=lane) as uc:
        uc.listen(events.append)
        await uc.login()
        task = asyncio.ensure_future(uc.send(call()))
        while not emulator.ledger.in_flight:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [type(event.error) for event in events] == [ReplyLost]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("request_", "send_by"),
    [
        (DialerTask.now(campaign="Ventas<-", destination="090000001"), 5.0),
        (HangUp(phone="1001"), 3.0),
    ],
    ids=["click-to-call", "hang-up"],
)
async def test_what_must_ring_or_end_now_is_not_done_late(emulator, request_, send_by, late):
    """What waits for a slot until its first byte would be late is given up, and a moment before that it is sent."""
    moment = 0.0
    limiter = Limiter(1)
    async with client_of(emulator, limiter=limiter) as uc:
        await uc.login()
        caller = HttpCaller(
            settings=uc.settings,
            lane=uc._caller.lane,
            limiter=limiter,
            retry=RetryRule(),
            spawn=uc._spawn,
            tokens=uc._caller.tokens,
            clock=lambda: moment,
        )
        await limiter.acquire()
        waiting = asyncio.ensure_future(caller.perform(caller.prepare(request_), Flight(), wait=None))
        while not limiter.stats.waiting:
            await asyncio.sleep(0)
        moment = send_by + (0.01 if late else -0.01)
        limiter.release()
        (ended,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(ended, NotSent) is late
    assert emulator.ledger.requests[endpoint_of(request_).path] == (not late)


async def test_the_escape_hatch(emulator):
    """request() reaches endpoints that are not in the table, through the same loop and with the same errors."""
    async with client_of(emulator) as uc:
        form = {"campaign": "Ventas->", "number": "090000001"}
        assert await uc.request("Dialers/RemoveContact", form, reply=Reply.DONE, safety=Safety.REPEATABLE) is None
        assert await uc.request("Dialers/RemoveContact", form, reply=Reply.TEXT, safety=Safety.READ) == "1"
        with pytest.raises(UContactError, match="404"):
            await uc.request("/IntegraChannels/resources/X", {}, reply=Reply.JSON, safety=Safety.READ)


async def test_a_repeatable_call_is_repeated(emulator):
    """After a lost answer a removal is sent again; what must ring once is not."""
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "close_after_apply", "count": 1}]})
    async with client_of(emulator) as uc:
        await uc.dialers.remove_contact(campaign="Ventas->", destination="090000001")
    assert emulator.ledger.requests["Dialers/RemoveContact"] == 2


async def test_options_share_everything_else(emulator):
    """with_options changes the time-out of the copy only, and both share session and limiter."""
    emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "hang_after_apply", "count": 1}]})
    async with client_of(emulator) as uc:
        with pytest.raises(ReplyLost):
            await uc.with_options(timeout=0.1).send(call())
        await uc.send(call("090000002"))
    assert emulator.ledger.logins == 1


@each_lane
async def test_no_secret_and_no_number_in_what_is_shown(emulator, caplog, lane):
    """Errors, their tracebacks, logs and reprs hold neither password, token nor telephone number."""
    caplog.set_level(logging.DEBUG)
    shown = []
    secretive = call("098344484", data={"name": "Fulana"})
    for fault in ("close_after_apply", "reset_before_read", "status", "body", "truncated"):
        async with client_of(emulator, lane=lane, password="secret") as uc:
            await uc.login()
            tokens = list(emulator.state.sessions.live)
            emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": fault}]})
            with pytest.raises(UContactError) as raised:
                await uc.send(secretive)
            emulator.set_faults(None)
            error = raised.value
            shown += [str(error), repr(error), repr(uc), repr(uc.settings), repr(secretive)]
            shown += ["".join(traceback.format_exception(error))]
            inside = error.__traceback__.tb_next  # our frames; this test's own holds what it looks for
            shown += traceback.TracebackException(type(error), error, inside, capture_locals=True).format()
            copy = pickle.loads(pickle.dumps(error))
            shown += [repr(copy), repr(copy.__dict__)]
            assert (type(copy), copy.endpoint, copy.attempts) == (type(error), SCHEDULE, error.attempts)
    shown.append(caplog.text)
    for text in shown:
        for secret in ("=secret", "'secret'", "098344484", "Fulana", *tokens):
            assert secret not in text


@each_lane
async def test_nothing_is_left_open(emulator, lane):
    """A closed client leaves no task, no connection and no resource warning."""
    async with client_of(emulator, lane=lane) as uc:
        await asyncio.gather(*(uc.send(call(f"0901{n:05d}")) for n in range(20)))
    gc.collect()
    await asyncio.sleep(0)
    assert emulator.ledger.in_flight == 0


@each_lane
async def test_one_client_one_loop(emulator, lane):
    """A client used from another event loop says so instead of hanging."""
    async with client_of(emulator, lane=lane) as uc:
        await uc.send(call())

        def elsewhere():
            return asyncio.run(uc.send(call("090000002")))

        with pytest.raises(RuntimeError, match="event loop"):
            await anyio.to_thread.run_sync(elsewhere)


def test_settings_that_cannot_work_are_refused():
    """A client without credentials, or with a bad address or zone, is refused when it is made."""
    with pytest.raises(SettingsError, match="user and password"):
        UContact("https://acme.example")
    with pytest.raises(SettingsError, match="https://"):
        UContact("acme.example", user="a", password="b")
    with pytest.raises(SettingsError, match="IANA"):
        UContact("https://acme.example", user="a", password="b", timezone="Montevideo")


async def test_a_long_retry_after_does_not_hold_an_interactive_call(emulator):
    """A call that would have to wait longer than it may raises Throttled at once, and the next NotSent."""
    emulator.set_faults(
        {"rules": [{"endpoint": SCHEDULE, "fault": "status", "status": 429, "headers": {"Retry-After": "200"}}]}
    )
    async with client_of(emulator) as uc:
        with pytest.raises(Throttled) as raised:
            await uc.send(call())
        assert (raised.value.retry_after, raised.value.attempts) == (200, 1)
        with pytest.raises(NotSent, match="slow down"):
            await uc.send(call())
    assert emulator.ledger.requests[SCHEDULE] == 1


async def test_a_wait_for_a_slot_is_bounded_once(emulator):
    """No slot within the time to wait is NotSent after that time, not after three times as long, and closes no gate."""
    limiter = Limiter(1)
    async with client_of(emulator, limiter=limiter) as uc:
        await uc.login()
        await limiter.acquire()
        hurried = HttpCaller.with_options(uc._caller, msgspec.structs.replace(uc.settings, wait=0.05), "interactive")
        with pytest.raises(NotSent, match="slot") as raised:
            await hurried.call(endpoint_of(call()), call())
        assert raised.value.attempts == 1
        assert not limiter.closed
        limiter.release()


async def test_a_gate_that_closes_while_a_call_is_armed_holds_it_back(emulator):
    """Between mark and slot the server may ask to slow down: the mark is taken back and nothing is sent till then."""

    class Watched(Flight):
        arms = True
        history = ()

        async def arm(self):
            self.history += ("armed",)
            if len(self.history) == 1:
                uc.limiter.overloaded(0.2)

        def withdraw(self):
            self.history += ("withdrawn", emulator.ledger.requests[SCHEDULE])

    async with client_of(emulator) as uc:
        await uc.login()
        flight = Watched()
        await uc._caller.perform(uc._caller.prepare(call()), flight, wait=None)
    assert flight.history == ("armed", "withdrawn", 0, "armed")
    assert emulator.ledger.requests[SCHEDULE] == 1


@each_lane
async def test_an_endless_answer_is_cut_off(emulator, lane):
    """A command's answer is read up to 64 KiB and no further."""
    emulator.set_faults({"rules": [{"endpoint": SCHEDULE, "fault": "body", "body": "1" * 3_000_000}]})
    async with client_of(emulator, lane=lane) as uc:
        with pytest.raises(UnreadableReply, match="longer than 65536 bytes"):
            await uc.send(call())
