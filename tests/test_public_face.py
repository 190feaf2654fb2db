"""What a user sees of the package: names, version, typing, and how little an import loads."""

import importlib.resources
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ucontact_async

EXTRAS = ("Database", "Loaded", "PostgresTokenStore", "ShardJobs", "ShardRunner", "SharedLimiter", "Worker")
PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def isort_style(name):
    """Return the key that ruff sorts ``__all__`` by: CONSTANTS, Classes, functions; digits as numbers."""
    kind = 0 if name.isupper() else 1 if name.lstrip("_")[:1].isupper() else 2
    return kind, [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def loaded_by(*arguments):
    """Return every module that a fresh interpreter loads, run with ``arguments``."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_the_names_are_sorted_and_each_is_there():
    """``__all__`` is sorted, names nothing twice, and every name can be imported."""
    names = list(ucontact_async.__all__)
    assert names == sorted(set(names), key=isort_style)
    assert all(getattr(ucontact_async, name) is not None for name in names)


def test_all_names_are_listed_by_dir():
    """Completion in a shell sees the lazy names too, those of extras among them."""
    assert {*ucontact_async.__all__, *EXTRAS} <= set(dir(ucontact_async))


@pytest.mark.parametrize("name", EXTRAS)
def test_a_name_of_an_extra_is_at_the_root(name):
    """What needs an extra is at the root like everything else."""
    for package in ("psycopg", "procrastinate"):
        reason = f"{package} is not installed: python -m pip install 'ucontact-async[fleet]'"
        pytest.importorskip(package, reason=reason)
    assert getattr(ucontact_async, name).__name__ == name


def test_without_an_extra_only_its_names_are_missing():
    """A star import needs no extra, and who asks for a name of one that is not there is told how to install it."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from ucontact_async import *\n"
        "import ucontact_async\n"
        "try: ucontact_async.Worker\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "pip install 'ucontact-async[fleet]'" in done.stdout


def test_a_wrong_name_is_an_attribute_error():
    """A misspelt name fails as on any module."""
    with pytest.raises(AttributeError, match="UContct"):
        _ = ucontact_async.UContct


def test_every_error_is_at_the_root():
    """Whoever catches an error need not know which file it lives in."""
    from ucontact_async import errors

    assert set(errors.__all__) <= set(ucontact_async.__all__)


def test_importing_the_package_loads_nothing_large():
    """``import ucontact_async`` loads no HTTP library, no database, no argument parser."""
    loaded = loaded_by("-c", "import ucontact_async")
    assert "ucontact_async" in loaded
    assert not loaded & {"aiohttp", "anyio", "argparse", "asyncio", "msgspec", "sqlite3"}


def test_the_request_types_load_without_the_client():
    """A program that only builds requests does not pay for HTTP."""
    loaded = loaded_by("-c", "from ucontact_async import ScheduledCall")
    assert "msgspec" in loaded
    assert not loaded & {"aiohttp", "argparse", "sqlite3"}


def test_help_is_shown_without_the_client():
    """``python -m ucontact_async --help`` answers before anything large is loaded."""
    loaded = loaded_by("-m", "ucontact_async", "--help")
    assert "argparse" in loaded
    assert not loaded & {"aiohttp", "sqlite3"}


def test_the_version_is_the_distributions():
    """The literal in the package is the version in pyproject.toml."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    assert ucontact_async.__version__ == project["version"]


def test_the_package_is_typed():
    """Type checkers find the marker that makes them read our annotations."""
    assert importlib.resources.files("ucontact_async").joinpath("py.typed").is_file()


def test_a_form_needs_no_client():
    """A service that only renders forms for the agent portal loads no HTTP library by it."""
    loaded = loaded_by("-c", "import ucontact_async.portal")
    assert "ucontact_async.portal.actions" in loaded
    assert not loaded & {"aiohttp", "anyio", "sqlite3"}
