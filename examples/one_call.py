"""Schedule one call, and see each way it can end.

Run it with UCONTACT_URL, UCONTACT_USER, UCONTACT_PASSWORD and UCONTACT_TIMEZONE set.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from ucontact_async import NotSent, OutcomeUnknown, Refused, UContact


async def main() -> None:
    """Have the dialer ring a number tomorrow at this time."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with UContact.from_env() as uc:
        try:
            await uc.dialers.schedule(
                campaign="Ventas->", destination="090000001", calldate=tomorrow, data={"id": "C-0001"}
            )
        except NotSent as error:
            print(f"it did not happen, try again: {error}")
        except Refused as error:
            print(f"the server said no: {error}")
        except OutcomeUnknown as error:
            print(f"it may ring, do not send it again: {error}")
        else:
            print("scheduled")


asyncio.run(main())
