"""Every decoder and encoder under bytes that nobody means well with: only documented errors, within bounds."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HOUSE = Path(__file__).parent.parent.parent
sys.path.insert(0, str(HOUSE))

from tests.fuzz.__main__ import MISSING, arguments, shares  # noqa: E402
from tests.fuzz.emulated import port  # noqa: E402
from tests.fuzz.table import TARGETS  # noqa: E402
from tests.fuzz.target import DEEP, Crash, Draw, Target, expect  # noqa: E402

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
NEEDS = {"workbooks": "python_calamine"}


@pytest.fixture(autouse=True, scope="module")
def _emulator_of_the_process():
    """It and its loop stay for all inputs."""
    port()


@st.composite
def changed(draw, seeds):
    """Good bytes, with pieces of them cut out, doubled, or replaced by others."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 20))
        piece = draw(st.binary(max_size=12) | st.just(bytes(data[at : at + size])))
        data[at : at + draw(st.integers(0, 20))] = piece
    return bytes(data)


@each_target
def test_only_documented_errors(target):
    """Whatever is made of good bytes is read, or refused by an error of ours, in bounded time."""

    @settings(max_examples=8 if target.slow else 25)
    @given(changed(target.seeds))
    def check(data):
        target.check(data)

    for seed in target.seeds:
        target.check(seed)
    check()


@each_target
def test_good_bytes_get_through(target):
    """One seed at least is not refused: a target that refuses everything looks at nothing."""
    if target.name in NEEDS:
        pytest.importorskip(NEEDS[target.name])

    def refused(seed):
        try:
            target.run(seed)
        except target.errors:
            return True
        return False

    assert not all(map(refused, target.seeds))


def planted(errors=(), *, slow=False):
    """A target that breaks on one input, in one of three ways."""

    def run(data):
        if data == b"foreign":
            raise KeyError(data)
        if data == b"forged":
            raise ValueError("ours")
        expect(data != b"wrong", "a property does not hold")

    return Target("planted", run, (b"x",), errors, slow=slow)


def test_what_is_no_documented_error_is_a_crash():
    """A foreign exception and a broken property end a target; a documented one does not."""
    planted((ValueError,)).check(b"forged")
    for data, crash in {b"foreign": KeyError, b"wrong": Crash}.items():
        with pytest.raises(crash):
            planted((ValueError,)).check(data)
    with pytest.raises(ValueError, match="ours"):
        planted().check(b"forged")


def test_the_same_bytes_are_the_same_values():
    """Values are drawn by the bytes alone, and zero or empty once these have ended."""
    draw = Draw(b"\x02ab\xc1\x20\xf0\x80\x00")
    assert (draw.text(), draw.text(("a", "b")), draw.number(), draw.number()) == ("ab", "b", 16, -128)
    assert (draw.byte(), draw.number(), draw.text(), draw.rest()) == (0, -16, "", b"")


def test_how_long_each_target_runs():
    """A number of executions is dealt out with a small share for the slow, and no less than the least."""
    targets = {f"fast {n}": planted() for n in range(8)} | {"slow 1": planted(slow=True), "slow 2": planted(slow=True)}
    dealt = shares(targets, arguments(["--executions", "10000000"]))
    assert dealt == {name: "-runs=100000" if "slow" in name else "-runs=1225000" for name in targets}
    assert shares(targets, arguments(["--executions", "30"])) == dict.fromkeys(targets, "-runs=3")
    assert set(shares(targets, arguments(["--seconds", "60", "--jobs", "2"])).values()) == {"-max_total_time=12"}


def command(code):
    """Run Python in the house, and return how it ended and what it said."""
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, timeout=50, check=False
    )
    return found.returncode, found.stdout, found.stderr


def test_without_atheris_it_says_so():
    """The long command needs a component that the suite does not, and names it."""
    code, _, said = command(
        "import sys; sys.modules['atheris'] = None; from tests.fuzz.__main__ import main; sys.exit(main([]))"
    )
    assert (code, said) == (2, f"{MISSING}\n")


PLANTED = """
import sys, atheris
from pathlib import Path
from tests.fuzz.__main__ import arguments, fuzz
from tests.fuzz.target import Target
@atheris.instrument_func
def planted(data):
    if data[:1] == b"b" and data[1:2] == b"u" and data[2:3] == b"g":
        raise KeyError("found")
def hungry(data):
    kept.append(bytes(1 << 26))
kept = []
targets = {one.__name__: Target(one.__name__, one, (b"",)) for one in (planted, hungry, len)}
sys.exit(fuzz(targets, arguments(["--executions", "600000", "--keep", sys.argv[1]]), atheris))
"""


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="only on Linux, x86-64: fork, limits on memory"
)
def test_the_command_finds_what_is_planted(tmp_path):
    """Guided by coverage it finds three bytes in a row, ends what eats memory, keeps the input, and exits 1."""
    pytest.importorskip("atheris", reason="atheris is not installed: python -m pip install atheris")
    code, told, _ = command(PLANTED.replace("sys.argv[1]", repr(str(tmp_path))))
    lines = {line.split()[0]: line for line in told.splitlines() if " executions " in line}
    assert code == 1
    assert "CRASHED" in lines["planted"]
    assert "CRASHED" in lines["hungry"]
    assert "200000 executions" in lines["len"]
    assert "KeyError: 'found'" in told
    assert {path.name.split("-")[0]: path.read_bytes()[:3] for path in tmp_path.iterdir()}["planted"] == b"bug"


def test_deep_nesting_is_deep():
    """The seeds that are nested reach past Python's stack."""
    assert all(seed.count(b"[") + seed.count(b"{") > 600 for seed in DEEP)
