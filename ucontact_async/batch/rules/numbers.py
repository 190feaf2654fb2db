"""Numbers to dial, compared and placed: one way of writing for each, its zones, and whether it is a costly one.

What is dialled stays as it was written. The only file that knows phonenumbers (extra ``phone``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import SettingsError
from ...text import dialled

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

__all__ = ["MISSING", "Numbering"]

MISSING = "phonenumbers is not installed: python -m pip install 'ucontact-async[phone]'"
_NOWHERE = "Etc/Unknown"
_ABROAD = re.compile(r"\+|00")
_KEPT = 4_096


class Numbering:
    """The numbering plan of some countries; without any, a number is its digits."""

    def __init__(self, regions: Sequence[str] = ()) -> None:
        """A number without country code is of the first of ``regions`` (ISO 3166 codes, such as ``UY``).

        Raises :class:`SettingsError` for a code that is none, and where phonenumbers is not installed.
        """
        self.regions = tuple(regions)
        self._plans: Any = None
        if self.regions:
            try:
                import phonenumbers
            except ImportError:
                raise SettingsError(f"regions need the plans of numbers; {MISSING}") from None
            self._plans = phonenumbers
            for region in self.regions:
                if region not in phonenumbers.SUPPORTED_REGIONS:
                    raise SettingsError(f"{region!r} is no country code of two capital letters, such as 'UY'")
        # Each row is asked about several times, and a list names a number once.
        self.canonical = functools.lru_cache(_KEPT)(self.canonical_of)
        self.zones = functools.lru_cache(_KEPT)(self._zones)
        self.costly = functools.lru_cache(_KEPT)(self._costly)

    def canonical_of(self, number: str) -> str:
        """Return the one way of writing ``number`` that all its spellings share: E.164, or else its digits."""
        parsed = self._parsed(number)
        if parsed is not None and self._plans.is_possible_number(parsed):
            return str(self._plans.format_number(parsed, self._plans.PhoneNumberFormat.E164))
        return re.sub(r"[^0-9*#]", "", number)

    def comparable(self, number: str) -> bool:
        """Return whether ``number`` can be told to be the same as one written without its country."""
        return self._plans is not None or not _ABROAD.match(dialled(number))

    def _zones(self, number: str) -> tuple[str, ...]:
        """Return the names of all time zones in which ``number`` may be; none where nobody knows."""
        parsed = self._parsed(number)
        if parsed is None or not self._plans.is_valid_number(parsed):
            return ()
        from phonenumbers import timezone

        return tuple(zone for zone in timezone.time_zones_for_number(parsed) if zone != _NOWHERE)

    def _costly(self, number: str) -> str | None:
        """Return ``premium`` or ``international`` for a number that is."""
        parsed = self._parsed(number)
        if parsed is None:
            return "international" if _ABROAD.match(dialled(number)) else None
        if self._plans.number_type(parsed) == self._plans.PhoneNumberType.PREMIUM_RATE:
            return "premium"
        region = self._plans.region_code_for_number(parsed)
        codes = {self._plans.country_code_for_region(known) for known in self.regions}
        home = region in self.regions if region is not None else parsed.country_code in codes
        return None if home else "international"

    def _parsed(self, number: str) -> PhoneNumber | None:
        # A number with * or # is a code of the exchange's own.
        if self._plans is None or "*" in number or "#" in number:
            return None
        try:
            parsed: PhoneNumber = self._plans.parse(number, self.regions[0])
        except self._plans.NumberParseException:
            return None
        return parsed
