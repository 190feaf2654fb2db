"""Run the real client on a simulated machine, crash it before every step, and hold its books against the server's.

``python -m tests.crash.simulate --kinds all --budget 8m`` goes through every kind of fault under one seed after the
other, each with a crash before every step of the first process, and prints a line per kind. It ends with 1 if a call
was made twice, a row was lost, or something was said that is not true; every such run is repeated, with a trace of
all its steps, by ``--kind KIND --seed SEED --crash STEP``. ``--pairs`` takes two kinds at a time, every pair of them,
and crashes before a few steps of each.
"""

import argparse
import gc
import itertools
import json
import os
import re
import selectors
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from random import Random

from .machine import install

install()  # before anything looks at the clock

from .faults import KINDS  # noqa: E402
from .matrix import possible, show  # noqa: E402
from .scenario import Scenario, policy_of  # noqa: E402

clock = time.perf_counter


def every_step(kinds, seeds, folder):
    """Yield every run: without a crash, then with one before each step; ``kinds`` are tuples."""
    for seed in seeds:
        for kind in kinds:
            scenario = Scenario(kind, seed, folder)
            whole = scenario.run()
            yield scenario, None, whole
            for step in range(1, whole.steps + 1):
                yield scenario, step, scenario.run(step)


def here_and_there(kinds, seeds, folder):
    """Yield runs in the order in which something that is wrong shows soonest: all kinds before all steps."""
    for seed in seeds:
        for kind in kinds:
            scenario = Scenario(kind, seed, folder)
            whole = scenario.run()
            yield scenario, None, whole
            for step in Random(f"{kind} {seed}").sample(range(1, whole.steps + 1), min(3, whole.steps)):
                yield scenario, step, scenario.run(step)


def until_met(kinds, seeds, folder):
    """Yield runs of each kind until each change of a row that can follow it was made, or there are no seeds left."""
    for kind in kinds:
        missing = possible(kind[0])
        for seed in seeds:
            for found in here_and_there([kind], [seed], folder):
                missing -= {change for change, _ in found[2].cells}
                yield found
            if not missing:
                break


class Tally:
    """What came out of many runs of one kind."""

    def __init__(self):
        self.counts = Counter()
        self.longest = 0
        self.violations = []
        self.cells = Counter()

    def add(self, scenario, step, run):
        """Count one run."""
        self.counts["runs"] += 1
        self.counts["crashes"] += run.crashed
        self.counts["points"] += step is not None
        self.counts["crossed"] += bool(run.crossings)
        self.longest = max(self.longest, run.steps)
        self.cells.update("|".join(cell) for cell in run.cells)
        if run.violations:
            self.counts["violations"] += 1
            self.violations.append(("+".join(scenario.kinds), scenario.seed, step, run.violations[0]))

    def dump(self):
        """Return it as JSON can carry it."""
        return [dict(self.counts), self.longest, self.violations[:20], dict(self.cells)]

    def load(self, dumped):
        """Add what another process has counted."""
        counts, longest, violations, cells = dumped
        self.cells.update(cells)
        self.counts.update(counts)
        self.longest = max(self.longest, longest)
        self.violations += violations


def work(options, kinds, share):
    """Do one process's share of the runs and yield the tallies, one a scenario."""
    order = every_step
    if options.matrix:
        order = until_met
    elif options.scattered or options.to_first or options.pairs:
        order = here_and_there
    seeds = range(options.seed, options.seed + options.seeds) if options.seeds else itertools.count(options.seed)
    end = None if options.budget is None else clock() + options.budget
    mine = kinds[share :: options.jobs]
    with tempfile.TemporaryDirectory(prefix="ucontact-simulate-", dir=_memory()) as folder:
        _settle(folder)
        tally, of, met = Tally(), None, set()
        for scenario, step, run in order(mine, seeds, folder):
            if of is not None and of is not scenario:
                yield of.kinds, tally
                tally = Tally()
            of = scenario
            tally.add(scenario, step, run)
            met.add(scenario.kinds)
            late = end is not None and clock() > end and len(met) == len(mine)
            if late or (options.to_first and tally.violations):
                break
        if of is not None:
            yield of.kinds, tally


