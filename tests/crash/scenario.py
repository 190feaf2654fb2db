"""One scenario: rows, a policy, faults; processes that send them and die; and the comparison with what was applied.

Everything is drawn from the kinds of faults and one seed, so these two and the step of the crash repeat a run.
"""

import asyncio
import contextlib
import gc
import logging
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections import Counter
from datetime import datetime
from pathlib import Path

from anyio._backends._asyncio import _task_states

from ucontact_async import NotSent, OutcomeUnknown, Refused, ReplaceSchedule, ScheduledCall, UContact
from ucontact_async.batch.journal_file import JournalFile
from ucontact_async.batch.runner import Bulk
from ucontact_async.errors import JournalError

from .faults import Faults
from .loop import Loop
from .machine import MACHINE, Disk, images
from .matrix import change_of
from .rows import FINAL, PROFILE, REFUSED, Books, is_removal, name_of, policy_of, rows_of, said_of, unwanted, wall_clock
from .server import Server
from .world import Crash, Stuck, World

logging.disable(logging.CRITICAL)
Bulk.__init__.__kwdefaults__["now"] = lambda: wall_clock(MACHINE.now)

SIGNALS = ("stop", "stop_and_hang", "abort", "leave", "cancel", "stall")
URL = "http://localhost:8080"
PATIENCE = 3600.0
"""Seconds after which nothing that was read can still be applied."""
SINGLE = ScheduledCall(campaign="Ventas->", destination="098000000", calldate=datetime(2031, 1, 1, 9, 0))
"""What is sent beside the run, as by a web request."""


class Scenario:
    """Runs of one kind (or several at once) of fault under one seed."""

    def __init__(self, kinds, seed, folder, *, trace=None):
        self.kinds = tuple(kinds)
        self.seed = seed
        self.policy = policy_of(self.kinds, seed)
        self._folder = Path(folder)
        self._trace = trace

    def run(self, crash_at=None):
        """Run it once, with a crash before step ``crash_at``; return what is wrong, how many steps, what came out."""
        run = Run(self, crash_at)
        try:
            run.whole()
        finally:
            # A task that never ends is held for ever by its own entry here, and with it all of its process.
            _task_states.clear()
            # CPython never lets go of what a coroutine handles that is thrown away in the middle of an "except".
            for held in gc.get_objects():
                if issubclass(type(held), BaseException):
                    held.__traceback__ = held.__context__ = held.__cause__ = None
            gc.collect()
            shutil.rmtree(run.folder, ignore_errors=True)
        return run

    def new_folder(self):
        """Return a folder in memory for one run."""
        return tempfile.mkdtemp(dir=self._folder)

    @property
    def trace(self):
        """What is told of each step, if anyone wants to know."""
        return self._trace


