"""``DialRules``, and the question asked of every call before it is sent: which rule forbids that it rings then?

It sees requests and cells. The journal, outcomes and when it is asked are others' business.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from ...api.calls import AgentCall, AgentCallWithData
from ...api.dialers import DialerTask, Respool, ScheduledCall
from ...api.lists import ListFile
from ...endpoint import Request
from ...errors import InvalidRequest, SettingsError
from ...list_file import decode_row, plain_number
from ...settings import zone_of
from ...text import dialled, parse_timestamp
from .caps import CallBook, Cap
from .do_not_call import DoNotCall, NumberList
from .numbers import Numbering
from .windows import Hours, Window

__all__ = ["CALLS", "LIMITS", "Block", "Check", "DialRules", "numbers_of", "rings_at"]

CALLS = (ScheduledCall, Respool, DialerTask, AgentCall, AgentCallWithData)
"""The requests that make a telephone ring; rules do not concern any other."""

BY_NUMBER = "number"
_FILES = 8


class DialRules(msgspec.Struct, frozen=True, kw_only=True):
    """When, whom and how often to call: data of yours, which the library enforces and does not know better.

    ``uc.bulk(calls, rules=DialRules(zone="America/Montevideo", windows=(Window("09:00", "20:00"),), regions=("UY",)))``

    A call is judged at the moment when it rings: at its ``calldate``, or now. It is asked before anything is sent,
    after every wait and in the step that writes the first byte. A call that a rule forbids is skipped with the reason
    ``blocked: NAME``; the next run asks again. Requests that ring nobody are let pass. Given to a client
    (``UContact(..., rules=...)``) they hold for its single calls too, which raise :class:`Blocked`, and for its runs
    that have no rules of their own. Of the rows of an upload, which a dialer calls when it likes, only the numbers are
    judged: by ``dialable``, ``regions``, ``premium`` and ``do_not_call``.

    * ``windows`` and ``holidays`` (dates, or anything with ``in``): names ``window`` and ``holiday``. They go by the
      customer's zone: the cell in ``zone_column``, else ``zone``: the name of a zone, a function of the request that
      gives one, or ``"number"``: all zones that the row's numbers may be in (needs ``regions``) must agree. Where the
      zone is not known the row is blocked: ``zone``.
    * ``not_before``, ``not_after``: a column with the first and last moment at which the row may ring, or a function of
      the request. Without an offset it is the customer's time. An empty cell is no limit.
    * ``do_not_call``: lists; no number of a row may be on any, alternatives included.
    * ``caps``: how often in how many hours, counted in the run's journal and in ``journals``, those of other runs;
      for single calls in ``journals`` and among themselves.
    * ``dialable``: what a number must begin with, as it is dialled: name ``prefix``.
    * ``regions``: the countries that may be called, ISO codes such as ``UY``; numbers without country code are of the
      first (needs ``pip install 'ucontact-async[phone]'``). ``premium`` and ``international`` numbers are refused;
      ``costly="allow"`` lets both pass. Without ``regions`` what begins with ``+`` or ``00`` is international, and
      premium is what begins with one of ``premium``.

    Raises :class:`SettingsError` for rules that cannot be kept.
    """

    windows: tuple[Window, ...] = ()
    holidays: Container[date] = frozenset()
    zone: str | Callable[[Request[Any]], str | None] | None = None
    zone_column: str | None = None
    not_before: str | Callable[[Request[Any]], datetime | None] = "not_before"
    not_after: str | Callable[[Request[Any]], datetime | None] = "not_after"
    do_not_call: tuple[DoNotCall, ...] = ()
    caps: tuple[Cap, ...] = ()
    journals: tuple[Path, ...] = ()
    dialable: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    premium: tuple[str, ...] = ()
    costly: Literal["refuse", "allow"] = "refuse"

    def __post_init__(self) -> None:
        self._settle()
        if self.costly not in ("refuse", "allow"):
            raise SettingsError(f"costly is 'refuse' or 'allow', not {self.costly!r}")
        if self.costly == "refuse" and not (self.regions or self.premium):
            raise SettingsError(
                "premium numbers cannot be told without a plan: say regions=['UY'] (or another; extra 'phone'), "
                "premium=['0900'] (what they begin with), or costly='allow'"
            )
        if self.zone == BY_NUMBER and not self.regions:
            raise SettingsError("zone='number' needs regions=['UY'], or another: the country of the numbers")
        if self.windows and self.zone is None and self.zone_column is None:
            raise SettingsError("windows need the customers' zone: say zone= or zone_column=")
        if isinstance(self.zone, str) and self.zone != BY_NUMBER:
            zone_of(self.zone)

    def _settle(self) -> None:
        """Take lists, and one alone, for the tuples that they stand for: asked later, they would fail in a run."""
        for name in ("windows", "do_not_call", "caps", "journals", "dialable", "regions", "premium"):
            given = getattr(self, name)
            alone = isinstance(given, str | Path | Window | DoNotCall | Cap)
            msgspec.structs.force_setattr(self, name, (given,) if alone else tuple(given))
        msgspec.structs.force_setattr(self, "journals", tuple(map(Path, self.journals)))
        for name in ("dialable", "premium"):
            plain = tuple(dialled(prefix) for prefix in getattr(self, name))
            msgspec.structs.force_setattr(self, name, plain)
        for day in self.holidays if isinstance(self.holidays, Collection) else ():
            if not isinstance(day, date) or isinstance(day, datetime):  # which no day is ever equal to
                raise SettingsError(f"a holiday is a date, such as date(2026, 12, 25), not {day!r}")

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a file that these rules read, by the fields that name them."""
        names = ("zone_column", "not_before", "not_after")
        return {name: column for name in names if isinstance(column := getattr(self, name), str)}


