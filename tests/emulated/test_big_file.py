import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.timeout(180)
def test_memory_is_flat_and_every_row_is_counted_once():
    """The short form of the big-file proof: 2,000 and 20,000 rows."""
    script = Path(__file__).parent / "big_file.py"
    result = subprocess.run(
        [sys.executable, str(script), "--rows", "2000", "20000"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
