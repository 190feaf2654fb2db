"""Where a recording may lie (``protocol.md`` 3.3): host, folder of the day or none, mp3 or gsm; in which order to look.

It knows addresses and opens none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from ..api.recordings import Recording, check_guid
from ..errors import SettingsError

__all__ = ["Candidate", "Format", "Place", "Places", "Wanted", "formats_of"]

Format = Literal["mp3", "gsm"]
Wanted = Literal["mp3", "gsm", "any"]

_FORMATS: dict[str, tuple[Format, ...]] = {"mp3": ("mp3",), "gsm": ("gsm",), "any": ("mp3", "gsm")}


class Place(msgspec.Struct, frozen=True):
    """Where a recording lies; ``size`` in bytes, ``None`` where the server does not say."""

    url: str
    format: Format
    size: int | None


class Candidate(msgspec.Struct, frozen=True):
    """One place where a recording may lie."""

    host: str
    dated: bool
    format: Format
    url: str


def formats_of(wanted: Wanted) -> tuple[Format, ...]:
    """Return the formats to look for, in order; refuse what is none."""
    if wanted not in _FORMATS:
        raise SettingsError(f"format is 'mp3', 'gsm' or 'any', not {wanted!r}")
    return _FORMATS[wanted]


class Places:
    """The kinds of places on the configured hosts; the kind that was found last is asked first the next time."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """``hosts`` are scheme, host and port, the one to ask first before its backup."""
        self._kinds = [(host, dated) for host in dict.fromkeys(hosts) for dated in (True, False)]
        self._last = self._kinds[0]

    def of(self, recording: Recording, formats: Sequence[Format]) -> Iterator[Candidate]:
        """Yield every place of ``recording``, one format after the other; refuse a guid that cannot be in a path."""
        guid, day = check_guid(recording.guid), recording.day
        # The sort is stable: the others stay in the order of the page.
        kinds = sorted(self._kinds, key=lambda kind: kind != self._last)
        for format_ in formats:
            for host, dated in kinds:
                if day or not dated:
                    folder = f"{day}/" if dated else ""
                    yield Candidate(host, dated, format_, f"{host}/records/{folder}{guid}.{format_}")

    def found(self, candidate: Candidate) -> None:
        """Remember the kind of place that ``candidate`` is."""
        self._last = (candidate.host, candidate.dated)
