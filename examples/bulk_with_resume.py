"""Schedule many calls from any iterable; run it again after a crash and it goes on where it was.

Run it with UCONTACT_URL, UCONTACT_USER, UCONTACT_PASSWORD and UCONTACT_TIMEZONE set.
"""

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ucontact_async import ScheduledCall, Status, UContact


def calls() -> Iterator[ScheduledCall]:
    """Make up a hundred calls; yours come from a database or a file."""
    day = datetime.now(UTC).replace(hour=15, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for number in range(100):
        yield ScheduledCall(
            campaign="Ventas->", destination=f"0900{number:05d}", calldate=day, data={"id": str(number)}
        )


async def main(journal: str) -> None:
    """Send them all, and name those that need a look."""
    async with UContact.from_env() as uc, uc.stream(calls(), journal=journal) as outcomes:
        async for outcome in outcomes:
            if outcome.status in (Status.FAILED, Status.UNKNOWN):
                print(outcome.position, outcome.status, outcome.detail)
    print(outcomes.report.summary())


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "calls.journal"))
