"""Show that the tests see small mistakes: mutmut makes them, one at a time, and a test must fail for each.

``python tests/mutation.py`` takes some minutes; ``--only wire retry`` takes these modules alone, ``--every 9`` each
ninth mutant of a function. It works in a copy, lists every mutant that survived and ends with 1 where fewer than 90 %
of a module's are killed (85 % of a sample), or where one named as equivalent in ``mutation_equivalents.py`` is killed
or gone.

mutmut changes the bodies of functions, so not the constants of a module, and tries each mutant in a process forked
where everything is imported, so not what is done once at import. It leaves decorated functions alone, for which reason
the copy writes their decorators as the assignments that they stand for.
"""

import argparse
import ast
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutation_equivalents import EQUIVALENT

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "ucontact_async"
FLOOR = 90.0
SAMPLE_FLOOR = 85.0  # of all modules together: a sample misses by some
SURVIVED = ("survived", "no tests", "not checked")
LIMIT = 3600.0
# What is proven: the file of each module, and the tests that are there for them.
JOURNAL = [
    "unit/batch/test_journal.py",
    "unit/batch/test_journal_formats.py",
    "unit/batch/test_journal_identities.py",
    "unit/batch/test_journal_rows.py",
    "unit/batch/test_undo.py",
    "security/test_private_files.py",
]
MODULES = {
    "wire": ("wire.py", ["unit/test_wire.py"]),
    "codec": ("codec.py", ["unit/test_wire.py"]),
    "retry": ("retry.py", ["unit/test_retry.py"]),
    "outcome": ("batch/outcome.py", ["unit/batch/test_outcome.py", "unit/batch/test_report.py"]),
    "journal": ("batch/journal.py", JOURNAL),
    "journal_file": ("batch/journal_file.py", JOURNAL),
    "journal_identities": ("batch/journal_identities.py", JOURNAL),
    "journal_removals": ("batch/journal_removals.py", JOURNAL),
    "journal_requests": ("batch/journal_requests.py", JOURNAL),
    "journal_rows": ("batch/journal_rows.py", JOURNAL),
    "journal_schema": ("batch/journal_schema.py", JOURNAL),
    "recollection": ("batch/recollection.py", JOURNAL),
}
# The quickest tests of a mutant first, for the first that fails is the last.
ORDER = """
import json, pathlib

def pytest_collection_modifyitems(items):
    measured = pathlib.Path("mutmut-stats.json")
    seconds = json.loads(measured.read_text())["duration_by_test"] if measured.exists() else {}
    items.sort(key=lambda item: seconds.get(item.nodeid, 0))
"""
SETTINGS = """
[tool.mutmut]
source_paths = ["{package}"]
also_copy = ["quickest_first.py"]
only_mutate = {files}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-n0", "-p", "no:cacheprovider", "-p", "quickest_first", "--timeout=10",
  "--hypothesis-profile=mutants", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
process_isolation = "forkserver"
forkserver_warmup = "collect"
timeout_multiplier = 6
use_git_change_detection = false
use_setproctitle = false
"""
# What means nothing: the case of SQL outside its quotes, of the names of codecs and of headers that are looked up; and
# ``strict=True``, which asserts what never fails.
SQL = re.compile(r"\"(BEGIN|COMMIT|ROLLBACK|PRAGMA|SELECT|INSERT|UPDATE|DELETE|VALUES|FROM|WHERE|AND)\b")
NAMES = re.compile(r"\"(ascii|utf-8)\"|(?<=_header\(answer, )\"[\w-]+\"", re.IGNORECASE)
WINDOWS = re.compile(r"msvcrt|\"win32\"")  # what mutmut does not run on
STRICT = re.compile(r", strict=\w+|, (?=\))")