class Run:
    """One run: its world, its processes, its violations."""

    def __init__(self, scenario, crash_at):
        self.violations = []
        self.crossings = []
        self.steps = 0
        self.crashed = False
        self.folder = scenario.new_folder()
        self.policy = policy = scenario.policy
        # Few rows are in a run: in every second one the table of identities takes them, else memory knows them all.
        JournalFile.recent = (3, 1000)[scenario.seed % 2]
        self.kinds = set(scenario.kinds)
        self.world = World(f"{scenario.kinds} {scenario.seed}", scenario.trace)
        self.rows = rows_of(policy)
        self.faults = Faults(scenario.kinds, self.world, len(self.rows), again=policy.settles)
        self.faults.server = self.server = Server(self.world, self.faults)
        self.server.unwanted = unwanted(policy)
        full = self.faults.of("disk_full")
        full_at = None if full is None else 4 + full.chance.randrange(8)
        struck = None if full is None else lambda: setattr(full, "hit", True)
        self.disk = MACHINE.disk = Disk(keeps=policy.crash == "power", full_at=full_at, full=struck)
        self.cells = set()
        """Which changes of a row's status were made once which kinds of faults had struck."""
        MACHINE.changed = self._changed
        self._crash_at = crash_at
        self._journals = 0
        self._processes = 0
        self._left_sent = 0
        self.path = self._new_path()
        self.books = []
        self._delivered = []
        self._late_login = 0
        # What may be repeated, or settled, is certain in the end.
        self._unsettled = {name_of(row) for row in self.rows if is_removal(row) or self._settles(row)}

    def _changed(self, old, new, reason, opening):
        """Take down that a row has changed."""
        change = change_of(old, new, reason, opening=opening)
        self.cells.update((change, fault.kind) for fault in self.faults.all if fault.hit)

    def _new_path(self):
        self._journals += 1
        return str(Path(self.folder, f"{self._journals}.journal"))

    # the story

    def whole(self):
        """Send, crash, recover, finish, compare."""
        policy = self.policy
        try:
            self._process(self._crash_at)
            if self.policy.again and self.crashed and self.policy.crash != "freeze":
                # Again, somewhere in the recovery.
                self._process(1 + self.world.chance("again", self._crash_at).randrange(250))
            last = self._process(None)
            for _ in range(3):
                if last.finished(policy, self.server.unwanted):
                    break
                self.faults.heal()
                self.disk.mend()
                self.world.pass_time(5.0)
                last = self._process(None)
            self.world.pass_time(PATIENCE)
            self._compare_end(last)
        except Stuck as stuck:
            self.violations.append(f"stuck: {stuck}")
        except Exception as error:  # noqa: BLE001  whatever it is, it is wrong
            self.violations.append(f"it broke: {error!r}")
            if self.world.trace is not None:
                traceback.print_exc(file=sys.stdout)

    def _process(self, crash_at):
        self._processes += 1
        self.faults.stopping = False
        first = self._processes == 1
        loop = Loop(self.world, self._processes, self.faults, self.policy.pace)
        books = Books([])
        logins, died = self._logins(), False
        frozen = self.policy.crash == "freeze"
        self.world.begin(crash_at, (lambda: self._freeze(loop)) if frozen and first else None)
        try:
            loop.run_until_complete(self._program(loop, books))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except Crash:
            self.crashed = died = True
            self._delivered.append(Counter((name_of(each.request), said_of(each)) for each in books.words()))
            self._die(loop)
            return None
        except (JournalError, asyncio.CancelledError) as error:
            books.error = error
        finally:
            self._compare_logins(logins, died=died)
            if first:
                self.steps = self.world.steps
        self._compare_run(books, loop)
        if any(not task.done() for task in asyncio.all_tasks(loop)):
            self.violations.append("tasks are left behind")
        loop.drop(powered=True)
        loop.close()
        self.books.append(books)
        return books

    def _die(self, loop):
        """The process is gone; what was written is there, or what had reached the disk."""
        powered = self.policy.crash == "kill"
        loop.drop(powered=powered)
        left = images(self.path) if powered else self.disk.after_power_cut(self.path)
        self.path = self._new_path()
        for tail, held in left.items():
            Path(self.path + tail).write_bytes(held)
        self._count_sent()
        self.world.pass_time(self.policy.away)

    def _end_run(self, loop):
        """Whoever dies before, or cannot write any more, takes nothing back."""
        for link in self.server.links:
            if link.owner is loop:
                link.run_ended()

    def _freeze(self, loop):
        """The process stands still while another one is started beside it, and then goes on."""
        loop.stand()
        self.crashed = True
        running = asyncio.events._get_running_loop()
        asyncio.events._set_running_loop(None)
        crash_at, self.world.crash_at = self.world.crash_at, None
        try:
            self.world.pass_time(self.policy.away / 8)
            self._process(None)
            self.world.pass_time(self.policy.away)
        finally:
            asyncio.events._set_running_loop(running)
            self.world.begin(crash_at)
        loop.go_on()

    def _count_sent(self):
        """Rows that a crash makes unknown are those that were on the wire: never more than may be."""
        db = sqlite3.connect(self.path)
        try:
            (sent,) = db.execute("SELECT count(*) FROM rows WHERE status = 'sent'").fetchone()
        except sqlite3.OperationalError:  # not yet a journal
            sent = 0
        finally:
            db.close()
        if sent > self.policy.concurrency:
            self.violations.append(f"{sent} rows were marked as sent, of {self.policy.concurrency} that may be")
        self._left_sent += sent

    # what a process does

    async def _program(self, loop, books):
        policy = self.policy
        client = UContact(
            URL,
            user="api",
            password="secret",
            timezone="America/Montevideo",
            connection=policy.connection,
            lane=policy.lane,
            profile=PROFILE,
        )
        async with client as uc:
            beside = None
            if policy.interactive and self._processes == 1:
                beside = loop.create_task(self._single(uc, books))
            run = uc.stream(
                list(self.rows),
                journal=self.path,
                max_concurrency=policy.concurrency,
                on_duplicate="allow" if policy.twins else "refuse",
                on_unknown=ReplaceSchedule() if policy.settles else "hold",
                ordered=policy.ordered,
                retry_refused=policy.retry_refused,
            )
            books.report = run.report
            try:
                await self._consume(loop, run, books)
                self._end_run(loop)
            finally:
                if beside is not None:
                    await asyncio.wait([beside])

    async def _consume(self, loop, run, books):
        fault = next((fault for kind in SIGNALS if (fault := self.faults.of(kind))), None)
        async with run as outcomes:
            kind = None if fault is None or self._processes > 1 else fault.kind
            if kind in ("stop", "stop_and_hang", "abort"):
                loop.call_later(fault.moment, fault.strike, run.stop, "a signal")
            if kind == "stop_and_hang":
                self.faults.stopping = self._processes == 1
            if kind == "abort":
                loop.call_later(fault.moment + fault.chance.uniform(0, 0.003), run.abort)
            if kind == "cancel":
                loop.call_later(fault.moment, fault.strike, asyncio.current_task().cancel)
            if kind == "stall":
                self.world.after(fault.moment, fault.strike, self._stall, loop, fault.chance.choice((1.0, 6.0, 40.0)))
            try:
                async for outcome in outcomes:
                    books.outcomes.append(outcome)
                    if kind == "leave" and len(books.outcomes) > fault.struck.start:
                        fault.hit = True
                        break
                    if self.faults.of("slow_consumer"):
                        await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()
                run.stop("cancelled")

    def _stall(self, loop, seconds):
        """Stop a process for a while, as a debugger or a laptop's lid does."""
        if not loop.dropped and loop.standing is None:
            loop.stand()
            self.world.pass_time(seconds)
            loop.go_on()

    async def _single(self, uc, books):
        """Send a call beside the run, as a web request does."""
        await asyncio.sleep(0.004)
        try:
            await uc.send(SINGLE)
            books.single.append("succeeded")
        except OutcomeUnknown:
            books.single.append("unknown")
        except (NotSent, Refused):
            books.single.append("failed")

    # comparing

    def _compare_run(self, books, loop):
        """Compare what a process that ended said with itself and with what had been applied by then."""
        say = self.violations.append
        for context in loop.failures:
            say(f"an error that nobody handles: {context.get('message')} {context.get('exception')!r}")
        loop.failures.clear()
        if books.error is not None:
            return
        report, outcomes = books.report, books.words()
        left_early = self.kinds & {"leave", "cancel"}
        four = report.succeeded + report.failed + report.unknown + report.skipped
        if report.rows != four or four != len(outcomes):
            say(f"the counts do not add up: {report.summary()}, {len(outcomes)} outcomes")
        recount = Counter(str(outcome.status) for outcome in outcomes)
        if any(recount[status] != getattr(report, status) for status in ("succeeded", "failed", "unknown", "skipped")):
            say(f"the report says {report.summary()}, the outcomes {dict(recount)}")
        indexes = {outcome.index for outcome in outcomes}
        self._compare_amended(books)
        # They fit into one block: either all are read or, in a run that is stopped at once, none.
        if not left_early and len(indexes) != len(self.rows) and not (report.stopped is not None and not indexes):
            say(f"{len(self.rows)} rows went in, {len(indexes)} came out")
        for outcome in outcomes:
            if outcome.reason == "SessionStolen" and self.server.deaths < 2:
                say("the session is said to be stolen; only one token died")
            nothing = outcome.status == "failed" or outcome.reason == "stopped"
            if nothing and not self.policy.twins and self._processes == 1 and self._happened(outcome.request):
                sentence = (
                    f"{name_of(outcome.request)} is said to be {outcome.status} ({outcome.reason}), and was applied"
                )
                (self.crossings if self.server.hidden else self.violations).append(sentence)

    def _compare_amended(self, books):
        """A row has a second outcome only where the first is taken back, and the last one is what the journal holds."""
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            held = Counter(status for (status,) in db.execute("SELECT status FROM rows"))
        words = Counter(said_of(outcome) for outcome in books.words())
        # Between the end of a run and that of its process another process may have gone on.
        alone = books.report.stopped is None and self.policy.crash != "freeze" and "disk_full" not in self.kinds
        for status in FINAL if alone else ():
            if words[status] != held[status]:
                self.violations.append(f"{words[status]} rows are said to be {status}, {held[status]} in the journal")
        said = {}
        for outcome in books.outcomes:
            if outcome.amends != said.get(outcome.index):
                self.violations.append(f"{outcome.position} was {said.get(outcome.index)}, {outcome} amends something")
            said[outcome.index] = outcome

    def _compare_end(self, last):
        """Compare what the last process says with everything that was ever applied."""
        say = self.violations.append
        server = self.server
        for sentence in server.oddities:
            say(sentence)
        looks = self.policy.lane == "session"  # each time: the command lane only at what was idle for a while
        if poisoned := sum(link.poisoned - (0 if looks else link.hurried) for link in server.links):
            say(f"{poisoned} requests were begun on a connection on which something waited to be read")
        if last.error is not None or last.report is None:
            say(f"it cannot be finished: {last.error!r}")
            return
        if last.report.stopped is not None or len(last.words()) != len(self.rows):
            say(f"it cannot be finished: {last.report.stopped}; {last.report.summary()}")
        said = self._what_is_said(last)
        for request in {name_of(row): row for row in self.rows}.values():
            self._compare_row(request, said)
        if self.policy.removes:
            self._compare_order(said)
        # What is settled is asked for once more, also where a refusal was lost.
        insistent = server.insistent - self._unsettled
        if insistent and not self.policy.retry_refused and not self.policy.twins:
            say(f"sent again after a refusal, unasked: {insistent}")
        self._compare_unknown(last, said)
        self._compare_single()

    def _what_is_said(self, last):
        """Return how often each status is said of each row; what was said before a crash must be said after it."""
        said = last.said()
        # Of two rows that are the same call each may stand for the other.
        for (name, status), count in (item for each in self._delivered for item in each.items()):
            after = said.get(name, Counter())
            # Nothing could be written any more, or what was said was taken back since.
            forgotten = after["unknown"] if "disk_full" in self.kinds or self.server.surplus else 0
            final = ("succeeded",) if name in self._unsettled else FINAL
            if status in final and after[status] + forgotten < count:
                self.violations.append(f"{name} was {status} {count} times before a crash, now {dict(after)}")
        return said

    def _settles(self, request):
        return self.policy.settles and isinstance(request, ScheduledCall)

    def _happened(self, request):
        """Return how often ``request`` happened; what is settled may have been undone again: what is there counts."""
        return self.server.there(request) if self._settles(request) else self.server.applied[name_of(request)]

    def _compare_row(self, request, said):
        """Compare what is said of one row with how often it happened."""
        name = name_of(request)
        counts = said.get(name, Counter())
        wanted = sum(name_of(row) == name for row in self.rows)
        happened, sure, perhaps = self._happened(request), counts["succeeded"], counts["unknown"]
        sentence = f"{name} happened {happened} times, of {wanted}; we say {dict(counts)}"
        crossed = self.crossings if self.server.hidden else self.violations
        if counts["skipped"]:
            self.violations.append(sentence)
        elif is_removal(request):  # it may be repeated
            if happened and not sure + perhaps:
                self.violations.append(sentence)
            elif sure and not happened:
                crossed.append(sentence)
        elif happened > min(wanted, sure + perhaps) or (
            happened < sure and not (self.policy.removes and self._settles(request))
        ):
            crossed.append(sentence)
        if perhaps and name in self._unsettled and not self._is_overtaken(request, said):
            self.violations.append(f"{name} is still unknown, though nothing went wrong any more")

    def _is_overtaken(self, request, said):
        """Whether it can not be sent any more: a removal came after this call, or a call after this removal."""
        after = [row for row in self.rows[self.rows.index(request) + 1 :] if is_removal(row) != is_removal(request)]
        sent = [said[name_of(row)] for row in after if row.destination == request.destination]
        return any(counts["succeeded"] + counts["unknown"] for counts in sent)

    def _compare_order(self, said):
        """Of one number what came before a removal is gone, and what came after it is there."""
        for place, removal in enumerate(self.rows):
            if not is_removal(removal) or said[name_of(removal)]["succeeded"] == 0:
                continue
            for other, row in enumerate(self.rows):
                if is_removal(row) or row.destination != removal.destination or not said[name_of(row)]["succeeded"]:
                    continue
                there = self.server.there(row)
                if there != (other > place):
                    sentence = (
                        f"{name_of(row)} came {'after' if other > place else 'before'} its removal, {there} there"
                    )
                    (self.crossings if self.server.hidden else self.violations).append(sentence)

    def _compare_unknown(self, last, said):
        """Only what was struck, or on the wire in a crash, may be unknown."""
        server = self.server
        doubtful = server.doubtful
        clear = sum(counts["unknown"] for name, counts in said.items() if not doubtful & {name, name.split(" ")[0]})
        # Each of these may find all of the wire full.
        causes = len(self.kinds & {"abort", "stall"}) + (self.policy.crash == "freeze")
        causes += self._processes * ("disk_full" in self.kinds)
        causes += len(self.kinds) > 1 and bool(self.kinds & set(SIGNALS))  # the time that is left may not be enough
        allowed = self._left_sent + causes * self.policy.concurrency
        if self.server.crossed or self.server.surplus:
            allowed += len(self.rows)
        else:  # neither of two answers at once is believed
            allowed += self.server.doubled
        if clear > allowed:
            self.violations.append(f"{clear} rows are unknown without a reason, of {allowed}")
        for outcome in last.words():
            overtaken = self._is_overtaken(outcome.request, said)
            again = self.policy.retry_refused or outcome.reason not in REFUSED
            if (
                outcome.status == "failed"
                and again
                and not overtaken
                and name_of(outcome.request) not in server.unwanted
            ):
                self.violations.append(f"{name_of(outcome.request)} has failed for good: {outcome.reason}")

    def _compare_single(self):
        for outcome in (what for books in self.books for what in books.single):
            applied = self.server.applied[name_of(SINGLE)]
            allowed = {"succeeded": (1,), "failed": (0,), "unknown": (0, 1)}[outcome]
            if applied not in allowed and not self.server.crossed:
                self.violations.append(
                    f"a call beside the run is said to be {outcome}, and was applied {applied} times"
                )
        if self.server.applied[name_of(SINGLE)] > 1:
            self.violations.append("a call beside the run was applied twice")

    def _compare_logins(self, before, *, died):
        """A process logs in once, and again for each token that dies and each login that was struck."""
        logins, reasons = (now - then for now, then in zip(self._logins(), before, strict=True))
        # Long enough to miss the answer to its login; frozen, beside another process.
        stopped = ("stall" in self.kinds) + 2 * (self.policy.crash == "freeze")
        # The login itself may have been given the answer that nobody had asked for.
        allowed = 1 + reasons + stopped + self._late_login + self.server.crossed
        if logins > allowed:
            self.violations.append(f"{logins} logins, of {allowed}")
        # What it asked for before it died may be answered when the next one runs.
        self._late_login = max(0, allowed - logins) if died else 0

    def _logins(self):
        return self.server.ledger.logins, self.server.deaths + self.faults.logins_struck
