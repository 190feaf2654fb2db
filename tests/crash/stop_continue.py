"""Stop the client past every deadline and let it go on: nothing twice, nothing lost, nothing too late.

``python -m tests.crash.stop_continue --stops 50 --seed 1`` runs clients in processes of their own (a journalled bulk
run beside people who dial and hang up, more of them than there are slots) and sends each SIGSTOP at a moment that
chance chooses. Stopped they stay for longer than their time-out (1 s), the ``send_by`` of a hang-up (3 s) and of a call
(5 s) and the idle time of a connection (4 s); meanwhile the server closes idle connections, says 408 on some of them,
and once forgets every token. Between client and server a relay notes when the first byte of each request came. Wrong
is: a call made twice, one said to be made or not made that was not or was, a row without an outcome, a first byte that
left after its ``send_by``. Only one is forgiven a stop, and eight in a hundred stops: the call whose bytes were being
handed to the system, after the last look at the clock, when the signal came. No process can see that happen, and it
happens more often where processes wait for a core. Without that last look ten in a hundred stops let several out.
"""

import argparse
import asyncio
import itertools
import json
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from random import Random
from urllib.parse import unquote_plus

sys.path.insert(0, str(Path(__file__).parent))

from kill_resume import PATIENCE, environment

from ucontact_async import Limiter, ScheduledCall, UContact, UContactError
from ucontact_async.emulator import Emulator

TIMEOUT = 1.0
SEND_BY = {"AgentCall": 5.0, "HungupPhone": 3.0}
STOPPED = 6.5
# A byte that left in time may be read a little later; one that was too late is later by the rest of the stop.
SLACK = 1.0
SLOTS, PEOPLE, BULK = 6, 12, 4
IDLE = 0.5
UNASKED = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
LATENCY = [
    {"endpoint": "*", "fault": "latency", "seconds": 0.01},
    {"endpoint": "*", "fault": "latency", "seconds": 0.02, "probability": 0.5},
]


class Client:
    """What is stopped: a bulk run and people who dial and hang up, until standard input ends."""

    def __init__(self, url, journal):
        """``url`` is the relay's."""
        self.told = []
        self._ended = asyncio.Event()
        self._journal = journal
        self._uc = UContact(url, user="api", password="secret", timezone="America/Montevideo", limiter=Limiter(SLOTS))

    async def __call__(self):
        """Work, and then print each call and how it ended, as a line of JSON."""
        asyncio.get_running_loop().add_reader(0, self._end)
        async with self._uc:
            quick = self._uc.with_options(timeout=TIMEOUT)
            people = [asyncio.create_task(self._person(quick, name)) for name in range(10, 10 + PEOPLE)]
            stream = quick.stream(self._rows(), journal=self._journal, max_concurrency=BULK, max_unknown=None)
            async with stream as outcomes:
                async for outcome in outcomes:
                    doubt = outcome.status == "unknown"
                    self.told.append(["row", outcome.request.destination, outcome.reason, 0.0, doubt])
            await asyncio.gather(*people)
        for line in self.told:
            print(json.dumps(line))

    def _end(self):
        asyncio.get_running_loop().remove_reader(0)
        self._ended.set()

    async def _rows(self):
        for number in itertools.count():
            if self._ended.is_set():
                return
            self.told.append(["read", "", "", 0.0, False])
            yield ScheduledCall(campaign="Ventas->", destination=f"09{number:07d}", calldate=datetime(2099, 5, 5, 10))

    async def _person(self, uc, name):
        for number in itertools.count():
            if self._ended.is_set():
                return
            phone, destination = f"{name}{number:05d}", f"08{name}{number:05d}"
            dial = uc.calls.dial(agent=f"Ana{name}", phone=phone, destination=destination, outqueue="Sales->")
            if await self._call("AgentCall", phone, dial):
                await self._call("HungupPhone", phone, uc.calls.hangup(phone=phone))

    async def _call(self, kind, key, work):
        began, error, doubt = time.monotonic(), "", False
        try:
            await work
        except UContactError as raised:
            error, doubt = type(raised).__name__, raised.may_have_happened
        self.told.append([kind, key, error, began, doubt])
        return not error


class Relay:
    """Stands between a client and its server, notes first bytes, and ends connections that are idle."""

    def __init__(self, target, chance):
        """``target`` is the port of the server."""
        self.first = {}
        self.closed = self.unasked = 0
        self._target = target
        self._chance = chance
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        behind, ahead = await asyncio.open_connection("127.0.0.1", self._target)
        answers = asyncio.create_task(self._answers(behind, writer))
        try:
            await self._requests(reader, writer, ahead)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left, or the server did
        finally:
            self._tasks.discard(asyncio.current_task())
            answers.cancel()
            ahead.close()
            writer.close()

    async def _requests(self, reader, writer, ahead):
        while True:
            try:
                async with asyncio.timeout(IDLE):
                    first = await reader.readexactly(1)
            except TimeoutError:
                if self._chance.random() < 0.5:
                    writer.write(UNASKED)
                    self.unasked += 1
                self.closed += 1
                return
            came = time.monotonic()
            head = first + await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(re.search(rb"(?i)content-length: *(\d+)", head)[1]))
            if phone := re.search(r"(?:^|&|\")phone\W+(\d+)", unquote_plus(body.decode())):
                endpoint = head.split(b" ")[1].decode().rpartition("/")[2]
                self.first[endpoint, phone[1]] = came
            ahead.write(head + body)

    @staticmethod
    async def _answers(behind, writer):
        while chunk := await behind.read(65_536):
            writer.write(chunk)
        writer.close()


