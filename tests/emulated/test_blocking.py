"""The client called without ``await``, against an emulator in a thread of its own."""

import contextlib
import functools
import threading
from datetime import UTC, datetime

import pytest
from anyio.from_thread import start_blocking_portal

from ucontact_async import Blocking, Rejected, ScheduledCall, SettingsError, UContact, run
from ucontact_async.emulator import Emulator

WHEN = datetime(2099, 5, 5, 12, tzinfo=UTC)


@pytest.fixture
def server():
    """An emulator that runs in a loop of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Emulator()) as emulator:
        yield emulator


@pytest.fixture
def client(server):
    """What makes a client of that emulator."""
    return functools.partial(UContact, server.url, user="api", password="secret", timezone="America/Montevideo")


def calls(count):
    return [ScheduledCall(campaign="Ventas->", destination=f"0900{n:05d}", calldate=WHEN) for n in range(count)]


def test_a_script_in_one_line(server, client):
    """``run`` opens a client, returns what its work comes to, and ends the session."""
    report = run(lambda uc: uc.bulk(calls(20)), client)
    assert (report.succeeded, len(server.ledger)) == (20, 20)
    assert server.snapshot()["sessions"] == 0


def test_calls_and_errors_come_through(server, client):
    """A call returns its reply or raises its error, as ``await`` would; leaving the block ends the session."""
    with Blocking(client) as door:
        assert door.call(door.client.send, calls(1)[0]) is None
        server.set_faults({"rules": [{"endpoint": "Dialers/*", "fault": "body", "body": "0"}]})
        with pytest.raises(Rejected):
            door.call(door.client.dialers.schedule, campaign="Ventas->", destination="090000001", calldate=WHEN)
    assert len(server.ledger) == 1
    assert server.snapshot()["sessions"] == 0


def test_outcomes_one_by_one(server, client, tmp_path):
    """A stream is entered, iterated and left; a second run of its journal sends nothing."""
    with Blocking(client) as door:
        for expected in ("succeeded", "skipped"):
            stream = door.client.stream(calls(9), journal=tmp_path / "j.db")
            assert [outcome.status for outcome in door.iterate(stream)] == [expected] * 9
    assert len(server.ledger) == 9


def test_an_iteration_left_early_stops_its_run(server, client):
    """What is closed in the middle sends nothing more, and leaves the client usable."""
    endless = (call for _ in range(10_000) for call in calls(1))
    with Blocking(client) as door:
        stream = door.client.stream(endless, on_duplicate="allow", max_concurrency=1)
        with contextlib.closing(door.iterate(stream)) as outcomes:
            next(outcomes)
        sent = len(server.ledger)
        assert sent < 10_000
        door.call(door.client.send, calls(2)[1])
        assert len(server.ledger) == sent + 1


def test_an_async_generator_is_closed(client):
    """What an asynchronous generator does at its end is done, also when it is left early."""
    ended = []

    async def numbers():
        try:
            for number in range(5):
                yield number
        finally:
            ended.append(True)

    with Blocking(client) as door:
        assert list(door.iterate(numbers())) == [0, 1, 2, 3, 4]
        with contextlib.closing(door.iterate(numbers())) as left:
            assert next(left) == 0
        assert ended == [True, True]


def test_many_threads_share_a_door(server, client):
    """Threads of one program call the same client at once, with one login."""
    with Blocking(client) as door:
        threads = [threading.Thread(target=door.call, args=(door.client.send, call)) for call in calls(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(server.ledger), server.snapshot()["logins"]) == (8, 1)


def test_bad_settings_leave_no_thread(monkeypatch):
    """Settings that cannot work are told on entering, and the loop's thread has ended by then."""
    monkeypatch.delenv("UCONTACT_URL", raising=False)
    before = threading.active_count()
    with pytest.raises(SettingsError, match="UCONTACT_URL"), Blocking():
        pass
    assert threading.active_count() == before


def test_a_closed_door_says_so(client):
    """A call before or after the block is refused in a sentence."""
    door = Blocking(client)
    with pytest.raises(SettingsError, match="with block"):
        door.call(UContact.send, None, None)


async def test_in_a_coroutine_it_is_refused(client):
    """Where an event loop runs, both ways say to use ``await``."""
    with pytest.raises(SettingsError, match="await"):
        run(lambda uc: uc.login(), client)
    with pytest.raises(SettingsError, match="await"), Blocking(client):
        pass
