import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_matrix import CASES, run_case


@pytest.mark.parametrize("warm", [False, True], ids=["first", "reused"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_is_said_of_a_fault_is_what_the_server_did(case, warm):
    """Each fault ends in its error, with the requests and effects that the server really had."""
    seen = await run_case(case, warm=warm)
    assert seen.right(case), seen


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_one_request_a_connection_tells_the_same(case):
    """With a fresh connection for each request every fault ends the same way."""
    seen = await run_case(case, connection="fresh")
    assert seen.right(case), seen


@pytest.mark.parametrize("warm", [False, True], ids=["first", "reused"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_under_uvloop(case, warm):
    """Another event loop changes nothing of what is said and of what is true."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed: python -m pip install uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(run_case(case, warm=warm))
    assert seen.right(case), seen
