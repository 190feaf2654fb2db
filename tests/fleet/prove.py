"""Kill, stop and confuse the workers of a fleet, restart their database, and hold its books against the server's.

``python -m tests.fleet.prove --rows 200000 --workers 4 --kills 200 --stops 50 --restarts 20 --clock-jumps 20`` loads a
file, has real ``fleet worker`` processes send it to an emulator in a process of its own, and meanwhile does to them, in
an order that chance chooses, what the options say: SIGKILL (another worker takes the dead one's place), SIGSTOP for a
part of the lease or for longer than it and then SIGCONT, an end of PostgreSQL, in order or by a crash, and a start, and
a wall clock that jumps by an hour, of a worker or of the database (libfaketime in each process reads the offset from a
file; monotonic clocks are left alone, as who sets a clock leaves them). Wrong is: a call made twice; a row lost, or
with an outcome that the server does not bear out; what a dead worker held not free within the lease and 2 s; more rows
unknown than were in flight at a kill, or than the share of a worker that was taken over without one; more requests on
the wire, as the emulator counts them, than the fleet may have; a login too many. ``--short`` is the form of about three
minutes.
"""

import argparse
import contextlib
import csv
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "crash"))

import psycopg
from kill_resume import PATIENCE, Server, environment
from postgres import INSTALL, Postgres, binaries

CAMPAIGN = "Ventas->"
MARGIN = 2.0
RECONNECT = 5.0  # after an outage the pool of connections may take so long to notice that it is over
HOUR = 3600
OUTAGE = 1.5


