"""The floors of the house, read from its source: what may import what, what lives where, how large a part may grow."""

import ast
import graphlib
import sys
from collections.abc import Container, Iterator
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = "ucontact_async"
PACKAGE = Path(__file__).parent.parent / ROOT

FLOORS = (  # lowest first; a unit is a module or a sub-package of the root
    "environment errors events java_dates local_time settings text list_file",
    "endpoint codec block_codec wire api contract trust",
    "attempt pool lane link answers desync downloads uploads tokens token_store retry limiter adaptive pace serving",
    "aftermath",
    "caller",
    "batch recordings login observed",
    "assembly",
    "client",  # over batch too: it mounts bulk and stream
    "fleet probe blocking services telemetry",
    "__init__",
    "cli",
    "__main__",
)
FLOOR_OF = {unit: number for number, units in enumerate(FLOORS) for unit in units.split()}
NEIGHBOURS = {0, 1}  # on these floors units may know each other, without cycles
ALSO = {
    ("tokens", "token_store"),
    ("downloads", "pool"),
    ("attempt", "uploads"),
    ("attempt", "desync"),
    ("pool", "attempt"),
    ("pool", "uploads"),
    ("lane", "pool"),
    ("lane", "answers"),
    ("lane", "attempt"),
    ("lane", "link"),
    ("link", "answers"),
    ("link", "attempt"),
    ("link", "desync"),
    ("lane", "desync"),
    ("pool", "desync"),
    ("limiter", "adaptive"),
    ("limiter", "pace"),
}
TOWERS = {  # beside the floors: all that each may stand on; only the top three floors may enter them
    "emulator": {*FLOORS[0].split(), *FLOORS[1].split(), "serving", "portal"},  # it performs both contracts
    "portal": {*FLOORS[0].split(), *FLOORS[1].split()},
    "testing": {"client", "emulator"},
}
TOP = {"__init__", "cli", "__main__"}

CONFINED = {  # a module or call, and the only modules that may use it
    "aiohttp": "pool lane link answers desync downloads uploads serving emulator emulator.*",
    "anyio": "*",
    "argparse": "cli cli.* __main__",
    "backoff": "retry",
    "concurrent": "batch.journal*",
    "importlib.import_module": "__init__ cli cli.*",
    "matplotlib": "cli.report_page",
    "msgspec": "*",
    "opentelemetry": "telemetry.otel",
    "os.environ": "environment",
    "os.getenv": "environment",
    "phonenumbers": "batch.rules.numbers",
    "print": "cli cli.* __main__",
    "procrastinate": "fleet fleet.*",
    "prometheus_client": "telemetry.prometheus",
    "psycopg": "fleet fleet.*",
    "psycopg_pool": "fleet fleet.*",
    "python_calamine": "batch.workbook",
    "pytest": "testing",
    "random.*": "",  # but random.Random: randomness is a constructor argument
    "rich": "cli.live",
    "shtab": "cli.completion",
    "sqlite3": "batch.journal*",
    "threading": "batch.journal*",
    "time.time": "",
    "time.time_ns": "",
    "yarl": "wire",
}
FORWARDED = {("endpoint", "kwargs: P.kwargs"), ("errors", "kwargs: P.kwargs"), ("blocking", "kwargs: P.kwargs")}
ALLOWED = {"random.Random", "random.SystemRandom", "threading.get_ident"}
NAMELESS = {"util", "utils", "helpers", "common", "base", "types"}
FILE_LINES, BODY_LINES, POSITIONAL = 375, 40, 5  # not counted: blank lines; signature and docstring; self and cls


class Module(NamedTuple):
    """One source file: its dotted name below the root (a package goes by its own), and what it says."""

    name: str
    package: bool
    text: str
    tree: ast.Module

    @property
    def unit(self) -> str:
        """Return what has the floor: the part below the root."""
        return self.name.split(".")[0]


def modules_of(house: Path) -> dict[str, Module]:
    """Read every module of the package ``house``."""
    found = {}
    for file in sorted(house.rglob("*.py")):
        parts = file.relative_to(house).with_suffix("").parts
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts) or "__init__"
        text = file.read_text(encoding="utf-8")
        found[name] = Module(name, package, text, ast.parse(text, str(file)))
    return found


