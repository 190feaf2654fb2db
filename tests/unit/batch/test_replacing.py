"""A call that goes back onto the schedule, beside what the proofs of settling show: when it may still leave."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ucontact_async import ScheduledCall
from ucontact_async.api.dialers import Dialers
from ucontact_async.batch.preparing import Job
from ucontact_async.batch.recollection import Entry
from ucontact_async.batch.replacing import Settler
from ucontact_async.batch.settle import Terms
from ucontact_async.text import Rules

NOW = datetime(2027, 3, 1, 15, tzinfo=UTC)
RULES = Rules(ZoneInfo("America/Montevideo"))


class Slow:
    """A journal, a clock and a caller: each mark takes so many seconds, and what is sent is kept."""

    rules = RULES

    def __init__(self, seconds):
        self.now = NOW
        self._seconds = seconds
        self.performed = []

    async def sent(self, row, step):
        """Take its time."""
        self.now += timedelta(seconds=self._seconds)

    def prepare(self, request):
        """Encode a removal."""
        return Dialers.remove_schedule.prepare(request, RULES)

    async def perform(self, prepared, flight, *, wait):
        """Keep it, and answer at once."""
        self.performed.append(prepared)


@pytest.mark.parametrize("seconds", [0, 100])
async def test_the_margin_is_kept_however_long_a_mark_takes(seconds):
    """For how long the insert may wait is counted from when its mark was written, and not from before."""
    slow = Slow(seconds)
    call = ScheduledCall(campaign="Ventas->", destination="099123456", calldate=NOW + timedelta(seconds=1000))
    prepared = Dialers.schedule.prepare(call, RULES)
    job = Job(0, None, call, prepared, Entry(bytes(16), 0, 0), 1)
    settler = Settler(Terms(quarantine=0, margin=60), caller=slow, journal=slow, now=lambda: slow.now)
    assert (await settler.settle(job, lambda _: True)).status == "succeeded"
    assert slow.performed[1].send_by == 1000 - 60 - 2 * seconds
