"""Enumerated proof of settling: crash x fault x lateness over the real code, an emulated schedule and virtual time.

A scheduled call is inserted; every request may meet any of twelve fates, three of them in a row, the process may die
at any step, and what was not yet written to the journal may be lost with it. The same command runs until the row is
certain. Then the schedule tells the truth: a row that succeeded must be there once, one that failed not at all, and
one that stayed unknown not twice. With a quarantine shorter than the server's lateness this must fail, or the proof
sees nothing.

``python -m tests.crash.settling --runs 50000``; exit 1 on a violation, or if none is shown where there must be.
"""

import argparse
import asyncio
import itertools
import random
import selectors
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from hashlib import blake2b
from types import SimpleNamespace
from zoneinfo import ZoneInfo

from ucontact_async.api import ENDPOINTS, endpoint_of
from ucontact_async.api.dialers import ScheduledCall
from ucontact_async.batch.amendments import Amendments
from ucontact_async.batch.intake import outcome_of
from ucontact_async.batch.journal import Entry
from ucontact_async.batch.later import Later, Unsettled
from ucontact_async.batch.outcome import Status
from ucontact_async.batch.preparing import Job
from ucontact_async.batch.settle import ReplaceSchedule, Terms
from ucontact_async.emulator.ledger import Ledger
from ucontact_async.emulator.state import ContactCentre
from ucontact_async.emulator.switches import Switches
from ucontact_async.endpoint import Flight
from ucontact_async.errors import (
    NotSent,
    OutcomeUnknown,
    Rejected,
    ReplyLost,
    ServerFault,
    Throttled,
    UContactError,
    UnreadableReply,
)
from ucontact_async.serving import Service, read_form
from ucontact_async.settings import ServerProfile
from ucontact_async.text import Rules

LATENESS = 31.0
TIMEOUT = 5.0
MARGIN = 10.0
START = 1_800_000_000.0
RESTART = 2.0
DEPTH = 3
TRIES = 3
RULES = Rules(ZoneInfo("America/Montevideo"))

# What becomes of a request: is it applied at once, never, or so many seconds after its answer was lost; what is raised.
FATES = {
    "done": (0, None),
    "not sent": (None, lambda: NotSent("refused")),
    "throttled": (None, lambda: Throttled("wait", status=429)),
    "rejected": (None, lambda: Rejected("0", status=200)),
    "fault before": (None, lambda: ServerFault("500", status=500)),
    "fault after": (0, lambda: ServerFault("502", status=502)),
    "garbage": (0, lambda: UnreadableReply("html", status=200)),
    "lost before": (None, lambda: ReplyLost("time-out", phase="sent")),
    "lost after": (0, lambda: ReplyLost("reset", phase="sent")),
    "late, soon": (1.0, lambda: ReplyLost("time-out", phase="sent")),
    "late, middle": (LATENESS / 2, lambda: ReplyLost("time-out", phase="sent")),
    "late, last": (LATENESS - 0.001, lambda: ReplyLost("time-out", phase="sent")),
}


class Crash(BaseException):
    """The process is gone; nothing of it runs any more."""


class _NoFiles(selectors.BaseSelector):
    """Waits by moving the clock."""

    def __init__(self, world):
        self._world = world

    def select(self, timeout=None):
        """Let time pass instead of waiting."""
        if timeout is None:
            raise RuntimeError("everybody waits for ever")
        if timeout > 0:
            self._world.advance(timeout)
        return []

    def register(self, fileobj, events, data=None):
        """Take a file that never gets ready."""
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj):
        """Forget it."""

    def get_map(self):
        """Know of none."""
        return {}

    def get_key(self, fileobj):
        """Know of none."""
        raise KeyError(fileobj)


class World:
    """The server and its schedule, the time, the disk: what outlives a process."""

    def __init__(self):
        self.now = START
        self.loop = asyncio.SelectorEventLoop(_NoFiles(self))
        self.loop.time = lambda: self.now - START  # small: the loop's own comparisons need the last digits
        self.reset((), None, unsynced=False, ahead=0.0)

    def reset(self, fates, crash, *, unsynced, ahead):
        """Begin anew: what the requests meet, and at which step the process dies."""
        self.now = START
        self.centre = ContactCentre({}, Ledger(), random.Random(1), Switches(require_token=False))
        self.service = Service(ENDPOINTS, self.centre.handlers, lambda _: None)
        self.late = []
        self.fates = list(fates)
        self.crash = crash
        self.unsynced = unsynced
        self.steps = 0
        self.crashed = self.dead = False
        self.row = ("planned", "", int(START))
        moment = datetime.fromtimestamp(START + ahead, UTC)
        self.request = ScheduledCall(campaign="Ventas->", destination="099123456", calldate=moment)

    def advance(self, seconds):
        """Let time pass; what comes late is applied."""
        self.now += seconds
        for moment, call in [late for late in self.late if late[0] <= self.now]:
            self.late.remove((moment, call))
            self.service.perform(call)

    def step(self):
        """Stand where a process may die."""
        self.steps += 1
        if self.steps == self.crash:
            self.crashed = self.dead = True
            raise Crash

    def scheduled(self):
        """Return how many calls are on the schedule."""
        return len(self.centre.schedule)


