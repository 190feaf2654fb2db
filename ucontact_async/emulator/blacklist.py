"""The do-not-call list (``protocol.md`` section 9, 11).

It knows numbers and campaigns; whether a dialer looks here is the dialer's business.
"""

from __future__ import annotations

import msgspec

from ..api.calls import BlockNumber
from ..errors import Rejected
from ..serving import Call, Handler
from .ledger import Ledger
from .switches import Switches

__all__ = ["Blacklist", "BlacklistRow"]


class BlacklistRow(msgspec.Struct, frozen=True, kw_only=True):
    """A number that is not to be called by dialers of a campaign, or of any with ``*``."""

    phone: str
    campaign: str = "*"
    username: str = ""
    company: str = ""
    job_title: str = ""
    name: str = ""


class Blacklist:
    """A set of numbers and campaigns: adding what is there already changes nothing but whose it is."""

    def __init__(self, ledger: Ledger, switches: Switches) -> None:
        """Enter additions in ``ledger``."""
        self._rows: dict[tuple[str, str], BlacklistRow] = {}
        self._ledger = ledger
        self._switches = switches
        self.handlers: dict[str, Handler] = {"admin/addblack": self._add}

    @property
    def rows(self) -> list[BlacklistRow]:
        """The rows in the order in which their numbers came."""
        return list(self._rows.values())

    def add(self, row: BlacklistRow) -> None:
        """Put ``row`` on the list."""
        self._rows[row.campaign, row.phone] = row

    def blocks(self, campaign: str, number: str) -> bool:
        """Return whether ``number`` is not to be called for ``campaign``."""
        return (campaign, number) in self._rows or ("*", number) in self._rows

    def clear(self) -> None:
        """Forget every number."""
        self._rows.clear()

    def _add(self, call: Call) -> None:
        asked: BlockNumber = call.request
        campaigns = self._switches.campaigns
        if campaigns is not None and asked.campaign not in {"*", *campaigns}:
            raise Rejected("no such campaign", status=200)
        if self._switches.known_number == "0" and (asked.campaign, asked.phone) in self._rows:
            raise Rejected("on the list already", status=200)
        fields = {name: getattr(asked, name) for name in BlacklistRow.__struct_fields__}
        self.add(BlacklistRow(**fields))
        self._ledger.record(call.path, call.fields)
