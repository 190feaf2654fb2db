"""The types that users' checkers see, checked by a checker."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_wrong_calls_are_type_errors(tmp_path):
    """Mypy finds each mistake in typing/public_api.py, and nothing else."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed: pip install 'ucontact-async[test-full]'")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, "tests/typing/public_api.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
