"""One POST that must not be repeated into every fault of a transport: our word for it, and what the server read.

``python -m tests.emulated.transport_matrix --lane session`` runs every case of ``transport_cases.py`` over plain TCP
and TLS, on a first and on a used connection, under asyncio and uvloop, prints the table, and ends with 1 if a cell is
wrong: another error than the case's, an error of somebody else's, another number of requests read whole, a word that
contradicts that number, or a client that cannot go on once the server is well again.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import logging
import socket
import ssl
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from faulty_server import FaultyServer
from transport_cases import CASES, SLOW

from ucontact_async import Reply, Safety, SettingsError, UContact, UContactError

LOOPS = ("asyncio", "uvloop")
MAY_HAVE_HAPPENED = {"ReplyLost", "ServerFault", "UnreadableReply"}


@dataclass(frozen=True)
class Cell:
    """A case, and where it is tried."""

    number: int
    tls: bool
    reused: bool

    @property
    def case(self):
        """The case, by its place in the table."""
        return CASES[self.number]

    def __str__(self):
        return f"{self.case.name} ({'TLS' if self.tls else 'plain'}, {'reused' if self.reused else 'fresh'})"


@dataclass(frozen=True)
class Seen:
    """What came of a cell."""

    error: str
    requests: int
    after: str
    detail: str = ""

    def right(self, case):
        """Return whether all of it is as it must be, and what was said allows for what was read."""
        errors = case.error if isinstance(case.error, tuple) else (case.error,)
        if self.error == "":
            sound = self.requests == 1
        else:
            sound = self.error in MAY_HAVE_HAPPENED or self.error != "NotSent" or self.requests == 0
        return self.error in errors and self.requests == case.requests and sound and self.after == ""


def cells(*, tls=(False, True), reused=(False, True), only=""):
    """Return every cell there is."""
    return [
        Cell(number, secure, used)
        for number, case in enumerate(CASES)
        for secure in tls
        for used in reused
        if case.tls in (None, secure) and case.reused in (None, used) and only in case.name
    ]


@cache
def authority():
    """Return a certificate authority, and the file that holds its certificate; it lives as long as the process."""
    import trustme

    made = trustme.CA()
    folder = tempfile.TemporaryDirectory(prefix="ucontact-ca-")
    path = Path(folder.name, "ca.pem")
    made.cert_pem.write_to_path(str(path))
    return made, path, folder


@cache
def server_context(setting):
    """Return the server's side of TLS, with the certificate that the setting of a case speaks of."""
    import trustme

    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    issuer = trustme.CA() if setting == "unknown" else authority()[0]
    certificate = issuer.issue_cert(
        "other.example" if setting == "host" else "127.0.0.1", not_after=past if setting == "expired" else None
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if setting == "mutual":
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.contextmanager
def unreachable(setting):
    """Give an address where nobody answers."""
    with contextlib.ExitStack() as opened:
        if setting == "dns":
            yield "nobody.invalid"
            return
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        if setting == "backlog":
            listener.listen(0)
            for _ in range(4):  # one more than fits is left without an answer
                filler = opened.enter_context(socket.socket())
                filler.settimeout(0)
                filler.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def run_cell(cell, *, lane="session", tries=3):
    """Try one cell and return what came of it.

    Where a machine too busy for the short time-out of a case never got it a connection, or never had the call before it
    answered, the fault was never met: the cell is tried anew.
    """
    for left in reversed(range(tries)):
        try:
            seen = await _try_cell(cell, lane)
        except UContactError:  # of the call before: what the cell's own ends in is seen
            if not left:
                raise
            continue
        if seen.right(cell.case) or not seen.detail.startswith("not sent: no connection within"):
            break
    return seen


async def _try_cell(cell, lane):
    case = cell.case
    if case.setting in ("refused", "dns", "backlog") and not cell.reused:
        with unreachable(case.setting) as address:
            error, after, detail = await _talk(cell, address, None, lane)
            return Seen(error, 0, after, detail)
    context = server_context(case.setting) if cell.tls and case.setting != "bare" else None
    server = FaultyServer(case.script, context=context, warm=int(cell.reused), idle=case.idle)
    try:
        error, after, detail = await _talk(cell, f"127.0.0.1:{server.port}", server, lane)
    finally:
        left = await asyncio.to_thread(server.close)
    return Seen(error, server.complete, after or left, detail)


async def _talk(cell, address, server, lane):
    case, trusted = cell.case, authority()[1] if cell.tls else None
    url = f"{'https' if cell.tls else 'http'}://{address}"
    if case.setting == "dns":
        warnings.filterwarnings("ignore", "nobody.invalid is addressed over http")
    async with UContact(url, token="t0ken", timezone="America/Montevideo", ca=trusted, lane=lane) as uc:
        if cell.reused:
            await _well(uc)
            if case.setting == "refused":
                server.refuse()
            server.warmed.set()
            if case.idle:
                await _let_it_act(server, busy=case.busy)
        error, detail = "", ""
        try:
            await _target(uc.with_options(timeout=case.timeout), case.body)
        except UContactError as raised:
            error, detail = type(raised).__name__, str(raised)
        except Exception as raised:  # noqa: BLE001  what must never happen is shown, not raised
            error, detail = f"foreign {type(raised).__name__}", str(raised)
        after = ""
        if case.after and server is not None:
            server.good = True
            try:
                await _well(uc)
            except Exception as raised:  # noqa: BLE001  the same
                after = f"{type(raised).__name__}: {raised}"
        return error, after, detail


async def _target(uc, size):
    if size:
        await uc.request("Dialers/ScheduleDialerCall", {"x": "1" * size}, reply=Reply.DONE, safety=Safety.ONCE)
    else:
        moment = dt.datetime(2099, 5, 5, 10)
        await uc.dialers.schedule(campaign="Ventas->", destination="090000001", calldate=moment)


async def _well(uc):
    await uc.with_options(timeout=SLOW).dialers.remove_contact(campaign="Ventas->", destination="090000000")


async def _let_it_act(server, *, busy):
    """Wait until the server has done what it does to an idle connection."""
    if busy:  # on purpose: this very loop must not see it
        server.acted.wait(SLOW)
        time.sleep(0.005)  # noqa: ASYNC251  the same
    else:
        await asyncio.to_thread(server.acted.wait, SLOW)
        await asyncio.sleep(0.02)


async def run_cells(wanted, *, lane="session", jobs=12):
    """Try cells, several at once, and return what came of each."""
    seen, queue = {}, iter(wanted)

    async def work():
        for cell in queue:
            seen[cell] = await run_cell(cell, lane=lane)

    await asyncio.gather(*(work() for _ in range(jobs)))
    return seen


def run_in(loop, wanted, *, lane="session", jobs=12):
    """Try cells in an event loop of the named kind."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(run_cells(wanted, lane=lane, jobs=jobs))


def wrong(results):
    """Return a sentence for each cell that is not as it must be; ``results`` go by the loop."""
    return [
        f"{loop}, {cell}: {seen}; right is {cell.case.error!r}, {cell.case.requests} read"
        for loop, all_ in results.items()
        for cell, seen in all_.items()
        if not seen.right(cell.case)
    ]


def _print_table(results):
    columns = [(loop, tls, reused) for loop in results for tls in (False, True) for reused in (False, True)]
    found = {
        (cell.number, loop, cell.tls, cell.reused): seen
        for loop, all_ in results.items()
        for cell, seen in all_.items()
    }
    title = " ".join(f"{loop[0]}{'T' if tls else 'p'}{'r' if reused else 'f'}" for loop, tls, reused in columns)
    print(f"{'fault':<60} {'said':<16} {'read':>4}  {title}")
    for number, case in enumerate(CASES):
        row = {column: found[number, *column] for column in columns if (number, *column) in found}
        if row:
            first = next(iter(row.values()))
            marks = ["   " if c not in row else " ok" if row[c].right(case) else "BAD" for c in columns]
            print(f"{case.name[:60]:<60} {first.error or '-':<16} {first.requests:>4}  {' '.join(marks)}")


def main(argv=None):
    """Run the matrix; 1 if a cell is wrong, 2 where it cannot be run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lane", default="session")
    parser.add_argument("--loop", choices=LOOPS, action="append")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases with this in their name")
    parser.add_argument("--quiet", action="store_true", help="no table, only what is wrong and the summary")
    parser.add_argument("--jobs", type=int, default=12, help="cells at once, in each of the two processes")
    args = parser.parse_args(argv)
    began = time.monotonic()
    try:
        UContact("http://127.0.0.1", token="t", lane=args.lane)
    except SettingsError as error:
        print(f"{args.lane}: {error}", file=sys.stderr)
        return 2
    wanted = cells(only=args.only)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=logging.disable) as pool:
        running = {
            loop: pool.submit(run_in, loop, wanted, lane=args.lane, jobs=args.jobs) for loop in args.loop or LOOPS
        }
        results = {loop: future.result() for loop, future in running.items()}
    if not args.quiet:
        _print_table(results)
    for sentence in (sentences := wrong(results)):
        print(f"WRONG {sentence}")
    every = [(cell, seen) for all_ in results.values() for cell, seen in all_.items()]
    said = Counter(seen.error or "success" for _, seen in every)
    faults = len({cell.case.name for cell, _ in every})
    print(f"said: {', '.join(f'{name} {count}' for name, count in sorted(said.items()))}")
    print(
        f"{faults} faults, {len(every)} cells ({args.lane} lane), {len(sentences)} wrong, "
        f"in {time.monotonic() - began:.0f} s"
    )
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