class Disk:
    """A journal of one row, as the real one keeps it: marks before a send are durable, others may be lost."""

    durable = True

    def __init__(self, world, delivered):
        self._world = world
        self._delivered = delivered
        self._pending = []

    async def doubted(self, endpoints, since):
        """Hold no removals."""
        return []

    async def sent(self, row, step=""):
        """Mark the row, durably."""
        self._world.step()
        self._write("sent", step)
        self._world.step()

    def planned(self, row, reason=""):
        """Take the mark back."""
        self._mark("planned", reason, None)

    def settled(self, row, status, reason, attempts, outcome):
        """Note how the row ended."""
        self._mark(str(status), reason, outcome)

    def _mark(self, status, reason, outcome):
        if self._world.dead:
            return
        self._pending.append((status, reason, outcome))
        if not self._world.unsynced:
            self.sync()

    def sync(self):
        """Write what was noted."""
        pending, self._pending = self._pending, []
        for status, reason, outcome in pending:
            self._world.row = (status, reason, int(self._world.now))
            if outcome is not None:
                self._delivered.append(outcome)

    def _write(self, status, reason):
        self.sync()
        self._world.row = (status, reason, int(self._world.now))


class Wire:
    """A caller whose requests meet their fates."""

    rules = RULES

    def __init__(self, world):
        self._world = world

    def prepare(self, request):
        """Encode as the caller does."""
        return endpoint_of(request).prepare(request, RULES)

    async def perform(self, prepared, flight, *, wait):
        """Try as often as the caller would."""
        flight.progress = SimpleNamespace(left=False, forbid=lambda: None)
        while True:
            flight.attempts += 1
            try:
                self._try(prepared, flight)
            except UContactError as error:
                if flight.attempts == TRIES or not prepared.safety.allows(error):
                    raise
            else:
                return

    def _try(self, prepared, flight):
        world = self._world
        world.step()
        if prepared.send_by is not None and prepared.send_by <= 0:
            raise NotSent("late")
        delay, error = FATES[world.fates.pop(0) if world.fates else "done"]
        flight.progress.left = delay is not None or isinstance(error(), OutcomeUnknown)
        call = world.service.open(ENDPOINTS[prepared.path], read_form("", prepared.body))
        world.advance(0.1)
        if delay == 0:
            world.service.perform(call)
        elif delay is not None:
            # Late counts from when the answer is given up; who dies before that gives up at once.
            world.late.append((world.now + delay, call))
            world.step()
            world.late[-1] = (world.now + TIMEOUT + delay, call)
            world.advance(TIMEOUT)
        world.step()
        if error is not None:
            raise error()


async def _process(world, terms):
    """Run the command once: send what may be sent, settle what is unknown; return the last word."""
    world.dead = False
    delivered = []
    disk = Disk(world, delivered)
    wire = Wire(world)
    policy = ReplaceSchedule(inclusive=True)
    later = Later(
        SimpleNamespace(on_unknown=policy),
        caller=wire,
        profile=ServerProfile(),
        deliver=delivered.extend,
        clock=world.loop.time,
        now=lambda: datetime.fromtimestamp(world.now, UTC),
    )
    later._terms = terms  # also those that ReplaceSchedule would refuse
    amendments = Amendments(
        deliver=delivered.extend, judge=lambda _: None, fail=lambda _: None, spawn=world.loop.create_task
    )
    await later.open(disk, amendments)  # no connection here is ever in doubt
    prepared = wire.prepare(world.request)
    content = blake2b(prepared.body, digest_size=16).digest()
    job = Job(0, None, world.request, prepared, Entry(content, 1, 0), id=1, key="k")
    status, reason, at = world.row
    if status == "sent":  # what the journal does when it is opened
        world.row = status, reason, at = "unknown", reason or "ReplyLost", int(world.now)
    if status == "succeeded" or (status, reason) == ("failed", "Rejected"):
        return outcome_of(job, Status(status), reason=reason, detail="", earlier=True)
    if status == "unknown":
        lost = outcome_of(job, Status.UNKNOWN, reason=reason, detail="", earlier=True)
        outcome = later.take(job, lost, at)
        if outcome is not None:
            return outcome
    else:
        outcome = await _insert(world, wire, disk, later, job)
        if outcome is not None:
            disk.sync()
            return outcome
    later.close()
    while (row := await later.next()) is not None:
        assert isinstance(row, Unsettled)
        await later.settle(row, lambda flight: True, _nothing)
        later.leave(row)
        later.finish()
    disk.sync()
    world.step()
    return delivered[-1]