def _memory():
    """Return a folder in memory, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _quiet():
    """Let a process that was dropped say nothing while it is cleared away, and have that done when we say so."""
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")
    gc.disable()


def _settle(folder):
    """Let everything that is imported late be there before the first run is counted, and never look through it."""
    for lane in ("session", "auto"):
        seed = next(seed for seed in itertools.count() if policy_of(("nothing",), seed).lane == lane)
        Scenario(("nothing",), seed, folder).run()
    gc.collect()
    gc.freeze()


def spread(options, kinds):
    """Have ``options.jobs`` processes share the work, and yield what they report."""
    readers, children = [], []
    for share in range(options.jobs):
        read, write = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os.close(read)
            _report(options, kinds, share, write)
        os.close(write)
        children.append(child)
        readers.append(os.fdopen(read, encoding="utf-8"))
    try:
        yield from _collect(readers)
        failed = False
        while children:
            failed |= os.waitpid(children.pop(), 0)[1] != 0
        if failed:
            raise RuntimeError("a part of the simulation failed")
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
        for reader in readers:
            reader.close()


def _report(options, kinds, share, descriptor):
    """Be one of the processes; never return."""
    code = 1
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            for kind, tally in work(options, kinds, share):
                print(json.dumps([kind, tally.dump()]), file=out, flush=True)
        code = 0
    except BrokenPipeError:
        pass
    except BaseException:  # noqa: BLE001  told here, for this process ends without a word
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _collect(readers):
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                line = key.fileobj.readline()
                if line:
                    kind, dumped = json.loads(line)
                    yield tuple(kind), dumped
                else:
                    selector.unregister(key.fileobj)


def sweep(options, kinds, say=print):
    """Go through everything that was asked for, and return how many violations there were."""
    began = clock()
    tallies = {}
    for kind, dumped in spread(options, kinds):
        tally = tallies.setdefault("+".join(kind), Tally())
        seen = len(tally.violations)
        tally.load(dumped)
        for name, seed, step, sentence in tally.violations[seen : seen + 3]:
            crash = "" if step is None else f" --crash {step}"
            say(f"VIOLATION {sentence}\n    python -m tests.crash.simulate --kind {name} --seed {seed}{crash}")
        if options.to_first and tally.violations:
            break
    seconds = clock() - began
    if not options.to_first:
        _table(tallies, say, brief=options.pairs or options.matrix)
    total = sum((tally.counts for tally in tallies.values()), Counter())
    what = "pairs" if options.pairs else "kinds"
    say(
        f"{total['points']} crash points, {total['runs']} runs, {len(tallies)} of {len(kinds)} {what} of faults, "
        f"{seconds:.0f} s, {total['runs'] / seconds:.0f} runs/s: {total['violations']} violations"
    )
    if total["crossed"]:
        say(
            f"{total['crossed']} runs in which an unasked answer crossed a request on the wire and was taken for its "
            'own; HTTP/1.1 cannot tell them apart, connection="fresh" has none'
        )
    wrong = 0
    if options.matrix:
        cells = sum((tally.cells for tally in tallies.values()), Counter())
        wrong = show({tuple(cell.split("|")): count for cell, count in cells.items()}, [kind for (kind,) in kinds], say)
    return total["violations"] + wrong


def _table(tallies, say, *, brief):
    if brief:
        return
    say(f"{'kind':<32} {'crash points':>12} {'runs':>7} {'longest':>8} {'violations':>11}")
    for kind, tally in tallies.items():
        counts = tally.counts
        say(f"{kind:<32} {counts['points']:>12} {counts['runs']:>7} {tally.longest:>8} {counts['violations']:>11}")


def replay(options):
    """Repeat one run, step by step."""
    with tempfile.TemporaryDirectory(prefix="ucontact-simulate-", dir=_memory()) as folder:
        scenario = Scenario(tuple(options.kind.split("+")), options.seed, folder, trace=print)
        print(scenario.policy)
        run = scenario.run(options.crash)
    for number, books in enumerate(run.books, 1):
        print(f"process {number} that came to its end: {books.error or books.report.summary()}")
        for outcome in books.outcomes:
            print(f"  {outcome.index} {outcome.status} {outcome.reason} {outcome.detail}")
    print("applied:", dict(run.server.applied))
    for sentence in run.violations:
        print(f"VIOLATION {sentence}")
    return len(run.violations)


def seconds_of(text):
    """Read ``90``, ``90s``, ``8m`` or ``1h``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write 90s or 8m")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def main(argv=None):
    """Run the proof; 1 on any violation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", default="all", help="kinds of faults, by commas (all), or KIND+KIND")
    parser.add_argument("--pairs", action="store_true", help="all pairs of kinds, a few steps of each")
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="until each change of a row was made under each kind; --seeds at most (300)",
    )
    parser.add_argument("--budget", type=seconds_of, help="stop after so long (8m), but not before each kind")
    parser.add_argument("--seeds", type=int, help="how many seeds (without --budget one)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="how many processes")
    parser.add_argument("--scattered", action="store_true", help="crash before a few steps of each instead of all")
    parser.add_argument("--to-first", action="store_true", help="scattered, and end with the first violation")
    parser.add_argument("--kind", help="repeat one run of this kind (or KIND+KIND), with a trace")
    parser.add_argument("--crash", type=int, help="the step before which it crashes")
    options = parser.parse_args(argv)
    _quiet()
    if options.kind is not None:
        return 1 if replay(options) else 0
    names = KINDS if options.kinds == "all" else options.kinds.split(",")
    if unknown := [name for name in "+".join(names).split("+") if name not in KINDS]:
        parser.error(f"no such kinds: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    kinds = list(itertools.combinations(names, 2)) if options.pairs else [tuple(name.split("+")) for name in names]
    if options.seeds is None and options.budget is None:
        options.seeds = 300 if options.matrix else 1
    options.jobs = max(1, min(options.jobs, len(kinds)))
    return 1 if sweep(options, kinds) else 0


if __name__ == "__main__":
    sys.exit(main())
