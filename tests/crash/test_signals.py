"""The real command is told to stop, or finds its journal taken or its disk full: it ends in order and can go on."""

import os
import re
import signal
import subprocess
import sys

import pytest
from kill_resume import CONCURRENCY, Command, Server, compare

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only on POSIX: signals, limits")

SLOW = [{"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.1}]
HANGING = [{"endpoint": "Dialers/*", "fault": "hang_after_apply"}]
# Well below the grace that calls on the wire are given.
AT_ONCE = 5
BOUND = 30


@pytest.fixture
def server():
    with Server(SLOW) as running:
        yield running


@pytest.fixture
def command(tmp_path, server):
    return Command(tmp_path, server.url, 100)


@pytest.fixture
def start():
    """Start a command; whatever the test does, it is ended by its pid."""
    started = []

    def start_command(command, *words, **options):
        started.append(command.start(*words, **options))
        return started[-1]

    yield start_command
    for process in started:
        process.kill()
        process.communicate(timeout=BOUND)


def under_way(statuses):
    return statuses["sent"] and statuses["succeeded"]


def ended(process, seconds=BOUND):
    """Wait for the end and return code, output and errors."""
    output, errors = process.communicate(timeout=seconds)
    return process.returncode, output, errors


def resume(command, server):
    """Let the same command do the rest, and hold the books of all runs together against the server's."""
    server.set_faults([])
    code, output, errors = command.run()
    assert "Traceback" not in errors
    assert compare(command, server.applied(), code, output) == []
    return code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains(command, server, start, number):
    """What is on the wire is settled, nothing else is sent, nothing is unknown, and the same command goes on."""
    process = start(command)
    assert command.wait_for(under_way, process)
    process.send_signal(number)
    code, output, errors = ended(process)
    assert (code, "Traceback" in errors) == (4, False), errors
    statuses = command.statuses()
    assert statuses["sent"] == statuses["unknown"] == statuses["failed"] == 0
    assert statuses["succeeded"] == server.applied().total() < len(command.calls)
    assert f" {statuses['succeeded']} succeeded, 0 failed, 0 unknown" in output
    assert "stopped early: interrupted" in output
    assert "run the same command again" in errors
    assert resume(command, server) == 0


def test_a_row_that_was_told_to_wait_is_not_sent_after_the_stop(command, server, start):
    """The server has surely not done what it throttled: a run that stops neither sends it nor calls it unknown."""
    throttled = {"endpoint": "Dialers/*", "fault": "status", "status": 429, "headers": {"Retry-After": "60"}}
    server.set_faults([*SLOW, throttled])
    process = start(command)
    asked = "Dialers/ScheduleDialerCall"

    def all_wait(_):
        state = server.state()
        return state["in_flight"] == 0 and state["requests"].get(asked)

    assert command.wait_for(all_wait, process)
    sent = server.state()["requests"][asked]
    process.send_signal(signal.SIGTERM)
    code, _, errors = ended(process)
    assert (code, "Traceback" in errors) == (4, False), errors
    assert server.state()["requests"][asked] == sent
    assert set(command.statuses()) == {"planned"}
    assert resume(command, server) == 0


def test_a_second_signal_ends_at_once(command, server, start):
    """Who cannot wait for a server that hangs signals again: what was on the wire is unknown, and stays so."""
    server.set_faults(HANGING)
    process = start(command)
    assert command.wait_for(lambda _: server.state()["in_flight"] == CONCURRENCY, process)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    code, output, errors = ended(process, AT_ONCE)
    assert (code, "Traceback" in errors) == (4, False), errors
    assert f" 0 succeeded, 0 failed, {CONCURRENCY} unknown" in output
    statuses = command.statuses()
    assert (statuses["unknown"], statuses["sent"]) == (CONCURRENCY, 0)
    assert resume(command, server) == 3


@pytest.fixture
def twin(command, server, start):
    """Let a run get under way, with a row in its report, and run the same command beside it."""
    with command.file.open("a") as file:
        file.write("no number;2027-03-01 10:00:00;x\n")
    process = start(command)
    assert command.wait_for(lambda statuses: under_way(statuses) and command.rejects.exists(), process)
    report = command.rejects.stat().st_ino
    # The first run must outlast the second one's start on a busy machine, and its calls must end soon after a signal.
    server.set_faults([{"endpoint": "Dialers/*", "fault": "latency", "seconds": 2}])
    second = command.run()
    assert process.poll() is None
    return process, report, second


def test_a_second_run_is_refused(command, server, twin):
    """While one run lives, the same command ends with 2 and leaves journal and report of the first as they are."""
    process, report, (code, _, errors) = twin
    assert (code, "Traceback" in errors) == (2, False), errors
    assert "in use by another run" in errors
    assert command.rejects.exists()
    assert command.rejects.stat().st_ino == report
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 4
    assert command.statuses()["unknown"] == 0
    assert set(server.applied().values()) == {1}


def test_a_second_run_takes_no_session(server, twin):
    """Where a login ends the user's earlier one, a run that is refused must not have logged in."""
    assert twin[0].poll() is None
    assert server.state()["logins"] == 1


def test_a_full_disk_stops_the_run(command, server, start):
    """Where no mark can be written nothing is sent: the run ends, says why, and goes on when there is room."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, resource.RLIM_INFINITY))

    server.set_faults([{"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.01}])
    code, _, errors = ended(start(command, preexec_fn=limit))
    statuses = command.statuses()
    assert (code, "Traceback" in errors) == (4, False), errors
    assert re.search(r"journal cannot be written", errors)
    applied = server.applied()
    assert 0 < applied.total() <= statuses["succeeded"] + statuses["sent"] < len(command.calls)
    assert resume(command, server) in (0, 3)


FULL_AT_THE_END = """
import asyncio, os, resource, sys
from datetime import datetime
from ucontact_async import JournalError, ScheduledCall, UContact
from ucontact_async.emulator import Emulator

journal = sys.argv[1]

def fill_the_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(f"{journal}-wal"), resource.RLIM_INFINITY))

async def main():
    call = ScheduledCall(campaign="Ventas->", destination="099000001", calldate=datetime(2099, 5, 5, 10))
    rules = [{"endpoint": "Dialers/*", "fault": "latency", "seconds": 0.3}]
    async with Emulator() as emulator, UContact(emulator.url, user="api", password="secret", timezone="UTC") as uc:
        emulator.set_faults({"rules": rules})
        said = []
        try:
            async with uc.stream([call], journal=journal) as run:
                while not emulator.ledger.requests["Dialers/ScheduleDialerCall"]:  # the login is over
                    await asyncio.sleep(0.01)
                fill_the_disk()
                async for outcome in run:
                    said.append(outcome.status)
        except JournalError as error:
            print(*said, error)

asyncio.run(main())
"""


def test_a_disk_that_is_full_at_the_last_commit(tmp_path):
    """Calls that ended are told as they ended, and the run says that its journal does not know of it."""
    journal = tmp_path / "run.db"
    done = subprocess.run(
        [sys.executable, "-c", FULL_AT_THE_END, str(journal)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == f"succeeded {journal} cannot be written: disk I/O error\n", done.stderr
