"""Respool the contact of a call, as a form in the agent portal asks for it: always on an alternative number.

Run it with UCONTACT_URL, UCONTACT_USER, UCONTACT_PASSWORD and UCONTACT_TIMEZONE set.
"""

import asyncio

from ucontact_async import Respool, UContact

CTI = """{"Campaign": "Ventas<-", "Destination": "090000001", "Alternatives": "090000001:090000002:090000003",
          "Contact": "77", "Dialerbase": "base1", "Priority": "9999", "Data": "id=C-0001"}"""


async def main() -> None:
    """Put the contact back on the spool with the next number."""
    async with UContact.from_env() as uc:
        request = Respool.from_cti(CTI, data={"id": "C-0001", "attempt": "2"})
        await uc.send(request)
    print(request)


asyncio.run(main())
