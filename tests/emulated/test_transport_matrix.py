import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from transport_matrix import LOOPS, cells, run_cells, run_in, wrong


def quick(cell):
    """Whether a cell has nothing to wait for."""
    return cell.case.timeout > 10 and cell.case.requests != 3 and not cell.case.body and cell.case.setting != "dns"


async def test_each_fault_of_a_transport_has_its_word():
    """Whatever the server does to the connection, the error says what it read; and the client goes on afterwards."""
    seen = await run_cells([cell for cell in cells(tls=(False,)) if quick(cell)][::3])
    assert len(seen) > 100
    assert wrong({"asyncio": seen}) == []


async def test_the_same_over_tls():
    """What a server may do under TLS, and what only TLS can do to a connection, ends in the same words."""
    pytest.importorskip("trustme", reason="trustme is not installed: python -m pip install trustme")
    seen = await run_cells([cell for cell in cells(tls=(True,)) if quick(cell)][::9])
    assert wrong({"asyncio": seen}) == []


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("loop", LOOPS)
def test_the_whole_matrix(loop):
    """Every fault, plain and TLS, on a first and a used connection, under this event loop."""
    for component in ("trustme", *([loop] if loop == "uvloop" else [])):
        pytest.importorskip(component, reason=f"{component} is not installed: python -m pip install {component}")
    assert wrong({loop: run_in(loop, cells())}) == []
