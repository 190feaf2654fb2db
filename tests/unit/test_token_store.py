"""One token file, many processes: one login, one logout, nothing that others can read."""

import asyncio
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time

import anyio
import pytest

from ucontact_async.errors import SessionStolen, SettingsError
from ucontact_async.settings import Secret
from ucontact_async.token_store import FileTokenStore, StoredToken
from ucontact_async.tokens import TokenManager

OWNER = "https://acme.example api"
CANARY = "Y2FuYXJ5OmNhbmFyeQ=="

posix = pytest.mark.skipif(os.name != "posix", reason="file modes, umask and signals are POSIX")

# One process of a fleet. It says what it did on stdout and does what it is told on stdin.
WORKER = """
import asyncio, os, sys
from ucontact_async.token_store import FileTokenStore
from ucontact_async.tokens import TokenManager

path, ledger, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])

def note(word):
    with open(ledger, "a") as file:
        file.write(word + "\\n")

async def login():
    note("login")
    print("in login", flush=True)
    await asyncio.sleep(seconds)
    return f"token-of-{os.getpid()}"

async def logout(token):
    note("logout " + token)

async def main():
    spawn = asyncio.get_running_loop().create_task
    store = FileTokenStore(path)
    tokens = TokenManager(login=login, logout=logout, spawn=spawn, store=store, owner="https://acme.example api")
    token = await tokens.current()
    print("token", token.generation, flush=True)
    for line in sys.stdin:
        if line == "401\\n":
            got = await asyncio.gather(*(tokens.replace(token) for _ in range(50)))
            assert len(set(got)) == 1
            token = got[0]
            print("token", token.generation, token.value.reveal(), flush=True)
        elif line == "die\\n":
            os.kill(os.getpid(), 9)
        else:
            await tokens.aclose()
            print("closed", flush=True)

asyncio.run(main())
"""


class Fleet:
    """Starts worker processes on one token file and talks to them."""

    def __init__(self, folder):
        self.path = folder / "token"
        self.ledger = folder / "ledger"
        self.processes = []

    def start(self, count, *, login_seconds=0.05):
        """Start ``count`` processes at once."""
        command = [sys.executable, "-c", WORKER, str(self.path), str(self.ledger), str(login_seconds)]
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            for _ in range(count)
        ]
        self.processes += started
        return started

    def noted(self):
        """Return what the server saw."""
        return self.ledger.read_text().splitlines()

    def end(self):
        """Leave no process behind."""
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.end()


def tell(processes, word):
    """Tell all ``processes`` the same, at once."""
    for process in processes:
        process.stdin.write(f"{word}\n")


def hear(process, beginning="token"):
    """Return the next line of ``process`` that begins so, split into words."""
    for line in process.stdout:
        if line.startswith(beginning):
            return line.split()
    raise AssertionError("the process ended")


class Clock:
    """A monotonic and a wall clock that stand still until they are moved."""

    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        """Return the time."""
        return self.now


class Machine:
    """One machine with its clock and one server; each manager stands for a process."""

    def __init__(self, path):
        self.path = path
        self.clock = Clock()
        self.logins = 0
        self.valid = set()
        self.ended = []

    def store(self):
        """Return a store as a process of its own would have one."""
        return FileTokenStore(self.path, wall_clock=self.clock, sleep=lambda _: asyncio.sleep(0))

    def manager(self, *, store=None, owner=OWNER):
        """Return a manager as a process of its own would have one."""

        async def login():
            self.logins += 1
            token = f"{CANARY[:-2]}{self.logins}"
            await asyncio.sleep(0)
            self.valid = {token}  # the server keeps one session a user
            return token

        async def logout(token):
            await asyncio.sleep(0)
            self.valid.discard(token)
            self.ended.append(token)

        return TokenManager(
            login=login,
            logout=logout,
            spawn=asyncio.get_running_loop().create_task,
            store=store or self.store(),
            owner=owner,
            clock=self.clock,
        )


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "token")


@posix
def test_four_processes_meeting_401_at_once_log_in_once(fleet):
    """Four processes share the first login; 4 x 50 requests refused at once share the second; one logout ends it."""
    workers = fleet.start(4)
    assert [hear(worker) for worker in workers] == [["token", "1"]] * 4
    assert fleet.noted() == ["login"]
    tell(workers, "401")
    got = [hear(worker) for worker in workers]
    assert {(words[1], len(words)) for words in got} == {("2", 3)}
    assert len({words[2] for words in got}) == 1
    assert fleet.noted() == ["login", "login"]
    tell(workers, "close")
    for worker in workers:
        hear(worker, "closed")
    assert fleet.noted() == ["login", "login", f"logout {got[0][2]}"]
    assert not fleet.path.exists()