def build(folder, names):
    """Make the copy that is mutated and tested: the package, the tests, and the settings of both."""
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in (PACKAGE, "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    files = [f"{PACKAGE}/{MODULES[name][0]}" for name in names]
    tests = sorted({f"tests/{file}" for name in names for file in MODULES[name][1]})
    settings = SETTINGS.format(package=PACKAGE, files=files, tests=tests)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8") + settings)
    (folder / "quickest_first.py").write_text(ORDER)
    for file in files:
        (folder / file).write_text(undecorated((folder / file).read_text(encoding="utf-8")), encoding="utf-8")


def undecorated(source):
    """Return ``source`` with every ``@decorator`` of a function as the assignment after it that it stands for."""
    lines = source.splitlines()
    for holder in [tree := ast.parse(source), *(node for node in tree.body if isinstance(node, ast.ClassDef))]:
        for node in holder.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for decorator in node.decorator_list:
                name = ast.unparse(decorator)
                if name not in ("staticmethod", "classmethod") and decorator.lineno == decorator.end_lineno:
                    lines[decorator.lineno - 1] = ""
                    lines[node.end_lineno - 1] += f"\n{' ' * node.col_offset}{node.name} = {name}({node.name})"
    return "\n".join(lines) + "\n"


def mutmut(folder, *words):
    """Run mutmut in ``folder`` and return what it said; whatever it started has ended then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mutmut", *words],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=LIMIT)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        raise SystemExit(f"mutmut {words[0]} failed:\n{said[-3000:]}")
    return said


def fates(folder):
    """Return what became of each mutant."""
    pairs = (line.strip().rpartition(": ") for line in mutmut(folder, "results", "--all", "true").splitlines())
    return {name: fate for name, _, fate in pairs}


def difference(folder, name):
    """Return what the mutant takes out of the file and what it puts there."""
    lines = [line for line in mutmut(folder, "show", name).splitlines() if line[:3] not in ("---", "+++")]
    return tuple("\n".join(line[1:].strip() for line in lines if line[:1] == sign) for sign in "-+")


def same(before, after):
    """Return whether the change is of nothing that means anything, whatever stands around it."""
    plain = [STRICT.sub("", NAMES.sub(lambda found: found[0].lower(), text)) for text in (before, after)]
    if SQL.search(before):
        plain = [
            "'".join(part if at % 2 else part.lower() for at, part in enumerate(text.split("'"))) for text in plain
        ]
    return plain[0] == plain[1] or WINDOWS.search(before) is not None


def readable(name):
    """Return the function that a mutant is in, as people write it."""
    return re.sub(r"\.xǁ?_?", ".", name.partition("__mutmut_")[0]).removeprefix(f"{PACKAGE}.").replace("ǁ", ".")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=MODULES, default=list(MODULES), metavar="MODULE")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, metavar="N")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ucontact-mutation-") as name:
        folder = Path(name)
        build(folder, options.only)
        chosen = [f"__mutmut_{number}" for number in range((options.every + 1) // 2, 1000, options.every)]
        mutmut(folder, "run", "--max-children", str(options.jobs), *(f"*{end}" for end in chosen if options.every > 1))
        ended = {name: fate for name, fate in fates(folder).items() if name.endswith(tuple(chosen))}
        left = [name for name, fate in ended.items() if fate in SURVIVED]
        with ThreadPoolExecutor(options.jobs) as pool:
            changes = dict(zip(left, pool.map(lambda name: difference(folder, name), left), strict=True))
    failed = report(options.only, ended, changes, whole=options.every == 1)
    print(f"{len(ended)} mutants in {time.monotonic() - began:.0f} s")
    raise SystemExit(failed)


def report(names, ended, changes, *, whole):
    """Print the figures of each module and its survivors; return 1 where they are not what they must be, else 0."""
    killed, equal, slow, found = Counter(), Counter(), Counter(), set()
    survivors = defaultdict(list)
    of_file = {f"{PACKAGE}.{MODULES[name][0][:-3]}".replace("/", "."): name for name in names}
    for name, fate in ended.items():
        module = of_file[re.split(r"\.xǁ?", name)[0]]
        if name not in changes:
            killed[module] += 1
            slow[module] += fate == "timeout"
            continue
        mutant = (readable(name), *changes[name])
        if same(*changes[name]) or mutant in EQUIVALENT:
            equal[module] += 1
            found.add(mutant)
        else:
            survivors[module].append((fate, *mutant))
    failed = 0
    for module in names:
        survived = len(survivors[module])
        percent = share(killed[module], survived)
        failed |= whole and percent < FLOOR
        print(
            f"{module:16} {killed[module] + survived + equal[module]:4} mutants, {equal[module]:3} equivalent, "
            f"{killed[module]:4} killed ({slow[module]} by time), {survived:3} survived: {percent:5.1f} %"
        )
        for fate, where, before, after in survivors[module]:
            print(f"  {where} ({fate})\n    - {before}\n    + {after}")
    if not whole:
        return share(killed.total(), sum(map(len, survivors.values()))) < SAMPLE_FLOOR
    for where, before, after in EQUIVALENT.keys() - found:
        if any(f"{PACKAGE}.{where}".startswith(f"{file}.") for file in of_file):
            failed = 1
            print(f"named as equivalent, but killed or gone: {where}\n    - {before}\n    + {after}")
    return failed


def share(killed, survived):
    """Return how much was killed, in percent; all of nothing."""
    return 100 * killed / (killed + survived) if killed + survived else 100.0


if __name__ == "__main__":
    main()
