"""The simulation in its smallest form: it finds nothing wrong, it sees what is wrong, and it repeats itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent.parent
EVERYWHERE = ["nothing", "reset_applied", "token_dies", "stop"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="only on POSIX: fork, flock")


def simulate(*words, module="tests.crash.simulate"):
    """Run a command of this folder and return exit code and output."""
    found = subprocess.run(
        [sys.executable, "-m", module, *words], cwd=HOUSE, capture_output=True, text=True, timeout=300, check=False
    )
    return found.returncode, found.stdout + found.stderr


def test_a_few_crashes_of_a_few_kinds():
    """A short walk through some kinds of faults finds no violation, and says how far it went."""
    code, said = simulate("--scattered", "--jobs", "1", "--kinds", ",".join(EVERYWHERE))
    assert code == 0, said
    assert "12 crash points, 16 runs, 4 of 4 kinds of faults" in said
    assert said.endswith(": 0 violations\n")


def test_a_run_repeats():
    """One run told step by step is the same in two processes, whatever their hashes are."""
    words = ["--kind", "reset_applied", "--seed", "3", "--crash", "70"]
    code, said = simulate(*words)
    assert code == 0, said
    assert simulate(*words) == (0, said)
    assert "Server._attend" in said


def test_a_cell_that_was_not_met_is_told():
    """The matrix of changes and faults fails where one was not met that can be."""
    code, said = simulate("--matrix", "--jobs", "1", "--seeds", "1", "--kinds", "nothing")
    assert code == 1, said
    assert "0 violations" in said
    assert "WRONG sent > unknown never followed nothing" in said


def test_every_mutant_fits():
    """The text of each mutant stands exactly once in the engine as it is."""
    code, said = simulate("--only", "no such mutant", module="tests.crash.mutants")
    assert (code, "0 of 0 mutants caught" in said) == (0, True), said


def test_a_mutant_is_caught():
    """An engine that resends what is unknown is found out."""
    words = ["--to-first", "--seeds", "1", "--only", "a reset means not sent"]
    code, said = simulate(*words, module="tests.crash.mutants")
    assert code == 0, said
    assert "1 of 1 mutants caught" in said
    assert "(--kind reset_applied --seed 1)" in said
