"""Several worker processes on one database: the short and the whole form of the proof."""

import pytest
from many_workers import prove

pytestmark = pytest.mark.long


@pytest.mark.timeout(120)
def test_three_processes_share_the_rows(tmp_path, empty_database):
    """Three processes send 3,000 rows: ledger equals journal, never more at once than the fleet may, one login."""
    found, figures = prove(tmp_path, empty_database, workers=3, rows=3_000, cap=20)
    assert found == []
    assert len(figures["share"]) == 3
