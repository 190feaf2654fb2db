"""Frequency caps: how many calls a number may get in how many hours, counted from moments that others bring here.

It knows no journal and no request.
"""

from __future__ import annotations

import msgspec

from ...errors import SettingsError

__all__ = ["CallBook", "Cap"]

_CENTURY = 24 * 36_525


class Cap(msgspec.Struct, frozen=True):
    """At most so many ``calls`` to one number within any ``hours``: ``Cap(3, hours=24)``.

    A call counts for each number that its row names, alternatives too, and whether it is known to have happened or
    unknown. It counts at the moment when it rings: at its ``calldate``, or when it was sent.
    """

    calls: int
    hours: float
    name: str = "cap"

    def __post_init__(self) -> None:
        if self.calls < 1 or not 0 < self.hours <= _CENTURY:
            raise SettingsError(
                "a cap is at least one call in more than 0 hours and at most 100 years, "
                f"not {self.calls} in {self.hours:g}"
            )


class CallBook:
    """When each number was, or will be, rung: about 200 bytes a number."""

    def __init__(self, caps: tuple[Cap, ...]) -> None:
        """``caps`` are what is asked about."""
        self._caps = caps
        self._moments: dict[str, list[float]] = {}

    def add(self, number: str, moment: float) -> None:
        """Count a call at ``moment``, in Unix seconds."""
        self._moments.setdefault(number, []).append(moment)

    def remove(self, number: str, moment: float) -> None:
        """Take back a call that did not happen."""
        moments = self._moments[number]
        moments.remove(moment)
        if not moments:
            del self._moments[number]

    def full(self, number: str, moment: float) -> Cap | None:
        """Return the cap that one more call at ``moment`` would break."""
        if (moments := self._moments.get(number)) is None:
            return None
        for cap in self._caps:
            span = cap.hours * 3600
            near = sorted([moment, *(other for other in moments if abs(other - moment) < span)])
            # So many calls and one more begin within the span.
            if any(last - first < span for first, last in zip(near, near[cap.calls :], strict=False)):
                return cap
        return None
