"""A run that stands still for eight hours, at every moment at which it looks at the clock: nothing leaves afterwards.

``python tests/emulated/paused_runs.py`` runs the real client on a simulated clock against a real server in another
thread. At one look at it, in each run the next one, the clock goes on by eight hours, which closes every calling window
and passes the last moment of every row; while the client stands there the server reads all that has left. What it gets
later is late. Then rows of every time zone go at moments around clock changes, and what was sent is compared with the
C library's clock. It exits 1 on any call that is late, outside its windows, or missing.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import threading
import zoneinfo
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "batch"))

import zone_oracle

from ucontact_async import DialerTask, DialRules, UContact, Window
from ucontact_async.batch.options import BulkOptions
from ucontact_async.batch.runner import Bulk
from ucontact_async.emulator import Emulator

TASK = "Dialers/DialerTask"
LOGIN = {"user": "api", "password": "secret", "timezone": "America/Montevideo"}
NOON = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)  # Monday, noon in Montevideo
PAUSE = timedelta(hours=8)
FAULTS = {
    "no faults": [],
    "waits": [
        {"endpoint": "auth/*", "fault": "latency", "seconds": 0.002},
        {"endpoint": TASK, "fault": "status", "status": 429, "headers": {"Retry-After": "0"}, "count": 2, "after": 1},
        {"endpoint": TASK, "fault": "status", "status": 401, "count": 1, "after": 2},
    ],
}
LIMITS = {
    "window": {"rules": DialRules(windows=(Window("09:00", "19:00"),), zone="America/Montevideo", costly="allow")},
    "not after": {"rules": DialRules(not_after=lambda _: NOON + timedelta(minutes=1), costly="allow")},
    "expired": {"not_after": NOON + timedelta(minutes=1)},
}


class Server:
    """The emulator on a loop and thread of its own: it goes on while the client stands still."""

    def __init__(self):
        self._started = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    async def _serve(self):
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with Emulator() as self.emulator:
            self._started.set()
            await self._end.wait()

    def __enter__(self):
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *exc_info):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def catch_up(self):
        """Return once everything that has arrived has been done: many turns of its loop later."""
        for _ in range(20):
            turned = threading.Event()
            self._loop.call_soon_threadsafe(turned.set)
            turned.wait()

    def called(self, prefix=""):
        """Return the numbers called that begin so."""
        numbers = [entry.fields["destination"] for entry in list(self.emulator.ledger.of(TASK))]
        return [number for number in numbers if number.startswith(prefix)]

    def misbehave(self, faults):
        """Have it do what is scripted, from its beginning."""
        self._loop.call_soon_threadsafe(self.emulator.set_faults, {"seed": 1, "rules": faults})
        self.catch_up()


class Clock:
    """Time that stands still, and jumps at one look of this thread at it."""

    def __init__(self, server, jump_at):
        """``jump_at`` is the number of the look, from 1."""
        self.jumped = False
        self._server = server
        self._looks = 0
        self._jump_at = jump_at
        self._thread = threading.get_ident()
        self._now = NOON

    def __call__(self):
        """Return the time."""
        if threading.get_ident() == self._thread:
            self._looks += 1
            if self._looks == self._jump_at:
                self._server.catch_up()
                self.called = set(self._server.called())
                self._now += PAUSE
                self.jumped = True
        return self._now


def run_of(uc, calls, now, **options):
    """Open a run on a clock of its own."""
    return Bulk(
        calls,
        caller=uc._caller.with_options(uc.settings, "bulk"),
        limiter=uc.limiter,
        server=uc.settings.url,
        options=BulkOptions(**options),
        spawn=uc._spawn,
        now=now,
    )


async def pause_at(look, server, prefix, *, limit, faults, lane, rows, journal):
    """Run some rows and pause at that look; return which calls were late, whether there was a pause, and the report."""
    server.misbehave(FAULTS[faults])
    clock = Clock(server, look)
    calls = [DialerTask.urgent(campaign="Ventas->", destination=f"{prefix}{n:02d}") for n in range(rows)]
    options = {"journal": journal, "max_concurrency": 2, **LIMITS[limit]}
    async with UContact(server.emulator.url, **LOGIN, lane=lane) as uc, run_of(uc, calls, clock, **options) as run:
        report = await run.finish()
    called = server.called(prefix)
    late = set(called) - clock.called if clock.jumped else set()
    wrong = len(called) != report.succeeded or len(set(called)) != len(called) or report.rows != rows
    return late, clock.jumped, [f"look {look}: {report.summary()}, {len(called)} calls"] * wrong


def pauses(limit, *, faults="waits", lane="command", rows=4, durable=True):
    """Pause run after run, each one look later, until no look is left; return the runs, late calls and what is odd."""
    late, odd = set(), []
    with Server() as server, tempfile.TemporaryDirectory(prefix="ucontact-paused-") as folder:
        for look in range(1, 1000):
            journal = Path(folder, f"{look}.journal") if durable else None
            work = pause_at(
                look, server, f"09{look:05d}", limit=limit, faults=faults, lane=lane, rows=rows, journal=journal
            )
            found, jumped, wrong = asyncio.run(work)
            late |= found
            odd += wrong
            if not jumped:
                return look - 1, late, odd
    return look, late, [*odd, "the run never ended by itself"]


def sent_at(moments, zones):
    """Send a row for each zone at each moment; return how many were sent, and every contradiction to the oracle."""
    rules = DialRules(
        windows=zone_oracle.WINDOWS,
        holidays=zone_oracle.HOLIDAYS,
        zone=lambda call: call.data["zone"],
        costly="allow",
    )
    sent, problems = 0, []

    async def send(server, moment, number):
        calls = [
            DialerTask.urgent(campaign="Ventas->", destination=f"{number:04d}{n:04d}", data={"zone": zone})
            for n, zone in enumerate(zones)
        ]
        async with (
            UContact(server.emulator.url, **LOGIN) as uc,
            run_of(uc, calls, lambda: moment, rules=rules) as run,
        ):
            await run.finish()

    with Server() as server:
        for number, moment in enumerate(moments, 1):
            asyncio.run(send(server, moment, number))
            called = {int(phone[4:]) for phone in server.called(f"{number:04d}")}
            sent += len(called)
            for n, zone in enumerate(zones):
                with zone_oracle.clock_of(zone):
                    if zone_oracle.allowed(moment.timestamp()) != (n in called):
                        problems.append(f"{zone} at {moment}: {'sent' if n in called else 'held back'}")
    return sent, problems


@contextmanager
def told(say, what):
    """Print what was found out, and whether anything of it is wrong."""
    found = []
    yield found
    say(f"{what}: {found[0]}; {len(found[1])} wrong")
    for problem in found[1][:10]:
        say(f"  {problem}")


def main(argv=None):
    """Run the proof; 1 on any violation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=8, help="rows of each paused run")
    parser.add_argument("--moments", type=int, default=60, help="moments at which a row of every zone is to go")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    wrong = 0
    for limit in LIMITS:
        for faults in FAULTS:
            for lane, durable in (("command", True), ("command", False), ("session", True)):
                with told(print, f"{limit}, {faults}, {lane} lane, {'a' if durable else 'no'} journal") as found:
                    looks, late, odd = pauses(limit, faults=faults, lane=lane, rows=args.rows, durable=durable)
                    found += [f"{looks} pauses, {len(late)} late calls", [*late, *odd]]
                    wrong += len(found[1])
    zones = sorted(zoneinfo.available_timezones() - {"localtime", "posixrules"})
    chance = random.Random(args.seed)
    moments = []
    while len(moments) < args.moments:
        with zone_oracle.clock_of(chance.choice(zones)):
            begin = int(zone_oracle.BEGIN.timestamp())
            moments.append(chance.choice(zone_oracle.moments(begin, begin + 10 * 365 * 86_400, chance)))
    with told(print, f"{len(zones)} zones at {len(moments)} moments") as found:
        sent, problems = sent_at([datetime.fromtimestamp(moment, UTC) for moment in moments], zones)
        found += [f"{sent} calls sent, {len(problems)} outside their windows or held back inside them", problems]
        wrong += len(problems)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
