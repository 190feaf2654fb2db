"""What the emulator did, in the order it did it, and how often it was asked.

Only effects are entered: no logins, no reads, no refusals. It knows nothing of HTTP or of what an effect means.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

__all__ = ["Entry", "Ledger"]

_NAMES = 10_000


class Entry(msgspec.Struct):
    """One applied effect.

    ``fields`` are the wire fields as they arrived, the JSON argument opened, nothing masked. ``answered`` says that
    the endpoint's own answer was handed to the connection whole; a garbled, cut or other answer does not count.
    """

    seq: int
    endpoint: str
    fields: dict[str, Any]
    answered: bool = False


class Ledger:
    """The effects, and the counters beside them.

    ``requests`` counts the requests that were read whole, by endpoint; ``logins`` the successful ones; ``campaigns``
    the effects by the campaign that their fields name, the last changed last.
    """

    def __init__(self, cap: int | None = None) -> None:
        """Keep the last ``cap`` entries, by default all."""
        self.entries: deque[Entry] = deque(maxlen=cap)
        self.total = 0
        self.logins = 0
        self.requests: Counter[str] = Counter()
        self.campaigns: dict[str, int] = {}
        self.in_flight = 0
        self.max_in_flight = 0

    def ask(self, name: str) -> None:
        """Count a request by ``name``, which a client chose: beyond ten thousand of them they share one."""
        self.requests[name if name in self.requests or len(self.requests) < _NAMES else "..."] += 1

    def record(self, endpoint: str, fields: Mapping[str, Any]) -> Entry:
        """Enter one effect."""
        self.total += 1
        entry = Entry(self.total, endpoint, dict(fields))
        self.entries.append(entry)
        campaign = fields.get("campaign") or fields.get("outqueue")
        if campaign and isinstance(campaign, str):
            self.campaigns[campaign] = self.campaigns.pop(campaign, 0) + 1
        return entry

    def of(self, endpoint: str) -> list[Entry]:
        """Return the effects of one endpoint."""
        return [entry for entry in self.entries if entry.endpoint == endpoint]

    def enter(self) -> None:
        """Count a request in."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def leave(self) -> None:
        """Count a request out."""
        self.in_flight -= 1

    def clear(self) -> None:
        """Forget effects and requests; logins and what is in flight stay."""
        self.entries.clear()
        self.total = 0
        self.requests.clear()
        self.campaigns.clear()
        self.max_in_flight = self.in_flight

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)