async def _nothing():
    return None


async def _insert(world, wire, disk, later, job):
    """Send the row for the first time, as the runner does."""
    await disk.sent(job.id)
    try:
        await wire.perform(job.prepared, Flight(), wait=None)
    except OutcomeUnknown as error:
        lost = outcome_of(job, Status.UNKNOWN, reason=type(error).__name__, detail="")
        settled = later.take(job, lost)
        disk.settled(1, "unknown", lost.reason, 1, settled)
        return settled
    except UContactError as error:
        outcome = outcome_of(job, Status.FAILED, reason=type(error).__name__, detail="")
    else:
        outcome = outcome_of(job, Status.SUCCEEDED, reason="", detail="")
    disk.settled(1, outcome.status, outcome.reason, 1, outcome)
    disk.sync()
    return outcome


def one_run(world, terms, *, ahead):
    """Run the command until the row is certain or cannot be made so; return its status and what is wrong with it."""
    outcome = None
    for _ in range(DEPTH + 3):
        try:
            outcome = world.loop.run_until_complete(_process(world, terms))
        except Crash:
            outcome = None
        else:
            if outcome.status is Status.SUCCEEDED or outcome.reason == "Rejected":
                break
        world.advance(RESTART)
    world.advance(10 * LATENESS)
    status = "unknown" if outcome is None else str(outcome.status)
    there = world.scheduled()
    if there > 1:
        return status, "rings twice"
    if status == "succeeded" and there == 0:
        return status, "lost"
    if status == "failed" and there:
        return status, "failed and there"
    if status != "succeeded" and ahead > 3600 and outcome is not None and outcome.reason != "Rejected":
        return status, "stayed unsettled"
    return status, None


def _points(world, terms, seed):
    """Yield every crash point of scenario after scenario, each as it was run: its status and what is wrong with it."""
    near = terms.quarantine + terms.margin + TIMEOUT + 5
    scenarios = list(itertools.product(FATES, FATES, FATES, (False, True), (86_400.0, near)))
    random.Random(seed).shuffle(scenarios)
    for *fates, unsynced, ahead in itertools.cycle(scenarios):
        for crash in itertools.chain([None], itertools.count(1)):
            world.reset(fates, crash, unsynced=unsynced, ahead=ahead)
            yield one_run(world, terms, ahead=ahead)
            if crash is not None and not world.crashed:
                break


def enumerate_runs(world, terms, runs, seed):
    """Return the counts of what came out of so many runs, and of what went wrong."""
    endings, violations, crashes = Counter(), Counter(), 0
    for status, wrong in itertools.islice(_points(world, terms, seed), runs):
        endings[status] += 1
        violations[wrong] += wrong is not None
        crashes += world.crashed
    return {"runs": runs, "crashes": crashes, "endings": endings, "violations": +violations}


def prove(runs, seed=1):
    """Return what came out with a quarantine longer than the lateness, and with one that is shorter."""
    world = World()
    try:
        sound = enumerate_runs(world, Terms(LATENESS + 4, MARGIN), runs, seed)
        unsound = enumerate_runs(world, Terms(LATENESS / 4, MARGIN), max(runs // 5, 600), seed)
    finally:
        world.loop.close()
    return sound, unsound


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    began = time.monotonic()
    sound, unsound = prove(args.runs, args.seed)
    for name, found in (("longer", sound), ("shorter", unsound)):
        print(
            f"quarantine {name} than the server's lateness: {found['runs']} runs, {found['crashes']} crashes, "
            f"ended {dict(found['endings'])}, violations {dict(found['violations']) or 0}"
        )
    print(f"{time.monotonic() - began:.0f} s")
    shown = {"rings twice", "lost"} <= set(unsound["violations"])
    if not shown:
        print("the shorter quarantine showed no violation of both kinds: this proof sees nothing", file=sys.stderr)
    return 1 if sound["violations"] or not shown else 0


if __name__ == "__main__":
    sys.exit(main())
