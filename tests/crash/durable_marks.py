"""Watch the real command under strace: each row's mark is synced to the disk before its request begins to leave.

``python -m tests.crash.durable_marks --rows 2000`` has ``ucontact-async schedule FILE`` (real process, real sockets,
real journal; the emulator in another process) traced with the bytes of every write, sync and send. From what had been
synced at that moment, and nothing else, the journal is put together again before each send of a call and asked for
that row: it must be marked sent. Some calls are put off and one token dies, so that marks are taken back and made
again. 1 if a call left before its mark was durable, or a call that the server saw is missing from the trace.
"""

import argparse
import json
import os
import re
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import parse_qs

sys.path.insert(0, str(Path(__file__).parent))

from kill_at_syscalls import FAULTS, works
from kill_resume import Command, Server
from power_cuts import SYSCALLS, Disk, Event, Reader, read_trace

# One request in twenty, each by a rule of its own: by chance one row might have all its tries put off.
PUT_OFF = {"endpoint": "Dialers/*", "fault": "status", "status": 429, "headers": {"Retry-After": "0"}, "count": 1}
SENDS = "sendto,sendmsg,writev"
CALL = re.compile(rb"POST \S+/Dialers/ScheduleDialerCall .*?\r\n\r\n(\S+)\Z", re.DOTALL)


class Watcher(Reader):
    """Makes events of the sends of calls too; what the command prints is nothing to it."""

    def __call__(self, name, arguments, result):
        """Yield the events of one call."""
        if name in SENDS.split(","):
            texts = re.findall(r'"((?:\\x[0-9a-f]{2})*)"', arguments)
            sent = b"".join([bytes.fromhex(text.replace("\\x", "")) for text in texts])
            if (call := CALL.search(sent)) is not None:
                (said,) = parse_qs(call[1].decode("ascii"), strict_parsing=True)["callschedule"]
                yield Event("send", word=(json.loads(said)["destination"],))
        elif name != "write":
            yield from super().__call__(name, arguments, result)


class Marks:
    """Which rows are marked sent in the journal as it would be found if the power went now."""

    def __init__(self, journal, disk, folder):
        """``journal`` is the path below the root of ``disk``; ``folder`` is for what is put together."""
        self._journal = journal
        self._disk = disk
        self._folder = Path(folder)
        self._known = None

    def forget(self):
        """Something was synced."""
        self._known = None

    def __contains__(self, destination):
        if self._known is None:
            self._known = self._read()
        return destination in self._known

    def _read(self):
        for suffix in ("", "-wal"):
            file = self._disk.root.now.get(self._journal + suffix)
            (self._folder / f"copy{suffix}").write_bytes(b"" if file is None else file.durable)
        (self._folder / "copy-shm").unlink(missing_ok=True)
        db = sqlite3.connect(self._folder / "copy")
        try:
            return {destination for (destination,) in db.execute("SELECT destination FROM calls WHERE status = 'sent'")}
        except sqlite3.OperationalError:
            return set()  # not even its tables are there
        finally:
            db.close()


def record(command, folder):
    """Run ``command`` under strace and return what it did to its folder and sent, in that order."""
    trace = Path(folder, "trace")
    words = ["strace", "-f", "--seccomp-bpf", "-qq", "-xx", "-s", "1000000", "-o", str(trace)]
    command.words = [*words, "-e", f"trace={SYSCALLS},{SENDS}", *command.words]
    code, output, errors = command.run()
    if code != 0:
        raise RuntimeError(f"the run to be watched ended with {code}: {output} {errors}")
    return read_trace(trace, Watcher(command.file.parent, set()))


def judge(events, journal, folder, *, deaf=False):
    """Return the calls that left before their mark was durable, how many left, and how many syncs there were."""
    disk, early, sends, syncs = Disk(), [], [], 0
    marks = Marks(journal, disk, folder)
    for event in events:
        if event.kind == "send":
            sends.append(event.word[0])
            if event.word[0] not in marks:
                early.append(event.word[0])
        elif event.kind == "sync" and deaf and event.path.endswith("-wal"):
            continue
        else:
            disk.feed(event)
            if event.kind == "sync":
                syncs += event.path.startswith(journal)
                marks.forget()
    return early, sends, syncs


def prove(folder, *, rows, deaf=False, say=print):
    """Do the whole proof in ``folder`` and return every violation in a sentence."""
    began = time.monotonic()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else folder
    with (
        Server([*FAULTS, PUT_OFF | {"probability": 0.05}]) as server,
        tempfile.TemporaryDirectory(dir=memory) as copies,
    ):
        command = Command(folder, server.url, rows)
        events = record(command, folder)
        early, sends, syncs = judge(events, command.journal.name, copies, deaf=deaf)
        applied = server.applied()
    problems = [f"the call of {destination} left before its mark was durable" for destination in early]
    missing = {destination for destination, _ in applied} - set(sends)
    problems += [f"the call of {destination} was made and is not in the trace" for destination in missing]
    if len(applied) != rows or len(sends) == rows:
        problems.append(f"{len(applied)} of {rows} calls were made, by {len(sends)} requests: not what was to be seen")
    for problem in problems[:20]:
        say(f"VIOLATION {problem}")
    say(
        f"{rows} rows, {len(sends)} requests for calls, {syncs} syncs of the journal in {time.monotonic() - began:.0f} "
        f"s: {len(early)} left before their mark was durable"
    )
    return problems


def main(argv=None):
    """Run the proof; 1 on any violation, 2 where strace cannot work."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2000)
    arguments = parser.parse_args(argv)
    if missing := works():
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="ucontact-marks-") as folder:
        problems = prove(folder, rows=arguments.rows)
    print("no violation" if not problems else f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