@posix
def test_a_killed_holder_does_not_keep_the_session_alive(fleet):
    """Of two holders one is killed by SIGKILL: the other is the last, and ends the session."""
    killed, last = fleet.start(2)
    hear(killed)
    hear(last)
    tell([killed], "die")
    assert killed.wait(5) == -signal.SIGKILL
    tell([last], "close")
    hear(last, "closed")
    assert [line.split()[0] for line in fleet.noted()] == ["login", "logout"]


@posix
def test_a_process_killed_in_its_login_gives_way_to_the_next(fleet):
    """The lock of a process that dies while it logs in is free at once."""
    (hanging,) = fleet.start(1, login_seconds=60)
    hear(hanging, "in login")
    (waiting,) = fleet.start(1)
    time.sleep(0.2)
    hanging.kill()
    assert hear(waiting) == ["token", "1"]
    assert fleet.noted() == ["login", "login"]


@posix
def test_the_token_of_a_crashed_fleet_is_used_by_the_next_start(fleet):
    """A fleet killed whole leaves a token that the next start takes over and, as the last holder, ends."""
    old = fleet.start(2)
    for worker in old:
        hear(worker)
    tell(old, "die")
    for worker in old:
        worker.wait(5)
    (new,) = fleet.start(1)
    assert hear(new) == ["token", "1"]
    assert fleet.noted() == ["login"]
    tell([new], "close")
    hear(new, "closed")
    assert [line.split()[0] for line in fleet.noted()] == ["login", "logout"]


async def test_two_managers_of_one_process_share_too(machine):
    """In one process, with two stores on one path or with one store, managers share as processes do."""
    one, two = machine.manager(), machine.manager()
    store = machine.store()
    three, four = machine.manager(store=store), machine.manager(store=store)
    managers = [one, two, three, four]
    got = [await manager.current() for manager in managers]
    assert len({token.value for token in got}) == 1
    got = await asyncio.gather(*(manager.replace(got[0]) for manager in managers for _ in range(50)))
    assert machine.logins == 2
    assert {token.generation for token in got} == {2}
    for manager in managers:
        assert machine.ended == []
        await manager.aclose()
    assert machine.ended == [got[0].value.reveal()]
    assert not machine.path.exists()


async def test_no_session_is_ended_under_a_process_that_starts_meanwhile(machine):
    """Managers that come and go at random never find their token dead while they are there."""
    dice = random.Random(7)

    async def turns(most):
        for _ in range(dice.randrange(most)):
            await asyncio.sleep(0)

    async def process():
        for _ in range(60):
            await turns(60)
            manager = machine.manager()
            token = await manager.current()
            assert token.value.reveal() in machine.valid
            await turns(20)
            assert token.value.reveal() in machine.valid
            await manager.aclose()

    await asyncio.gather(*(process() for _ in range(5)))
    assert len(machine.ended) == machine.logins
    assert 20 < machine.logins < 280  # some found a session, some began one: both happened often
    assert machine.valid == set()


async def test_ping_pong_is_seen_across_processes(machine):
    """Two tokens that die young stop the whole fleet after two logins, a process started since included."""
    one, two = machine.manager(), machine.manager()
    first = await one.current()
    machine.clock.now += 5
    second = await one.replace(first)
    assert await two.current() == second
    machine.clock.now += 5
    three = machine.manager()
    third = await three.current()
    for manager, token in ((one, second), (two, second), (three, third)):
        with pytest.raises(SessionStolen):
            await manager.replace(token)
    assert machine.logins == 2
    machine.clock.now += 60
    token = await one.current()
    assert (token.generation, machine.logins) == (3, 3)
    assert (await two.current()).generation == 3
    for manager in (one, two, three):
        await manager.aclose()


