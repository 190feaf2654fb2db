"""What is to be done about an unknown outcome: hold it, or replace a scheduled call, and on which conditions.

``hold`` is the default. Replacing is exactly once where nobody else schedules that very second, under two conditions
(``reliability.md`` 2.2): the quarantine is longer than a request may arrive late, and the call is far enough ahead. How
it is done is not known here.
"""

from __future__ import annotations

import msgspec

from ..errors import SettingsError
from ..settings import ServerProfile

__all__ = ["ReplaceSchedule", "Terms"]


class ReplaceSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """``on_unknown=ReplaceSchedule()``: a scheduled call whose outcome is unknown is removed and inserted again.

    Both conditions of it are yours to state; what is left out is the server profile's. Seconds throughout.

    Args:
        quarantine: how long a row is left alone after an answer was lost (profile: 600, longer than ``lateness``).
        lateness: how late this server may still do what it was sent (profile: 300).
        margin: how long before its ``calldate`` a call must be back on the schedule (60); nearer ones stay unknown.
        inclusive: whether RemoveScheduleDialerCall with ``from`` = ``to`` takes off a call at that very second
            (profile: no; ``ucontact-async probe`` finds out). Where it does not, nothing may be settled.

    Raises:
        SettingsError: the quarantine is not longer than the lateness, or a number is below 0; where the run begins also
            if the server is not known to remove a single second, or there is no journal.
    """

    quarantine: float | None = None
    lateness: float | None = None
    margin: float = 60.0
    inclusive: bool | None = None

    def __post_init__(self) -> None:
        if min(self.quarantine or 0, self.lateness or 0, self.margin) < 0:
            raise SettingsError("quarantine, lateness and margin are seconds, 0 or more")
        if self.quarantine is not None and self.lateness is not None:
            _longer(self.quarantine, self.lateness)

    def under(self, profile: ServerProfile) -> Terms:
        """Return the terms at a server with ``profile``; raises :class:`SettingsError` where they do not hold."""
        lateness = profile.lateness if self.lateness is None else self.lateness
        quarantine = profile.quarantine if self.quarantine is None else self.quarantine
        if self.quarantine is None and self.lateness is not None:
            quarantine = max(quarantine, 2 * lateness)
        _longer(quarantine, lateness)
        if not (profile.removes_one_second if self.inclusive is None else self.inclusive):
            raise SettingsError(
                "this server is not known to remove a scheduled call by its very second, and a second insert would "
                "ring twice: run `ucontact-async probe` and give its profile, or say ReplaceSchedule(inclusive=True)"
            )
        return Terms(quarantine, self.margin, profile.removes_tasks, profile.refuses_empty_removal)


def _longer(quarantine: float, lateness: float) -> None:
    if quarantine <= lateness:
        raise SettingsError(
            f"a quarantine of {quarantine:g} s is not longer than the lateness of {lateness:g} s: a request that "
            "arrives late would undo the settling; give a longer quarantine, or lateness= if you know your server's"
        )


class Terms(msgspec.Struct, frozen=True):
    """What settling goes by, resolved: seconds, and what is known of the server's removals."""

    quarantine: float
    margin: float
    tasks: bool = False
    refuses_empty_removal: bool = False
