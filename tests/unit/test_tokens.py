"""One token for all: shared logins, refused tokens, the ping-pong breaker and the end of a session."""

import asyncio
import logging
import traceback

import anyio
import pytest

from ucontact_async.errors import (
    Forbidden,
    InvalidRequest,
    NotSent,
    ReplyLost,
    ServerFault,
    SessionStolen,
    SettingsError,
    Throttled,
    UContactError,
    Unauthorized,
    UnreadableReply,
)
from ucontact_async.settings import Secret
from ucontact_async.tokens import GRACE, Token, TokenManager

CANARY = "Y2FuYXJ5OmNhbmFyeQ=="


class Server:
    """A server's side of login and logout: counts both, fails and waits when told to; time stands still."""

    def __init__(self):
        self.now = 1000.0
        self.logins = 0
        self.ended = []
        self.failure = None
        self.logout_failure = None
        self.gate = anyio.Event()
        self.gate.set()
        self.tasks = []

    async def login(self):
        """Answer with the next token."""
        self.logins += 1
        number = self.logins
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return f"{CANARY[:-2]}{number}"

    async def logout(self, token):
        """Note that ``token`` is dead."""
        await asyncio.sleep(0)
        if self.logout_failure is not None:
            raise self.logout_failure
        self.ended.append(token)

    def spawn(self, work):
        """Start a task that belongs to no test."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    def manager(self, **options):
        """Return a manager that talks to this server."""
        return TokenManager(login=self.login, logout=self.logout, spawn=self.spawn, clock=lambda: self.now, **options)

    def close_gate(self):
        """Let logins wait until the gate opens."""
        self.gate = anyio.Event()


@pytest.fixture
async def server():
    server = Server()
    yield server
    server.gate.set()
    await asyncio.gather(*server.tasks, return_exceptions=True)


async def start(count, call):
    """Start ``count`` calls and let them come to where they wait."""
    tasks = [asyncio.get_running_loop().create_task(call()) for _ in range(count)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_two_hundred_waiters_share_one_login(server):
    """However many calls need the first token, one login is made."""
    tokens = server.manager()
    assert tokens.peek() is None
    got = await asyncio.gather(*(tokens.current() for _ in range(200)))
    assert server.logins == 1
    assert {token.generation for token in got} == {1}
    assert tokens.peek() is got[0] is await tokens.current()


async def test_two_hundred_refusals_share_one_login(server):
    """Two hundred requests refused with the same token lead to one login."""
    tokens = server.manager()
    old = await tokens.current()
    got = await asyncio.gather(*(tokens.replace(old) for _ in range(200)))
    assert server.logins == 2
    assert {token.generation for token in got} == {2}


async def test_a_late_refusal_of_an_old_token_does_not_log_in(server):
    """A request that was refused with a token replaced since gets the newer one."""
    tokens = server.manager()
    old = await tokens.current()
    new = await tokens.replace(old)
    assert await tokens.replace(old) is new
    assert server.logins == 2
    assert tokens.peek() is new


async def test_a_login_that_answers_the_same_token_is_not_buried_by_late_refusals(server):
    """Where the server answers the same text again, the generation still tells the tokens apart."""

    async def login():
        server.logins += 1
        return "same"

    server.login = login
    tokens = server.manager()
    old = await tokens.current()
    new = await tokens.replace(old)
    assert await tokens.replace(old) is new
    assert server.logins == 2


@pytest.mark.parametrize("cancelled", [[0], [5], range(9), range(1, 10)])
async def test_a_cancelled_waiter_takes_nobody_with_it(server, cancelled):
    """Whoever is cancelled, even the first, the login goes on and the others get its token."""
    server.close_gate()
    tokens = server.manager()
    tasks = await start(10, tokens.current)
    for place in cancelled:
        tasks[place].cancel()
    await asyncio.sleep(0)
    server.gate.set()
    got = await asyncio.gather(*tasks, return_exceptions=True)
    assert server.logins == 1
    for place, outcome in enumerate(got):
        assert isinstance(outcome, asyncio.CancelledError if place in cancelled else Token)


async def test_a_login_that_nobody_waits_for_any_more_is_kept_and_ended(server):
    """With all waiters cancelled the login runs to its end, and closing ends its session."""
    server.close_gate()
    tokens = server.manager()
    (task,) = await start(1, tokens.current)
    task.cancel()
    await asyncio.wait([task])
    server.gate.set()
    await asyncio.wait(server.tasks)
    assert tokens.peek() is not None
    await tokens.aclose()
    assert len(server.ended) == 1


async def test_a_failure_is_shared_by_all_who_waited_for_it(server):
    """One failed login answers all who waited, each with an instance of its own; a later call tries again."""
    tokens = server.manager()
    server.failure = Unauthorized("the server refused user and password (it answered 0)", status=200)
    got = await asyncio.gather(*(tokens.current() for _ in range(200)), return_exceptions=True)
    assert server.logins == 1
    assert {type(error) for error in got} == {Unauthorized}
    assert len({id(error) for error in got}) == 200
    assert max(len(traceback.extract_tb(error.__traceback__)) for error in got) < 5
    server.failure = None
    assert (await tokens.current()).generation == 1
    assert server.logins == 2


async def test_a_refused_token_is_not_handed_out_after_a_failed_login(server):
    """While its replacement fails, a refused token is neither seen nor returned."""
    tokens = server.manager()
    old = await tokens.current()
    server.failure = NotSent("connection refused")
    with pytest.raises(NotSent):
        await tokens.replace(old)
    assert tokens.peek() is None
    with pytest.raises(NotSent, match="login failed: connection refused"):
        await tokens.current()
    server.failure = None
    assert (await tokens.replace(old)).generation == 2


@pytest.mark.parametrize(
    ("failure", "seen", "transient"),
    [
        (NotSent("DNS", transient=True), "DNS", True),
        (NotSent("TLS", transient=False), "TLS", False),
        (ReplyLost("no answer within 30 s", phase="sent"), "no answer within 30 s", True),
        (ServerFault("HTTP 500", status=500), "HTTP 500", True),
        (UnreadableReply(f"a body this endpoint never gives: {CANARY}", status=200), "holds no token", True),
        (Throttled("slow down", status=429), "slow down", True),
        (Forbidden("the user may not do this", status=403), "may not", False),
    ],
)
async def test_a_command_that_waited_for_a_failed_login_did_not_happen(server, failure, seen, transient):
    """Whatever became of the login, the command behind it was surely not sent."""
    server.failure = failure
    with pytest.raises(NotSent, match=f"login failed: .*{seen}") as caught:
        await server.manager().current()
    assert caught.value.transient is transient
    assert not caught.value.may_have_happened
    assert caught.value.__context__ is caught.value.__cause__ is None
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("failure", [SettingsError("a login needs user and password"), InvalidRequest("user", "empty")])
async def test_errors_of_the_settings_pass_unchanged(server, failure):
    """What only the user can put right keeps its kind and its words."""
    server.failure = failure
    with pytest.raises(type(failure), match=str(failure)) as caught:
        await server.manager().current()
    assert vars(caught.value) == vars(failure)


async def test_a_bug_in_the_login_is_not_disguised(server):
    """An error that is none of ours reaches the waiters as it is."""
    server.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await server.manager().current()


async def test_ping_pong_ends_after_two_logins(server):
    """Two tokens in a row that die young: no third login, from whatever call, until a minute has passed."""
    tokens = server.manager()
    first = await tokens.current()
    server.now += 59.9
    second = await tokens.replace(first)
    server.now += 30
    got = await asyncio.gather(*(tokens.replace(second) for _ in range(50)), return_exceptions=True)
    assert {type(error) for error in got} == {SessionStolen}
    assert got[0].status == 401
    server.now += 29
    with pytest.raises(SessionStolen, match="someone else logs in as this user"):
        await tokens.current()
    with pytest.raises(SessionStolen):
        await tokens.replace(first)
    assert tokens.peek() is None
    assert server.logins == 2


async def test_after_a_minute_one_login_more_is_tried(server):
    """A stolen session is tried again a minute after the last login: one login, and stolen again if it dies young."""
    tokens = server.manager()
    second = await tokens.replace(await tokens.current())
    with pytest.raises(SessionStolen):
        await tokens.replace(second)
    server.now += 60
    third = await tokens.current()
    assert (third.generation, server.logins) == (3, 3)
    server.now += 1
    with pytest.raises(SessionStolen):
        await tokens.replace(third)
    assert server.logins == 3
    server.now += 60
    fourth = await tokens.current()
    server.now += 61
    fifth = await tokens.replace(fourth)
    server.now += 1
    await tokens.replace(fifth)
    assert server.logins == 6


async def test_a_token_that_lived_resets_the_count(server):
    """Early deaths count only in a row."""
    tokens = server.manager()
    token = await tokens.current()
    for age in (1, 61, 1, 3600, 1, 60, 1):
        server.now += age
        token = await tokens.replace(token)
    assert server.logins == 8


async def test_refusals_of_one_token_count_once(server):
    """A hundred requests refused with one young token are one early death, not a hundred."""
    tokens = server.manager()
    first = await tokens.current()
    for _ in range(3):
        await asyncio.gather(*(tokens.replace(first) for _ in range(100)))
    assert server.logins == 2


async def test_a_given_token_is_never_replaced_and_never_ended(server):
    """A token that was given is used as it is; refused, it raises; closing leaves it alive."""
    tokens = server.manager(given=Secret(CANARY))
    token = await tokens.current()
    assert token is tokens.peek()
    assert (token.given, token.value) == (True, Secret(CANARY))
    with pytest.raises(Unauthorized, match="given token was refused; give a new one"):
        await tokens.replace(token)
    await tokens.aclose()
    assert (server.logins, server.ended) == (0, [])


async def test_closing_ends_the_session_once(server):
    """Only what was obtained by login is ended, once, however often the client is closed."""
    tokens = server.manager()
    token = await tokens.current()
    await tokens.aclose()
    await tokens.aclose()
    assert server.ended == [token.value.reveal()]
    assert tokens.peek() is None
    with pytest.raises(RuntimeError, match="the client is closed"):
        await tokens.current()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await tokens.replace(token)


async def test_closing_without_a_live_session_ends_nothing(server):
    """Neither an unused manager nor one whose token was refused for good has anything to end."""
    await server.manager().aclose()
    tokens = server.manager()
    token = await tokens.current()
    server.failure = NotSent("connection refused")
    with pytest.raises(NotSent):
        await tokens.replace(token)
    await tokens.aclose()
    assert server.ended == []


async def test_closing_works_in_a_cancelled_scope(server):
    """The session is ended although everything around is being cancelled."""
    tokens = server.manager()
    with anyio.CancelScope() as scope:
        try:
            await tokens.current()
            scope.cancel()
            await anyio.sleep(1)
        finally:
            await tokens.aclose()
    assert len(server.ended) == 1


async def test_closing_ends_the_token_of_a_login_in_flight(server):
    """A login under way when the client closes is waited for, and its session ended."""
    server.close_gate()
    tokens = server.manager()
    tasks = await start(3, tokens.current)
    async with anyio.create_task_group() as group:
        group.start_soon(tokens.aclose)
        await anyio.sleep(0.01)
        assert server.ended == []
        server.gate.set()
    assert len(server.ended) == server.logins == 1
    await asyncio.wait(tasks)


@pytest.mark.parametrize("hanging", ["login", "logout"])
async def test_closing_is_bounded(server, monkeypatch, caplog, hanging):
    """A server that hangs holds the end up for a few seconds, not for ever, and no task is left."""
    assert GRACE == 5.0
    monkeypatch.setattr("ucontact_async.tokens.GRACE", 0.05)
    tokens = server.manager()
    if hanging == "login":
        server.close_gate()
        (task,) = await start(1, tokens.current)
    else:
        await tokens.current()
        server.logout = tokens._logout = lambda _: anyio.sleep_forever()
    with anyio.fail_after(1):
        await tokens.aclose()
    assert "the session was not ended: no answer within" in caplog.text
    if hanging == "login":
        with pytest.raises(NotSent, match="the client was closed meanwhile"):
            await task
        assert server.tasks[0].cancelled()


@pytest.mark.parametrize("failure", [ServerFault("HTTP 500", status=500), ConnectionResetError(CANARY), TimeoutError()])
async def test_a_failing_logout_masks_nothing(server, caplog, failure):
    """An error of the logout is a warning; the error that ended the block is the one that is seen."""
    server.logout_failure = failure
    tokens = server.manager()

    async def block():
        try:
            await tokens.current()
            raise KeyError("the user's own")
        finally:
            await tokens.aclose()

    with pytest.raises(KeyError, match="the user's own") as caught:
        await block()
    assert caught.value.__context__ is None
    assert type(failure).__name__ in caplog.text
    assert CANARY not in caplog.text


async def test_no_token_shows_itself(server, caplog):
    """No repr, error, traceback with local variables or log line holds the text of a token."""
    caplog.set_level(logging.DEBUG)
    tokens = server.manager()
    token = await tokens.current()
    secret = token.value.reveal()
    seen = [repr(token), str(token), f"{token}", repr(tokens), repr(vars(tokens)), repr(server.tasks)]
    failures = [ServerFault("x", status=500), UnreadableReply(secret), Unauthorized("y", status=401), OSError("z")]
    for failure in failures:
        server.failure = failure
        try:
            await tokens.replace(token)
        except (UContactError, OSError) as error:
            told = traceback.TracebackException.from_exception(error, capture_locals=True)
            own = [line for line in told.format() if "test_tokens.py" not in line]
            seen += [repr(error), *own]
    server.failure = None
    server.logout_failure = ServerFault(secret, status=500)
    await tokens.current()
    await tokens.aclose()
    seen.append(caplog.text)
    assert seen
    assert secret[:-1] not in "".join(seen)


async def test_contradictory_settings_are_refused(server):
    """A given token cannot be shared, and a store must know whose token it keeps."""
    with pytest.raises(SettingsError, match="not both"):
        server.manager(given=Secret("x"), store=object(), owner="x")
    with pytest.raises(SettingsError, match="whose token"):
        server.manager(store=object())
