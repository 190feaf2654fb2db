import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ucontact_async.batch.outcome import Status
from ucontact_async.cli import _parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [body for language, body in BLOCKS if language == "python" and "def test_" not in body]
TESTS = [body for language, body in BLOCKS if language == "python" and "def test_" in body]
SHELL = [body for language, body in BLOCKS if language == "sh"]
BENCHMARKS = sorted(set(re.findall(r"`(python benchmarks/[^`]+)`", README)))
SET_UP = [
    'python -m pip install -e ".[test]" && python -m ucontact_async demo',
    'python -m pip install -e ".[test]" && python -m pytest',
]


@pytest.fixture
def environment(emulator_process, tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith("UCONTACT_")}
    return env | {
        "UCONTACT_URL": emulator_process,
        "UCONTACT_USER": "api",
        "UCONTACT_PASSWORD": "secret",
        "UCONTACT_TIMEZONE": "America/Montevideo",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}",
    }


@pytest.fixture(scope="module")
def emulator_process():
    process = subprocess.Popen(
        [sys.executable, "-m", "ucontact_async", "emulator"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait(10)
    process.stdout.close()


def run(command, env, folder):
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=50, check=False)


def test_the_first_block_is_the_two_commands():
    """The two commands that do all the set-up stand first, as they are run on a bare machine."""
    assert SHELL[0].splitlines() == SET_UP


@pytest.mark.parametrize("block", PYTHON, ids=range(len(PYTHON)))
def test_the_python_blocks_run(block, environment, tmp_path):
    """Each Python block of the README runs against an emulator and ends well."""
    for module in ("opentelemetry.sdk", "prometheus_client"):
        if module in block:
            pytest.importorskip(module, reason=f"{module} is not installed: pip install 'ucontact-async[test-full]'")
    result = run([sys.executable, "-c", block], environment, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_tests_of_others_pass(environment, tmp_path):
    """The test in the README passes as it is printed, with the plugin in its conftest."""
    assert len(TESTS) == 1
    (tmp_path / "test_it.py").write_text(TESTS[0], encoding="utf-8")
    conftest = """import pytest\npytest_plugins = ["ucontact_async.testing"]
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    result = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], environment, tmp_path)
    assert "1 passed" in result.stdout, result.stdout


def test_the_shell_blocks_run(environment, tmp_path):
    """The commands on files run as they are printed, in their order, with an emulator for the server."""
    (tmp_path / "contacts.csv").write_text("destination;calldate\n090000001;2099-05-05 10:00\n", encoding="utf-8")
    (tmp_path / "gone.csv").write_text("destination\n090000001\n", encoding="utf-8")
    (tmp_path / "leads.csv").write_text("destination;calldate\n090000001;2099-05-05 10:00\n", encoding="utf-8")
    (tmp_path / "do_not_call.txt").write_text("090000002\n", encoding="utf-8")
    (tmp_path / "rules.toml").write_text(dict(BLOCKS)["toml"], encoding="utf-8")
    export, *commands = "".join(SHELL[1:]).splitlines()
    assert export.startswith("export UCONTACT_URL=")
    for command in commands:
        result = run(["bash", "-c", command], environment, tmp_path)
        assert result.returncode == 0, result.stderr


def test_the_demo_prints_what_the_readme_shows():
    """Every line of the demo's output in the README is one that the demo prints, figures aside."""
    shown = next(body for language, body in BLOCKS if language == "text")
    missing = {re.sub(r"\d+(\.\d+)?", "0", line) for line in shown.splitlines()}
    for _ in range(3):  # on a busy machine a row may time out before its answer can be wrong in another way
        result = run([sys.executable, "-m", "ucontact_async", "demo"], dict(os.environ), ROOT)
        assert result.returncode == 0
        missing -= {re.sub(r"\d+(\.\d+)?", "0", line) for line in result.stdout.splitlines()}
        if not missing:
            break
    assert not missing


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_examples_run(example, environment, tmp_path):
    """Each example is short, runs against an emulator, and ends well."""
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 40
    result = run([sys.executable, str(example)], environment, tmp_path)
    assert result.returncode == 0, result.stderr


def test_every_command_and_status_is_in_the_readme():
    """The README names each command of the command line and each status of a row."""
    commands = next(action for action in _parser()._actions if action.choices)
    for word in [*commands.choices, *Status]:
        assert word in README


@pytest.mark.parametrize("command", BENCHMARKS)
def test_the_benchmarks_take_what_the_readme_gives_them(command, tmp_path):
    """Each command of the README that measures is understood as it stands there; its figures take minutes."""
    script, *words = shlex.split(command)[1:]
    result = run([sys.executable, str(ROOT / script), *words, "--help"], dict(os.environ), tmp_path)
    assert result.returncode == 0, result.stderr
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", result.stdout))