async def test_the_leftover_token_of_a_crash_is_not_taken_for_stolen(machine):
    """An old token in the file that turns out dead is replaced; its age, not this start, says that it lived."""
    machine.path.touch(0o600)
    store = machine.store()
    await store.join(OWNER)
    await store.write(value=Secret("left-over"), generation=41, deaths=1)
    machine.clock.now += 3600
    manager = machine.manager()
    old = await manager.current()
    assert (old.generation, old.born) == (41, machine.clock.now - 3600)
    new = await manager.replace(old)
    assert (new.generation, new.deaths) == (42, 0)
    await store.leave()
    await manager.aclose()


async def test_a_clock_set_back_does_not_make_a_token_young(machine):
    """After the wall clock jumped back an hour, a dead token of the file is no early death."""
    store = machine.store()
    await store.join(OWNER)
    await store.write(value=Secret("x"), generation=1, deaths=1)
    machine.clock.now -= 3600
    manager = machine.manager()
    assert (await manager.replace(await manager.current())).deaths == 0
    await store.leave()
    await manager.aclose()


async def test_a_removed_file_is_no_harm(machine):
    """Where somebody removes the file and a new process logs in, the others take over its token."""
    one = machine.manager()
    old = await one.current()
    machine.path.unlink()
    machine.clock.now += 100
    two = machine.manager()
    new = await two.current()
    assert (old.generation, new.generation, machine.logins) == (1, 1, 2)
    assert (await one.replace(old)).value == new.value
    assert machine.logins == 2
    await one.aclose()
    await two.aclose()
    assert machine.ended == [new.value.reveal()]


async def test_a_session_whose_file_was_removed_is_ended_all_the_same(machine):
    """The last holder ends the token it used itself where the file tells of none."""
    manager = machine.manager()
    token = await manager.current()
    machine.path.unlink()
    await manager.aclose()
    assert machine.ended == [token.value.reveal()]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"\xff\xfe",
        b"[" * 5000,
        b"x" * 20_000,
        b'{"version":1}',
        json.dumps({"version": 1, "owner": "", "generation": 0, "token": "a", "born": 1, "deaths": 0}).encode(),
        json.dumps({"version": 1, "owner": "", "generation": 1, "token": "a\nb", "born": 1, "deaths": 0}).encode(),
        json.dumps({"version": 1, "owner": "", "generation": 1, "token": "", "born": 1, "deaths": 0}).encode(),
    ],
)
async def test_corrupt_content_counts_as_none(machine, content):
    """What no process of ours wrote is replaced by a login; so is what a power cut left."""
    machine.path.touch(0o600)
    machine.path.write_bytes(content)
    manager = machine.manager()
    assert (await manager.current()).generation == 1
    assert json.loads(machine.path.read_bytes())["token"] == f"{CANARY[:-2]}1"
    await manager.aclose()


async def test_the_file_of_another_server_or_user_is_refused(machine):
    """A token is never sent to a server it is not from, and the other fleet's file is left as it is."""
    one = machine.manager()
    await one.current()
    content = machine.path.read_bytes()
    assert b"acme" not in content
    other = machine.manager(owner="https://other.example api")
    with pytest.raises(SettingsError, match="is the file of another server, user or version; give each its own"):
        await other.current()
    assert (machine.path.read_bytes(), machine.ended) == (content, [])
    await one.aclose()
    assert len(machine.ended) == 1, "who was refused is no holder"
    await other.aclose()
    assert machine.logins == 1


async def test_one_store_serves_one_owner(machine):
    """Two clients with different users cannot share a store, even before there is a file."""
    store = machine.store()
    await store.join(OWNER)
    with pytest.raises(SettingsError, match="another server"):
        await store.join("https://acme.example somebody-else")
    assert await store.leave() is True