LIMITS = DialRules(costly="allow")
"""No rule but the limits that rows bring along themselves."""


class Block(msgspec.Struct, frozen=True):
    """Why a call may not ring: the name of the rule, and a sentence."""

    rule: str
    detail: str


def numbers_of(request: Any) -> tuple[str, ...]:
    """Return the numbers that ``request`` may ring, destination first."""
    return (request.destination, *getattr(request, "alternatives", ()))


def rings_at(request: Any, now: datetime, zone: tzinfo | None) -> datetime:
    """Return the moment at which ``request`` rings if it is sent ``now``; ``zone`` is the server's."""
    moment: datetime | None = getattr(request, "calldate", None)
    if moment is None:
        return now
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone or UTC)
    return max(moment, now)


class Check:
    """The rules of one run, ready to be asked. What a cap lets pass is booked until :meth:`release` takes it back."""

    def __init__(self, rules: DialRules, *, zone: tzinfo | None, now: Callable[[], datetime]) -> None:
        """``zone`` is the server's; :meth:`read` comes before the first question."""
        self.rules = rules
        self.book = CallBook(rules.caps)
        self._server_zone = zone
        self._now = now
        self._numbering = Numbering(rules.regions)
        self._hours = Hours(rules.windows, rules.holidays)
        # Without windows and holidays nobody needs to know where the customer is.
        self._timed = bool(rules.windows) or not (isinstance(rules.holidays, frozenset) and not rules.holidays)
        self._lists = [NumberList(rule, self._numbering, now) for rule in rules.do_not_call]
        self._zones: dict[str, ZoneInfo | None] = {}
        self._booked: dict[int, tuple[tuple[str, ...], float]] = {}
        # A file of thousands of rows is asked about three times; in a thread first, for it takes up to a second.
        self.judged = functools.lru_cache(_FILES)(self._judged)

    @property
    def stale(self) -> bool:
        """Whether a list has to be read, for the first time or again."""
        return any(numbers.changed for numbers in self._lists)

    def read(self) -> None:
        """Read what has to be read; it takes 20 to 50 microseconds a number. Raises :class:`SettingsError`."""
        for numbers in self._lists:
            if numbers.changed:
                numbers.read()
                self.judged.cache_clear()

    def count(self, request: Request[Any], sent: datetime) -> None:
        """Book a call of another run, which was ``sent`` then."""
        moment = rings_at(request, sent, self._server_zone).timestamp()
        for number in self._distinct(request):
            self.book.add(number, moment)

    def blocked(self, key: int, request: Request[Any], cells: Mapping[str, str], *, counted: bool) -> Block | None:
        """Return what forbids that ``request`` is sent now, or book it under ``key`` and return ``None``.

        ``cells`` are those of its row; ``counted`` says that it is one of those booked by :meth:`count`.
        """
        if isinstance(request, ListFile):
            return self.judged(request)
        if not isinstance(request, CALLS):
            return None
        moment = rings_at(request, self._now(), self._server_zone)
        block = (
            self._forbidden_number(numbers_of(request))
            or self._forbidden_time(request, cells, moment)
            or self._listed(numbers_of(request))
        )
        if block is None and self.rules.caps and not counted:
            block = self._over(key, request, moment.timestamp())
        return block

    def blocked_number(self, numbers: tuple[str, ...]) -> Block | None:
        """Return what forbids that ``numbers`` are called at all: all that a list is judged by, which others dial."""
        return self._forbidden_number(numbers) or self._listed(numbers)

    def blocked_rows(self, file: ListFile) -> dict[int, Block]:
        """Return what forbids rows of ``file``, by their place in it, from 0.

        It takes 40 microseconds a row, with ``regions`` 200.
        """
        found = {}
        for place, line in enumerate(file.content.decode(errors="replace").split("\n")):
            try:
                row = decode_row(line.removesuffix("\r"))
            except InvalidRequest:  # the server drops such lines
                continue
            numbers = tuple(plain_number(number) for number in (row.destination, *row.alternatives))
            if (block := self.blocked_number(numbers)) is not None:
                found[place] = block
        return found

    def _judged(self, file: ListFile) -> Block | None:
        found = self.blocked_rows(file)
        if not found:
            return None
        place, first = next(iter(found.items()))
        return Block(first.rule, f"row {place} of the list: {first.detail}")

    def release(self, key: int) -> None:
        """Take back what was booked under ``key``: it surely did not happen."""
        numbers, moment = self._booked.pop(key, ((), 0.0))
        for number in numbers:
            self.book.remove(number, moment)

    def keep(self, key: int) -> None:
        """Leave what was booked under ``key`` as it is, for good."""
        self._booked.pop(key, None)

    def _distinct(self, request: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._numbering.canonical(number) for number in numbers_of(request)))

    def _forbidden_number(self, numbers: Iterable[str]) -> Block | None:
        rules = self.rules
        for number in map(dialled, numbers):
            if rules.dialable and not number.startswith(rules.dialable):
                return Block("prefix", f"a number begins with none of {', '.join(rules.dialable)}")
            if rules.costly == "allow":
                continue
            kind = "premium" if rules.premium and number.startswith(rules.premium) else self._numbering.costly(number)
            if kind is not None:
                return Block(kind, f"a number is {kind}; costly='allow' in the rules lets such numbers pass")
        return None

    def _forbidden_time(self, request: Request[Any], cells: Mapping[str, str], moment: datetime) -> Block | None:
        limits = self._limits(request, cells)
        if isinstance(limits, Block):
            return limits
        if not (limits or self._timed):
            return None
        zones = self._customer(request, cells)
        if isinstance(zones, Block):
            return zones
        for name, limit in limits.items():
            # In a repeated hour both readings, in several zones all of them: whatever is meant, it is kept.
            readings = [limit] if limit.tzinfo is not None else _readings(limit, zones)
            if moment < max(readings) if name == "not before" else moment > min(readings):
                word = name.rpartition(" ")[2]
                return Block(name, f"it is not to ring {word} {limit.isoformat(' ')}")
        for zone in zones if self._timed else ():
            if (closed := self._hours.closed(moment.astimezone(zone))) is not None:
                return Block(closed[0], f"{closed[1]} in {zone}")
        return None

    def _limits(self, request: Request[Any], cells: Mapping[str, str]) -> dict[str, datetime] | Block:
        """Return the first and the last moment at which ``request`` may ring, as far as it has them."""
        found: dict[str, datetime] = {}
        for name, source in (("not before", self.rules.not_before), ("not after", self.rules.not_after)):
            if callable(source):
                limit = source(request)
            elif not (text := cells.get(source, "").strip()):
                continue
            elif (limit := parse_timestamp(text)) is None:
                return Block(name, f"column {source} is not YYYY-MM-DD HH:MM[:SS] or not a real date")
            if limit is not None:
                found[name] = limit
        return found

    def _customer(self, request: Any, cells: Mapping[str, str]) -> tuple[tzinfo, ...] | Block:
        """Return every zone that the customer may be in."""
        rules = self.rules
        name = cells.get(rules.zone_column, "").strip() if rules.zone_column is not None else ""
        if not name and rules.zone == BY_NUMBER:
            by_number = [self._numbering.zones(number) for number in numbers_of(request)]
            if not all(by_number):
                return Block("zone", "a number does not tell its time zone")
            names = tuple(dict.fromkeys(zone for zones in by_number for zone in zones))
        else:
            name = name or (rules.zone(request) if callable(rules.zone) else rules.zone) or ""
            names = (name,) if name else ()
        if not names:
            if self._timed or self._server_zone is None:
                return Block("zone", "the customer's time zone is not known")
            return (self._server_zone,)
        zones = [self._named(zone) for zone in names]
        if any(zone is None for zone in zones):
            return Block("zone", "there is no such time zone here; use an IANA name such as America/Montevideo")
        return tuple(zone for zone in zones if zone is not None)

    def _named(self, name: str) -> ZoneInfo | None:
        if name not in self._zones:
            try:
                self._zones[name] = zone_of(name)
            except SettingsError:
                self._zones[name] = None
        return self._zones[name]

    def _listed(self, numbers: tuple[str, ...]) -> Block | None:
        for listed in self._lists:
            name = listed.rule.name
            if listed.changed:
                return Block(name, "the list changed while the row waited; the same command asks it again")
            if (old := listed.old()) is not None:
                return Block(name, old)
            for number in numbers:
                if not callable(listed.rule.numbers) and not self._numbering.comparable(number):
                    return Block(name, "a number with its country cannot be looked up; say regions in the rules")
                if listed.holds(number):
                    return Block(name, "a number is on the list")
        return None

    def _over(self, key: int, request: Request[Any], moment: float) -> Block | None:
        self.release(key)  # asked again after a wait: now it would ring later
        numbers = self._distinct(request)
        for number in numbers:
            if (cap := self.book.full(number, moment)) is not None:
                return Block(cap.name, f"a number would be called more than {cap.calls} times in {cap.hours:g} hours")
        for number in numbers:
            self.book.add(number, moment)
        self._booked[key] = numbers, moment
        return None


def _readings(given: datetime, zones: Iterable[tzinfo]) -> list[datetime]:
    return [given.replace(tzinfo=zone, fold=fold).astimezone(UTC) for zone in zones for fold in (0, 1)]
