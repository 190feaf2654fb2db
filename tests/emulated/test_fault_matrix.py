import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_matrix import CASES, run_case


def cells(*kinds):
    """Return every case in each way of sending it: the lane, and whether the connection was used before."""
    return [
        pytest.param(case, {"lane": lane, **way}, id=f"{case.name}-{lane}-{'-'.join(map(str, way.values()))}")
        for case in CASES
        for lane, way in kinds
    ]


FIRST, REUSED, FRESH = {"warm": False}, {"warm": True}, {"connection": "fresh"}


@pytest.mark.parametrize(
    ("case", "way"), cells(("command", FIRST), ("command", REUSED), ("command", FRESH), ("session", REUSED))
)
async def test_what_is_said_of_a_fault_is_what_the_server_did(case, way):
    """Each fault ends in its error, with the requests and effects that the server really had."""
    seen = await run_case(case, **way)
    assert seen.right(case), seen


@pytest.mark.parametrize(("case", "way"), cells(("command", REUSED)))
def test_the_same_under_uvloop(case, way):
    """Another event loop changes nothing of what is said and of what is true; the command has all other ways too."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed: python -m pip install uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(run_case(case, **way))
    assert seen.right(case), seen