def imports(module: Module, known: Container[str]) -> Iterator[tuple[str, int]]:
    """Yield every imported dotted name and its line, wherever it stands; our own ones begin with the root."""
    here = [ROOT, *([] if module.name == "__init__" else module.name.split("."))]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = here[: len(here) - node.level + module.package] if node.level else []
            source = ".".join([*start, *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                ours = whole.startswith(f"{ROOT}.")
                yield whole if not ours or whole.removeprefix(f"{ROOT}.") in known else source, node.lineno


def uses(module: Module) -> Iterator[tuple[str, int]]:
    """Yield every ``name`` that is called and every ``name.attribute`` that is read, and its line."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}", node.lineno


def may_import(unit: str, target: str) -> bool:
    """Return whether ``unit`` stands above ``target``."""
    if unit == target or (unit, target) in ALSO:
        return True
    if unit in TOWERS:
        return target in TOWERS[unit]
    if target in TOWERS:
        return unit in TOP
    above, below = FLOOR_OF.get(unit, -1), FLOOR_OF.get(target, -1)
    return above > below or (above == below and above in NEIGHBOURS)


def may_use(module: Module, used: str) -> bool:
    """Return whether what is ``used`` is either free or at home in this module."""
    places = (CONFINED[wanted] for wanted in CONFINED if fnmatch(used, wanted) or used.startswith(f"{wanted}."))
    return used in ALLOWED or all(any(fnmatch(module.name, place) for place in places.split()) for places in places)


def of_files(module: Module) -> Iterator[str]:
    """Name, size and docstring of the file."""
    last = module.name.split(".")[-1]
    if module.unit not in FLOOR_OF and module.unit not in TOWERS:
        yield f"{module.name}: {module.unit} has no floor; give it one in test_floors.py"
    if last in NAMELESS:
        yield f"{module.name}: {last} says nothing; name the file after what it knows"
    if not ast.get_docstring(module.tree):
        yield f"{module.name}: no docstring says what it knows and refuses to know"
    if (lines := sum(1 for line in module.text.splitlines() if line.strip())) > FILE_LINES:
        yield f"{module.name}: {lines} lines, more than {FILE_LINES}"


def of_functions(module: Module) -> Iterator[str]:
    """Size and signature of each function."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        where = f"{module.name}:{node.lineno}: {node.name}"
        if (rest := node.args.kwarg) is not None and (module.name, ast.unparse(rest)) not in FORWARDED:
            yield f"{where} takes **{rest.arg}"
        body = node.body[1:] if ast.get_docstring(node) else node.body
        if (lines := sum((part.end_lineno or 0) - part.lineno + 1 for part in body)) > BODY_LINES:
            yield f"{where} has {lines} lines, more than {BODY_LINES}"
        positional = [a for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")]
        if len(positional) > POSITIONAL:
            yield f"{where} has {len(positional)} positional parameters, more than {POSITIONAL}"


def of_outsiders(module: Module, known: Container[str]) -> Iterator[str]:
    """Third parties and the parts of the standard library that have one home."""
    foreign = [(name, line) for name, line in imports(module, known) if name.split(".")[0] != ROOT]
    for name, line in foreign:
        if (root := name.split(".")[0]) not in sys.stdlib_module_names and root not in CONFINED:
            yield f"{module.name}:{line}: {root} is no dependency of this library"
    for name, line in (*foreign, *uses(module)):
        if not may_use(module, name):
            yield f"{module.name}:{line}: {name} is not used here"


def of_imports(modules: dict[str, Module]) -> Iterator[str]:
    """Strictly down, and never round, typing-only and in-function imports included."""
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, module in modules.items():
        for imported, line in imports(module, modules):
            if imported.split(".")[0] != ROOT:
                continue
            target = imported.removeprefix(ROOT).removeprefix(".") or "__init__"
            while target not in modules and "." in target:
                target = target.rpartition(".")[0]
            graph[name] |= {target} - {name}
            if not may_import(module.unit, target.split(".")[0]):
                yield f"{name}:{line}: {module.unit} may not import {target}"
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield "a cycle of imports: " + " -> ".join(reversed(error.args[1]))


def violations(house: Path) -> list[str]:
    """Return every breach of the law in the package ``house``, one sentence each."""
    modules = modules_of(house)
    checks = [chain(of_files(m), of_functions(m), of_outsiders(m, modules)) for m in modules.values()]
    return [*chain.from_iterable(checks), *of_imports(modules)]


def test_the_house_keeps_its_law():
    """No module of the library breaks the law of floors, confinement, names or sizes."""
    found = violations(PACKAGE)
    assert not found, "\n".join(found)


BROKEN = {
    "upward": ("wire.py", "from .client import UContact", "wire may not import client"),
    "upward, inside a function": ("text.py", "def f():\n    from . import caller", "text may not import caller"),
    "upward, for typing": (
        "retry.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .caller import Caller",
        "retry may not import caller",
    ),
    "upward, absolute": ("batch/runner.py", "import ucontact_async.client", "batch may not import client"),
    "upward, the root": ("errors.py", "from . import UContact", "errors may not import __init__"),
    "upward, two levels": ("batch/runner.py", "from ..cli import main", "batch may not import cli"),
    "siblings": ("retry.py", "from .limiter import Limiter", "retry may not import limiter"),
    "tower": ("emulator/server.py", "from ..caller import Caller", "emulator may not import caller"),
    "into a tower": ("client.py", "from .emulator.server import Emulator", "client may not import emulator.server"),
    "cycle": ("text.py", "from .errors import E", "a cycle of imports: "),
    "third party": ("client.py", "import aiohttp", "aiohttp is not used here"),
    "third party, a part of it": ("emulator/server.py", "from yarl import URL", "yarl.URL is not used here"),
    "undeclared": ("client.py", "import curio", "curio is no dependency"),
    "database": ("batch/runner.py", "import sqlite3", "sqlite3 is not used here"),
    "threads": ("client.py", "from concurrent.futures import Executor", "concurrent.futures.Executor is not used"),
    "environment": ("client.py", "import os\nX = os.environ['X']", "os.environ is not used here"),
    "environment, by name": ("client.py", "from os import getenv", "os.getenv is not used here"),
    "wall clock": ("retry.py", "import time\nX = time.time()", "time.time is not used here"),
    "module randomness": ("retry.py", "import random\nX = random.random()", "random.random is not used here"),
    "printing": ("client.py", "print(1)", "print is not used here"),
    "name": ("batch/helpers.py", "", "helpers says nothing"),
    "unknown unit": ("extra.py", "X = 1", "extra has no floor"),
    "keywords": ("client.py", "def f(**options: int): ...", "f takes **options"),
    "long function": ("client.py", "def f():\n" + "    x = 1\n" * (BODY_LINES + 1), f"f has {BODY_LINES + 1} lines"),
    "many parameters": ("client.py", "def f(a, b, c, d, e, g): ...", "f has 6 positional parameters"),
    "long file": ("client.py", "X = 1\n" * FILE_LINES, f"client: {FILE_LINES + 1} lines"),
}


@pytest.fixture
def house(tmp_path):
    """A small package that keeps the law."""
    sources = {
        "__init__": "from .client import UContact",
        "__main__": "from .cli import main",
        "errors": "from . import text",
        "text": "import random\nX = random.Random(1)",
        "wire": "import yarl",
        "endpoint": "def f(*args: P.args, **kwargs: P.kwargs): ...",
        "retry": "import backoff",
        "limiter": "",
        "tokens": "from .token_store import Store",
        "token_store": "",
        "caller": "from . import retry",
        "client": "from .caller import Caller\nfrom .batch import runner",
        "batch/__init__": "from .runner import run",
        "batch/runner": "from ..errors import E\nfrom .journal import Journal",
        "batch/journal": "import sqlite3, threading",
        "emulator/__init__": "",
        "emulator/server": "from aiohttp import web\nfrom ..wire import X",
        "cli/__init__": "import argparse\nfrom ..emulator.server import Emulator\nprint(1)",
    }
    for name, source in sources.items():
        file = tmp_path / ROOT / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'"""What it knows."""\n{source}\n', encoding="utf-8")
    return tmp_path / ROOT


def test_a_sound_house_is_found_sound(house):
    """The law is not so strict that nothing can be built."""
    assert violations(house) == []


@pytest.mark.parametrize(("file", "source", "complaint"), BROKEN.values(), ids=BROKEN)
def test_every_breach_is_seen(house, file, source, complaint):
    """One breach in a sound house is found, and nothing else is but the cycle that an upward import may close."""
    (house / file).write_text(f'"""What it knows."""\n{source}\n', encoding="utf-8")
    found = violations(house)
    assert any(complaint in sentence for sentence in found)
    assert all(complaint in sentence or sentence.startswith("a cycle") for sentence in found)


def test_a_missing_docstring_is_seen(house):
    """A module without a docstring is found."""
    (house / "wire.py").write_text("X = 1\n", encoding="utf-8")
    assert violations(house) == ["wire: no docstring says what it knows and refuses to know"]