@posix
async def test_nobody_else_can_read_any_file(machine):
    """Even under umask 000 every file is 0600, from its first moment, also the one that is renamed."""
    seen = []
    before = os.umask(0)
    try:
        manager = machine.manager()
        real = os.fsync

        def fsync(fd):
            seen.append(stat.S_IMODE(os.fstat(fd).st_mode))
            real(fd)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            await manager.replace(await manager.current())
        files = sorted(machine.path.parent.iterdir())
        assert [file.name for file in files] == ["token", "token.holders", "token.lock"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert seen == [0o600, 0o600]
        await manager.aclose()
        assert {file.stat().st_size for file in machine.path.parent.iterdir()} == {0}
    finally:
        os.umask(before)


@posix
@pytest.mark.parametrize("suffix", ["", ".lock", ".holders"])
async def test_a_file_that_others_can_reach_is_refused(machine, suffix):
    """A token file or lock that others can read or write is refused with what to do, without a login."""
    file = machine.path.with_name(f"token{suffix}")
    file.touch()
    file.chmod(0o640)
    with pytest.raises(SettingsError, match=r"can be reached by other users \(mode 640\); remove it, or chmod 600"):
        await machine.manager().current()
    assert machine.logins == 0


@posix
@pytest.mark.parametrize("suffix", ["", ".lock", ".holders"])
async def test_a_symbolic_link_is_refused(machine, suffix):
    """A link planted in the file's place leads nowhere."""
    target = machine.path.with_name("target")
    target.touch(0o600)
    machine.path.with_name(f"token{suffix}").symlink_to(target)
    with pytest.raises(SettingsError, match="is a symbolic link"):
        await machine.manager().current()
    assert (machine.logins, target.read_bytes()) == (0, b"")


@posix
async def test_what_is_no_file_is_refused(machine):
    """A pipe or a folder in the file's place neither holds the loop nor is taken for an empty file."""
    os.mkfifo(machine.path, 0o600)
    with pytest.raises(SettingsError, match="is not a file"):
        await machine.manager().current()
    machine.path.unlink()
    machine.path.mkdir(0o700)
    with pytest.raises(SettingsError, match="is not a file"):
        await machine.manager().current()


async def test_a_missing_directory_is_named(tmp_path):
    """The directory is not made by us, for its mode would be a guess."""
    machine = Machine(tmp_path / "missing" / "token")
    with pytest.raises(SettingsError, match=r"the directory of the token file .*missing.* does not exist; create it"):
        await machine.manager().current()


@posix
async def test_a_token_that_cannot_be_kept_is_ended(machine, monkeypatch, caplog):
    """On a full disk the login that nobody could share is undone, and the error holds no token."""
    machine.path.parent.joinpath("token.new").write_text("left by a killed process")
    manager = machine.manager()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match="cannot be used: No space left on device") as caught:
        await manager.current()
    assert CANARY[:-2] not in f"{caught.value!r}{caplog.text}"
    assert machine.ended == [f"{CANARY[:-2]}1"]
    assert not machine.path.exists()
    assert not machine.path.with_name("token.new").exists()
    monkeypatch.undo()
    await manager.current()
    await manager.aclose()


async def test_waiting_for_the_lock_neither_blocks_the_loop_nor_outlives_its_waiter(machine):
    """The lock is polled, a cancelled wait leaves it alone, and who left frees it."""
    one, two = machine.store(), FileTokenStore(machine.path)
    async with one.lock():
        with anyio.move_on_after(0.1) as scope:
            async with two.lock():
                raise AssertionError
        assert scope.cancelled_caught
    with anyio.fail_after(1):
        async with two.lock():
            pass


async def test_closing_while_another_process_has_the_lock_gives_up_the_hold(machine, monkeypatch):
    """Where the lock is not to be had in time, the session is left to the others, who can then be the last."""
    monkeypatch.setattr("ucontact_async.tokens.GRACE", 0.05)
    one, two = machine.manager(), machine.manager()
    await one.current()
    await two.current()
    async with machine.store().lock():
        await one.aclose()
    assert machine.ended == []
    monkeypatch.undo()
    await two.aclose()
    assert len(machine.ended) == 1


async def test_closing_while_waiting_for_another_login_makes_no_login(machine):
    """A client closed before the lock came to it does not log in any more."""
    tokens = machine.manager()
    async with machine.store().lock():
        waiter = asyncio.get_running_loop().create_task(tokens.current())
        await asyncio.sleep(0.01)
        closing = asyncio.get_running_loop().create_task(tokens.aclose())
        await asyncio.sleep(0.01)
    await asyncio.gather(waiter, closing, return_exceptions=True)
    assert "the client was closed" in str(waiter.exception())
    assert (machine.logins, machine.ended) == (0, [])


async def test_what_a_store_returns_shows_no_token(machine):
    """The values on their way to and from the file mask the token."""
    store = machine.store()
    await store.join(OWNER)
    await store.write(value=Secret(CANARY), generation=1, deaths=0)
    stored = await store.read()
    assert stored == StoredToken(value=Secret(CANARY), generation=1, age=0.0, deaths=0)
    assert CANARY not in f"{stored!r}{stored}{store._load()!r}{vars(store)!r}"
    assert await store.leave() is True