async def torment(folder, number, stops, seed):
    """Run one client, stop it ``stops`` times, and return what is wrong and what happened."""
    chance = Random(seed * 1000 + number)
    moments = []
    async with Emulator(seed=number) as emulator, Relay(int(emulator.url.rpartition(":")[2]), chance) as relay:
        emulator.set_faults({"seed": number, "rules": LATENCY})
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "--client", relay.url, str(Path(folder, f"{number}.journal"))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
        )
        try:
            while len(emulator.ledger) < 10 and process.returncode is None:
                await asyncio.sleep(0.02)
            # Once: new tokens that die within the minute are taken for somebody else's logins, and end the run.
            forgets = chance.randrange(stops)
            for stop in range(stops):
                await asyncio.sleep(chance.uniform(0.1, 1.0))
                process.send_signal(signal.SIGSTOP)
                moments.append(time.monotonic())
                await asyncio.sleep(STOPPED / 2)
                if stop == forgets:
                    emulator.state.sessions.end_all()
                await asyncio.sleep(STOPPED / 2)
                process.send_signal(signal.SIGCONT)
            await asyncio.sleep(1.0)
            output, _ = await asyncio.wait_for(process.communicate(b""), PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        told = [json.loads(line) for line in output.decode().splitlines()]
        problems = [] if process.returncode == 0 else [f"the client ended with {process.returncode}"]
        problems += compare(told, emulator.ledger)
        found, caught = late(told, relay.first, moments)
        counts = summary(told, emulator, relay) + Counter({"caught in the act": caught})
        return [f"client {number}: {problem}" for problem in problems + found], counts


def late(told, first, moments):
    """Return what left too late, and how many were only caught in the act by one of the stops at ``moments``."""
    stops, problems = Counter(), []
    for kind, key, _, began, _ in told:
        seconds = first.get((kind, key), began) - began - SEND_BY.get(kind, 1e9)
        if seconds > SLACK:
            stop = max((moment for moment in moments if moment < first[kind, key]), default=0.0)
            stops[stop] += 1
            if stops[stop] > 1 or began > stop:
                problems.append(f"{kind} {key}: its first byte left {seconds:.1f} s after its last moment")
    return problems, len(stops)


def compare(told, ledger):
    """Return every contradiction between what the client was told and what the server did."""
    made = Counter()
    for entry in ledger:
        fields = entry.fields
        made[entry.endpoint.rpartition("/")[2], fields.get("phone") or fields["destination"]] += 1
    problems, seen = [], Counter()
    for kind, key, error, _, doubt in told:
        if kind == "read":
            continue
        endpoint = "ScheduleDialerCall" if kind == "row" else kind
        seen[endpoint, key] += 1
        allowed = (1,) if not error else (0, 1) if doubt else (0,)
        if made[endpoint, key] not in allowed:
            problems.append(f"{endpoint} {key}: told {error or 'done'}, the server did it {made[endpoint, key]} times")
    problems += [f"{call} was made {times} times" for call, times in made.items() if times > 1]
    problems += [f"nobody was told of {call}" for call in made if not seen[call]]
    rows = Counter(kind for kind, *_ in told)
    if rows["row"] != rows["read"]:
        problems.append(f"{rows['read']} rows were read, {rows['row']} have an outcome")
    return problems


def summary(told, emulator, relay):
    """Return what happened, in numbers."""
    ends = Counter(error or "done" for kind, _, error, *_ in told if kind != "read")
    logins = emulator.ledger.logins
    return ends + Counter({"logins": logins, "idle connections closed": relay.closed, "with a 408": relay.unasked})


async def prove(folder, *, stops, seed, clients=10, say=print):
    """Do the whole proof in ``folder`` and return every violation in a sentence."""
    began = time.monotonic()
    shares = [stops // clients + (number < stops % clients) for number in range(clients)]
    ended = await asyncio.gather(
        *(torment(folder, number, share, seed) for number, share in enumerate(shares) if share)
    )
    problems = [problem for found, _ in ended for problem in found]
    counts = sum((found for _, found in ended), Counter())
    if counts["caught in the act"] > max(2, 8 * stops // 100):
        problems.append(f"{counts['caught in the act']} calls left too late, more than can have been caught in the act")
    for problem in problems:
        say(f"VIOLATION {problem}")
    say(f"{', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    say(f"{stops} stops of {STOPPED} s in {time.monotonic() - began:.0f} s, seed {seed}: {len(problems)} violations")
    if not counts["NotSent"]:
        problems.append("no call was ever too late: the stops came to nothing")
    return problems


def main(argv=None):
    """Run the proof; 1 on any violation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=10, help="how many clients are stopped side by side")
    parser.add_argument("--client", nargs=2, metavar=("URL", "JOURNAL"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.client is not None:
        asyncio.run(Client(*args.client)())
        return 0
    with tempfile.TemporaryDirectory(prefix="ucontact-stop-") as folder:
        proof = prove(
            folder, stops=args.stops, seed=args.seed, clients=args.clients, say=lambda line: print(line, flush=True)
        )
        problems = asyncio.run(proof)
    print("no violation" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