def faketime():
    """Return the library that sets a process's wall clock; ``None`` where there is none."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


class Clock:
    """The wall clock of one process, in a file that libfaketime reads."""

    def __init__(self, path):
        """Begin with the right time; every user may read the file."""
        self._path = path
        self._offset = 0
        self._write()
        path.chmod(0o644)

    def jump(self, chance):
        """Go an hour forth or back, at most one from the right time."""
        self._offset = chance.choice([offset for offset in (-HOUR, 0, HOUR) if offset != self._offset])
        self._write()
        return self._offset

    def _write(self):
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{self._offset:+d}\n")
        fresh.chmod(0o644)
        fresh.replace(self._path)

    @property
    def environment(self):
        """What a process needs to go by it."""
        return {
            "LD_PRELOAD": faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": "1",
        }


class Books:
    """The database, asked from outside, also while it comes and goes."""

    def __init__(self, url):
        """``url`` is its address."""
        self._url = url
        self._connection = None

    def ask(self, query, *values):
        """Return the rows that ``query`` finds; it is repeated until the database answers."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(self._url, autocommit=True)
                return self._connection.execute(query, values).fetchall()
            except psycopg.OperationalError:
                self.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def close(self):
        """Let go."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Process:
    """One worker process."""

    def __init__(self, name, command, folder, env, clock):
        """Start it; ``name`` is what the books call it."""
        self.name = name
        self.clock = clock
        self.log = folder / f"{name}.log"
        self.stopped_until = None
        self.lives = 0
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--name", name], env=env | (clock.environment if clock else {}), stdout=log, stderr=log
            )

    @property
    def running(self):
        """Whether it has not ended and does not stand still."""
        return self.code is None and self.stopped_until is None

    @property
    def code(self):
        """How it ended."""
        return self._process.poll()

    def tell(self, number):
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self):
        """Wait for its end and return its code."""
        return self._process.wait(PATIENCE)

    def end(self):
        """End it whatever it does."""
        if self.code is None:
            self._process.kill()
            self._process.wait()


class Torment:
    """The whole proof: what runs, what is done to it, and what was seen."""

    def __init__(self, args, folder, say):
        """``args`` are the options of the command."""
        self.args = args
        self.chance = Random(args.seed)
        self.problems = []
        self.counts = Counter()
        self.takeovers, self.takeovers_after_outages = [], []
        self.in_flight = Counter()  # at a kill: rows that were sent and had no outcome, by the worker's id
        self._folder = folder
        self._say = say
        self._names = itertools.count(1)
        self._pending = {}  # who is to be taken over: since when
        self._witness = None
        self._outages = []
        self.workers = []

    def prove(self):
        """Do it all; return every violation in a sentence."""
        args, began = self.args, time.monotonic()
        database_clock = Clock(self._folder / "database.clock") if args.clock_jumps else None
        if database_clock is not None:
            self._folder.chmod(0o711)
        server = Server([{"endpoint": "Dialers/*", "fault": "latency", "seconds": args.latency}])
        with contextlib.ExitStack() as stack:
            stack.enter_context(server)
            env = database_clock.environment if database_clock else None
            self._postgres = stack.enter_context(Postgres(durable=not args.short, environment=env))
            self._database_clock = database_clock
            self._server = server
            self._prepare()
            stack.callback(lambda: [worker.end() for worker in self.workers])
            stack.callback(self._books.close)
            loaded = time.monotonic()
            for _ in range(args.workers):
                self._start()
            self._torment()
            done = time.monotonic()
            self._leave()
            self._compare()
            self._summarise(loaded - began, done - loaded)
        return self.problems

    def _prepare(self):
        args = self.args
        url = self._postgres.url(self._postgres.fresh())
        self._env = environment(
            UCONTACT_URL=self._server.url,
            UCONTACT_USER="api",
            UCONTACT_PASSWORD="secret",
            UCONTACT_TIMEZONE="America/Montevideo",
            UCONTACT_DATABASE=url,
        )
        self._command = [sys.executable, "-m", "ucontact_async", "fleet"]
        file = self._folder / "calls.csv"
        with file.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["destination", "calldate"])
            writer.writerows([f"09{number:07d}", "2099-05-05 10:00"] for number in range(args.rows))
        for words in (["init", "--max-concurrency", str(args.cap)], ["load", str(file), "--campaign", CAMPAIGN]):
            subprocess.run([*self._command, *words], env=self._env, check=True, stdout=subprocess.DEVNULL, timeout=600)
        self._books = Books(url)

    def _start(self):
        name = f"w{next(self._names)}"
        clock = Clock(self._folder / f"{name}.clock") if self.args.clock_jumps else None
        command = [*self._command, "worker", "--lease", f"{self.args.lease:g}", "--max-unknown", "1000000"]
        self.workers.append(Process(name, command, self._folder, self._env, clock))

    def _torment(self):
        """Do all that is to be done, spread over the work, and return when every row has an outcome."""
        args = self.args
        events = [self._kill] * args.kills + [self._stop] * args.stops
        events += [self._restart] * args.restarts + [self._jump] * args.clock_jumps
        self.chance.shuffle(events)
        steps = len(events) + 1
        patience = time.monotonic() + args.patience
        while time.monotonic() < patience:
            self._look()
            ((left,),) = self._books.ask("SELECT count(*) FROM ucontact.rows WHERE status = 'planned'")
            while events and left <= args.rows * len(events) / steps and events[-1]():
                events.pop()
            if not left and not self._pending and not self._busy():
                if events:
                    self.problems.append(f"the rows were done before {len(events)} of {steps - 1} events had happened")
                return
            time.sleep(0.1)
        self.problems.append(f"not done within {args.patience:.0f} s")

    def _busy(self):
        return self._books.ask("SELECT count(*) FROM ucontact.shards WHERE open OR owner IS NOT NULL") != [(0,)]

    def _victim(self):
        """Return a worker that may be harmed: not the one that is to see that others are dead."""
        running = [worker for worker in self.workers if worker.running and self._living(worker)]
        if not self._pending or self._witness not in running:
            self._witness = self.chance.choice(running) if running else None
        others = [worker for worker in running if worker is not self._witness]
        return self.chance.choice(others) if others else None

    def _living(self, worker):
        return worker.lives or self._lives(worker)

    def _lives(self, worker):
        ((worker.lives,),) = self._books.ask("SELECT count(*) FROM ucontact.workers WHERE name = %s", worker.name)
        return worker.lives

    def _kill(self):
        if (worker := self._victim()) is None:
            return False
        worker.tell(signal.SIGKILL)
        worker.wait()
        self._expect_takeover(worker)
        self.workers.remove(worker)
        sent = self._books.ask(
            "SELECT w.id, count(r.id) FROM ucontact.workers w "
            "LEFT JOIN ucontact.rows r ON r.owner = w.id AND r.status = 'sent' "
            "WHERE w.name = %s AND ended_at IS NULL GROUP BY w.id",
            worker.name,
        )
        self.in_flight.update(dict(sent))
        self.counts["kills"] += 1
        self._start()
        return True

    def _stop(self):
        if (worker := self._victim()) is None:
            return False
        worker.tell(signal.SIGSTOP)
        now = time.monotonic()
        seconds = self.chance.uniform(0.2, 2.0) * self.args.lease + MARGIN * self.chance.choice([0, 1])
        worker.stopped_until = now + seconds
        if seconds > self.args.lease + MARGIN:
            self._expect_takeover(worker)
            self.counts["stops past the lease"] += 1
        self.counts["stops"] += 1
        return True

    def _restart(self):
        began = time.monotonic()
        self._postgres.stop(self.chance.choice([signal.SIGQUIT, signal.SIGINT]))
        time.sleep(self.chance.uniform(0.0, OUTAGE))
        self._postgres.start()
        self._outages.append((began, time.monotonic()))
        self.counts["restarts"] += 1
        return True

    def _jump(self):
        worker = self._victim() if self.chance.random() < 0.7 else None
        (worker.clock if worker else self._database_clock).jump(self.chance)
        self.counts["clock jumps" if worker else "clock jumps of the database"] += 1
        return True

    def _look(self):
        """Continue who has stood still for long enough; see who was taken over and who has ended by itself."""
        now = time.monotonic()
        for worker in self.workers:
            if worker.stopped_until is not None and now > worker.stopped_until:
                worker.tell(signal.SIGCONT)
                worker.stopped_until = None
            if worker.code is not None:
                self.problems.append(
                    f"{worker.name} ended by itself with {worker.code}: {worker.log.read_text()[-500:]}"
                )
        for worker in [worker for worker in self.workers if worker.code is not None]:
            self.workers.remove(worker)
            self._start()
        if self._pending:
            self._see_takeovers()

    def _expect_takeover(self, worker):
        now = time.monotonic()
        lives = self._books.ask("SELECT id FROM ucontact.workers WHERE name = %s AND ended_at IS NULL", worker.name)
        self._pending.update(dict.fromkeys([id_ for (id_,) in lives], now))

    def _see_takeovers(self):
        ended = self._books.ask(
            "SELECT id FROM ucontact.workers WHERE id = ANY(%s) AND ended_at IS NOT NULL", list(self._pending)
        )
        now = time.monotonic()
        for (id_,) in ended:
            since = self._pending.pop(id_)
            away = [end for _, end in self._outages if end > since]
            # Who had no database can neither take over nor say that it lives: it connects again, and the lease begins.
            (self.takeovers_after_outages if away else self.takeovers).append(now - max([since, *away]))
        for id_, since in [*self._pending.items()]:
            if now - max([since, *(end for _, end in self._outages[-1:])]) > PATIENCE:
                self.problems.append(f"worker {id_} was not taken over within {PATIENCE:.0f} s")
                del self._pending[id_]

    def _leave(self):
        """Have all workers leave, and see that they do it in good order."""
        for worker in self.workers:
            if worker.stopped_until is not None:
                worker.tell(signal.SIGCONT)
            worker.tell(signal.SIGTERM)
        for worker in self.workers:
            code = worker.wait()
            if code not in (0, 1, 3, 4):
                self.problems.append(f"{worker.name} left with {code}: {worker.log.read_text()[-500:]}")

    def _compare(self):
        """Hold the journal against the ledger."""
        made = Counter()
        for (destination, _), count in self._server.applied().items():
            made[destination] += count
        told = self._books.ask(
            "SELECT c.destination, c.status, r.owner FROM ucontact.calls c JOIN ucontact.rows r USING (id)"
        )
        self.statuses = Counter(status for _, status, _ in told)
        allowed = {"succeeded": (1,), "unknown": (0, 1)}  # nobody refuses a row, so that none may fail either
        for destination, status, _ in told:
            if made[destination] not in allowed.get(status, ()):
                self.problems.append(f"{destination}: {status}, and the server made it {made[destination]} times")
        self.twice = sum(count > 1 for count in made.values())
        self.lost = self.args.rows - len({destination for destination, status, _ in told if status in allowed})
        if self.lost or len(told) != self.args.rows:
            self.problems.append(f"{self.args.rows} rows, {len(told)} in the journal, {self.lost} lost")
        self._compare_unknown(Counter(owner for _, status, owner in told if status == "unknown"))
        most = self.args.lease + MARGIN
        late = [seconds for seconds in self.takeovers if seconds > most]
        late += [seconds for seconds in self.takeovers_after_outages if seconds > most + RECONNECT]
        if late:
            self.problems.append(f"{len(late)} takeovers took longer than {most:g} s: {max(late):.1f} s")
        state = self._server.state()
        self.most, self.logins = state["max_in_flight"], state["logins"]
        if self.most > self.args.cap:
            self.problems.append(f"{self.most} requests at once, the fleet may have {self.args.cap}")
        if self.logins != 1 or state["sessions"]:
            self.problems.append(f"{self.logins} logins for the fleet, {state['sessions']} sessions left")

    def _compare_unknown(self, unknown):
        """See that no more is unknown than what was in flight, or may have been where nobody was killed."""
        shares = dict(self._books.ask("SELECT worker_id, concurrency FROM ucontact.shares"))
        for owner, count in unknown.items():
            # What was marked, on the wire or answered, and whose commit had not come.
            if count > 2 * shares[owner]:
                self.problems.append(f"{count} rows of worker {owner} are unknown, its share was {shares[owner]}")
        self.unknown_of_killed = sum(count for owner, count in unknown.items() if owner in self.in_flight)
        self.shares_of_killed = sum(shares.get(owner, 0) for owner in self.in_flight)
        if self.unknown_of_killed > max(self.shares_of_killed, sum(self.in_flight.values())):
            self.problems.append(f"{self.unknown_of_killed} rows unknown by kills, more than were in flight")

    def _summarise(self, loading, seconds):
        args, say = self.args, self._say
        for problem in self.problems[:20]:
            say(f"VIOLATION {problem}")
        if self.problems:
            for row in self._books.ask(
                "SELECT w.name, w.id, w.ended, r.status, r.reason, count(*) FROM ucontact.rows r "
                "LEFT JOIN ucontact.workers w ON r.owner = w.id WHERE r.status NOT IN ('succeeded', 'unknown') "
                "GROUP BY 1, 2, 3, 4, 5"
            ):
                say(f"    {row}")
        say(f"{args.rows} rows loaded in {loading:.1f} s, sent in {seconds:.1f} s: {args.rows / seconds:.0f} rows/s")
        say(", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items())))
        for reason, count in self._books.ask(
            "SELECT reason, count(*) FROM ucontact.rows WHERE status NOT IN ('succeeded', 'unknown') GROUP BY 1"
        ):
            say(f"    {count} neither: {reason}")
        lives = self._books.ask(
            "SELECT w.name, count(r.id) FROM ucontact.workers w LEFT JOIN ucontact.rows r ON r.owner = w.id "
            "GROUP BY w.name ORDER BY 2 DESC"
        )
        shares = [count / args.rows for _, count in lives]
        say(f"{len(lives)} worker processes; their shares: " + " ".join(f"{share:.1%}" for share in shares[:12]))
        say(", ".join(f"{name} {count}" for name, count in sorted(self.counts.items())))
        for what, all_ in (("takeovers", self.takeovers), ("after an outage", self.takeovers_after_outages)):
            found = sorted(all_)
            if found:
                middle = found[len(found) // 2]
                say(f"{len(found)} {what}: median {middle:.1f} s, longest {found[-1]:.1f} s")
        in_flight = sum(self.in_flight.values())
        others = self.statuses["unknown"] - self.unknown_of_killed
        say(f"marked and without an outcome at the kills: {in_flight}, by their shares {self.shares_of_killed} at most")
        say(f"unknown: {self.unknown_of_killed} of the killed, {others} of others that were taken over")
        say(f"made twice {self.twice}, lost {self.lost}")
        say(f"at most {self.most} requests at once of {args.cap}; {self.logins} logins")


def unfit(args):
    """Return what is missing, as a sentence; ``None`` where everything is there."""
    if binaries() is None:
        return INSTALL
    if args.clock_jumps and faketime() is None:
        return "libfaketime is not installed: apt-get install libfaketime"
    return None


SHORT = {"rows": 16_000, "kills": 20, "stops": 5, "restarts": 2, "clock_jumps": 4}


def options(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--rows", type=int, default=200_000)
    add("--workers", type=int, default=4)
    add("--kills", type=int, default=200)
    add("--stops", type=int, default=50)
    add("--restarts", type=int, default=20)
    add("--clock-jumps", type=int, default=20)
    add("--lease", type=float, default=2.0, help="seconds (%(default)s)")
    add("--cap", type=int, default=16, help="requests of the whole fleet at once (%(default)s)")
    add("--latency", type=float, default=0.02, help="of the server, in seconds (%(default)s)")
    add("--patience", type=float, default=3600.0, help="seconds after which the proof has failed (%(default)s)")
    add("--seed", type=int, default=1)
    add("--short", action="store_true", help=f"the form of about three minutes: {SHORT}")
    args = parser.parse_args(argv)
    if args.short:
        vars(args).update(SHORT)
    return args


def prove(args, say=print):
    """Do the whole proof in a folder of its own and return every violation in a sentence."""
    with tempfile.TemporaryDirectory(prefix="fleet-proof-") as folder:
        return Torment(args, Path(folder), say).prove()


def main(argv=None):
    """Run the proof; 1 on any violation, 2 where something is missing."""
    args = options(argv)
    if (missing := unfit(args)) is not None:
        print(missing)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and leave nothing behind
    problems = prove(args, lambda line: print(line, flush=True))
    print("no violation" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
