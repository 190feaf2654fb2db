"""Fuzz every decoder and encoder, guided by coverage: ``python -m tests.fuzz --seconds 60`` or ``--executions N``.

Each target of the table runs in a process of its own with limits on its memory and on the time of one input. Prints a
line for each and ends with 1 if one crashed; the inputs that did are kept in the folder that it names, and
``--only NAME --input FILE`` runs one again. Needs atheris (extra ``fuzz``); the suite itself tries the same targets
without it.
"""

import argparse
import contextlib
import os
import re
import resource
import signal
import sys
import tempfile
import time
from hashlib import sha1
from pathlib import Path
from typing import NamedTuple

MISSING = "atheris is not installed: python -m pip install 'ucontact-async[fuzz]' (Linux on x86-64)"
# MiB that a target may need beyond what it begins with, libFuzzer's corpus included; the address space is wider.
MEMORY, SPACE = 192, 2048
# Seconds of the clock for one input: Target.check is stricter, and goes by CPU time.
HANGS = 60
LARGEST = 4096
# A slow target gets this part of what it would get among equals, but never less than the least.
SLOW, LEAST = 0.1, 100_000


class Ended(NamedTuple):
    """How one target ended: the code of its process, executions, edges covered, MiB at most, and what it said."""

    code: int
    executions: int
    coverage: int
    memory: int
    said: str


def shares(targets, options):
    """Return for each target the words that say how long it runs."""
    if options.executions is None:
        seconds = max(1, round(options.seconds * options.jobs / len(targets)))
        return dict.fromkeys(targets, f"-max_total_time={seconds}")
    slow = [name for name, target in targets.items() if target.slow]
    least = max(1, min(LEAST, options.executions // len(targets)))
    few = max(least, int(options.executions / len(targets) * SLOW))
    many = max(least, -(-(options.executions - few * len(slow)) // max(1, len(targets) - len(slow))))
    return {name: f"-runs={few if name in slow else many}" for name in targets}


def run_child(atheris, target, share, keep, log):
    """Be the process of one target; does not return."""
    for number in (signal.SIGINT, signal.SIGTERM):  # an end from outside is no crash
        signal.signal(number, signal.SIG_DFL)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    corpus = log.with_suffix("")
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    pages, resident = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split()[:2])
    page = os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (pages * page + (SPACE << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    words = [
        "fuzz",
        share,
        f"-rss_limit_mb={(resident * page >> 20) + MEMORY}",
        f"-timeout={HANGS}",
        f"-max_len={LARGEST}",
        f"-artifact_prefix={keep / slug(target.name)}-",
        "-print_final_stats=1",
        "-handle_int=0",
        "-handle_term=0",
        str(corpus),
    ]

    def check(data):
        try:
            target.check(data)
        except BaseException:  # what ends the process otherwise, libFuzzer keeps itself
            Path(f"{keep / slug(target.name)}-crash-{sha1(data, usedforsecurity=False).hexdigest()}").write_bytes(data)
            raise

    atheris.Setup(words, check)
    atheris.Fuzz()


def slug(name):
    """Return ``name`` as a part of a file's name."""
    return name.replace(" ", "-")


def ended(status, log):
    """Read what a target left behind."""
    said = log.read_text(encoding="utf-8", errors="replace")
    counted = re.findall(r"^(?:stat::number_of_executed_units:\s+|#)(\d+)", said, re.MULTILINE)
    covered = re.findall(r" cov: (\d+)", said)
    memory = re.findall(r"rss: (\d+)Mb|peak_rss_mb:\s+(\d+)", said)
    return Ended(
        os.waitstatus_to_exitcode(status),
        max(map(int, counted), default=0),
        max(map(int, covered), default=0),
        max((int(one or other) for one, other in memory), default=0),
        said,
    )


def walk(targets, options, keep, atheris):
    """Run all targets, so many at once, and yield each as it ends."""
    waiting, running = shares(targets, options), {}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # nobody is left behind
    with tempfile.TemporaryDirectory(prefix="ucontact-fuzz-") as folder, contextlib.ExitStack() as leaving:
        leaving.callback(stop, running)
        while waiting or running:
            while waiting and len(running) < options.jobs:
                name = next(iter(waiting))
                share, log = waiting.pop(name), Path(folder, f"{slug(name)}.log")
                sys.stdout.flush()
                if (child := os.fork()) == 0:
                    try:
                        run_child(atheris, targets[name], share, keep, log)
                    finally:
                        os._exit(1)  # nothing of the parent's is to be cleared away
                running[child] = name, log
            child, status = os.wait()
            name, log = running.pop(child)
            yield name, ended(status, log)


def stop(running):
    """End the processes that still run."""
    for child in running:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def reason(said):
    """Return the lines that say why a target crashed."""
    found = re.search(r"=== Uncaught Python exception: ===\n(.*?)\n==\d+==", said, re.DOTALL)
    lines = found[1].splitlines() if found else said.splitlines()
    return "\n".join(f"    {line}" for line in lines[-12:])


def fuzz(targets, options, atheris):
    """Fuzz ``targets``, print what became of each, and return the exit code."""
    began = time.monotonic()
    keep = Path(options.keep or tempfile.mkdtemp(prefix="ucontact-crashes-"))
    keep.mkdir(parents=True, exist_ok=True)
    executions = crashes = 0
    for name, end in walk(targets, options, keep, atheris):
        what = "" if end.code == 0 else f"  CRASHED ({end.code})"
        print(f"{name:<26}{end.executions:>10} executions{end.coverage:>6} edges{end.memory:>6} MiB{what}", flush=True)
        if end.code:
            print(reason(end.said), flush=True)
        executions += end.executions
        crashes += end.code != 0
    print(f"{executions} executions over {len(targets)} targets in {time.monotonic() - began:.0f} s: {crashes} crashes")
    kept = sorted(keep.iterdir())
    for path in kept:
        print(f"kept: {path}")
    if not kept and not options.keep:
        keep.rmdir()
    return int(bool(crashes))


def arguments(argv):
    """Read the words of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--seconds", type=float, default=60, help="for how long in all (60)")
    how.add_argument("--executions", type=int, help="how many in all")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this target; repeatable")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="how many targets at once")
    parser.add_argument("--keep", metavar="FOLDER", help="where the inputs go that crashed")
    parser.add_argument("--input", type=Path, metavar="FILE", help="run only this input, without atheris")
    return parser.parse_args(argv)


def main(argv=None):
    """Return 0 if no target crashed, 1 if one did, 2 for usage."""
    options = arguments(argv)
    if options.input is not None:
        from .table import TARGETS

        for name in options.only or TARGETS:
            TARGETS[name].check(options.input.read_bytes())
        return 0
    try:
        import atheris
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["ucontact_async"]):
        from .table import TARGETS
    if unknown := [name for name in options.only if name not in TARGETS]:
        print(f"no target {unknown[0]!r}; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    chosen = {name: target for name, target in TARGETS.items() if not options.only or name in options.only}
    return fuzz(chosen, options, atheris)


if __name__ == "__main__":
    sys.exit(main())
