"""End the processes that a run of .ci/run left behind, by the mark it put into their environment; fail if any."""

# ruff: noqa: INP001, T201 -- a script of its own, whose output is read in the log
import contextlib
import os
import signal
import sys
from pathlib import Path


def main(mark: str) -> int:
    """Name and end each process that carries ``mark``; return how many there were, at most 1."""
    wanted, left = f"CI_RUN_MARK={mark}".encode(), 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            marked = wanted in (process / "environ").read_bytes().split(b"\0")
            if marked and int(process.name) != os.getpid():
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                print(f"left behind: {process.name} {command}")
                os.kill(int(process.name), signal.SIGKILL)
                left = 1
    return left


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
