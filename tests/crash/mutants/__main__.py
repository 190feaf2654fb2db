"""Show that the simulation sees wrong engines: each mutant is built in a copy of the package and must be caught.

``python -m tests.crash.mutants`` counts the violations of each over a fixed number of runs, ``--to-first`` ends each
with the first. It ends with 1 if a mutant survives, and if one cannot be built because its text is not there any more.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ucontact_async

from .wrong import LIKELY, MUTANTS

PACKAGE = Path(ucontact_async.__file__).parent
PROOF = Path(__file__).parent.parent
LIMIT = 900.0


def misfits():
    """Return every text that does not stand exactly once where a mutant looks for it."""
    return [
        f"{name!r}: {edit.file} holds its text {found} times, not once: {edit.old!r}"
        for name, edits in MUTANTS.items()
        for edit in edits
        if (found := (PACKAGE / edit.file).read_text(encoding="utf-8").count(edit.old)) != 1
    ]


def build(name, folder):
    """Make the copy of the package that is wrong in this way."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROOF, folder / "tests" / "crash", ignore=shutil.ignore_patterns("__pycache__", "mutants"))
    for edit in MUTANTS[name]:
        file = folder / PACKAGE.name / edit.file
        file.write_text(file.read_text(encoding="utf-8").replace(edit.old, edit.new), encoding="utf-8")


def hunt(name, *, to_first, seeds):
    """Run the simulation on one mutant and return whether it was caught, and a sentence about it."""
    began = time.monotonic()
    how = "--to-first" if to_first else "--scattered"
    rounds = [["--seeds", str(seeds)]]
    if name in LIKELY:
        rounds.insert(0, ["--kinds", LIKELY[name], "--seeds", "30"])
    runs = violations = 0
    first = None
    with tempfile.TemporaryDirectory(prefix="ucontact-mutant-") as folder:
        build(name, Path(folder))
        for words in rounds:
            said = simulate(folder, how, *words)
            total = re.search(r"(\d+) runs.*: (\d+) violations", said)
            if total is None:
                return False, f"{name}: the simulation failed\n{said}"
            runs, violations = runs + int(total[1]), violations + int(total[2])
            first = first or re.search(r"VIOLATION (.*)\n.*simulate (.*)", said)
            if to_first and first is not None:
                break
    why = "SURVIVED" if first is None else f"{first[1]}  ({first[2]})"
    return first is not None, f"{violations:>5} of {runs:>5} runs {time.monotonic() - began:6.1f} s  {name}: {why}"


def simulate(folder, *words):
    """Run the simulation in ``folder`` and return what it said."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.crash.simulate", "--jobs", "1", *words],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return found.stdout + found.stderr


def main(argv=None):
    """Hunt all mutants; 1 if one survives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to-first", action="store_true", help="end each with its first violation")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="how many at once")
    parser.add_argument(
        "--seeds",
        type=int,
        help="how many seeds of all kinds for each (1, --to-first 3), after 30 of the likely ones",
    )
    parser.add_argument("--only", default="", help="a part of the names of those to hunt")
    options = parser.parse_args(argv)
    if wrong := misfits():
        print("the engine has changed; write these mutants anew:", *wrong, sep="\n")
        return 2
    seeds = options.seeds or (3 if options.to_first else 1)
    names = [name for name in MUTANTS if options.only in name]
    began = time.monotonic()
    survivors = []
    with ThreadPoolExecutor(options.jobs) as pool:
        hunts = [pool.submit(hunt, name, to_first=options.to_first, seeds=seeds) for name in names]
        for name, hunted in zip(names, hunts, strict=True):
            caught, sentence = hunted.result()
            print(sentence, flush=True)
            if not caught:
                survivors.append(name)
    print(f"{len(names) - len(survivors)} of {len(names)} mutants caught in {time.monotonic() - began:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
