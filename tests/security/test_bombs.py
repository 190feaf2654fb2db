"""S9: answers are bounded in memory, whatever they would unpack to and whether they end or not."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bombs import ASKS, KINDS, explode, wrong

only_posix = pytest.mark.skipif(sys.platform == "win32", reason="only on POSIX")
# One of each sort that answers at once; all of them are `python -m tests.security.bombs`.
QUICK = [("deflate", "call"), ("JSON nested deeply", "read"), ("chunks without end", "recording")]


@only_posix
@pytest.mark.parametrize(("kind", "ask"), QUICK)
def test_a_bomb_takes_little_memory(kind, ask):
    """A child whose memory is limited says that the answer is none, and grows by less than 64 MiB."""
    seen = explode(kind, ask)
    assert wrong(kind, ask, seen) == ""


def test_the_kinds_are_many():
    """At least ten, through both lanes, a read, a login and a download."""
    assert len(KINDS) >= 10
    assert len(ASKS) == 5


@only_posix
@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_bomb():
    """Every kind, by one way after the other; the whole table is the command's."""
    cells = zip(KINDS, itertools.cycle(ASKS), strict=False)
    assert {(kind, ask): said for kind, ask in cells if (said := wrong(kind, ask, explode(kind, ask)))} == {}
