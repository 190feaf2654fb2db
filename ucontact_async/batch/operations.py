"""The bulk operations as a table: which columns each takes, and how a row becomes its request.

Adding an operation is adding a line to the table. This file knows neither files nor the API's rules of text, which are
the encoder's, nor what becomes of a request.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from hashlib import blake2b
from itertools import repeat
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from ..api import endpoint_of
from ..api.calls import BlockNumber
from ..api.dialers import DialerTask, RemoveContact, RemoveSchedule, Respool, ScheduledCall
from ..endpoint import Request
from ..errors import InvalidRequest, SettingsError, unseen
from ..local_time import local_text
from ..text import CAMPAIGN, CAMPAIGN_OR_ALL, PAIRS, Rules, TextFormat, mask_phone, printable
from .cells import REPORTED
from .columns import COLUMNS, PAIR
from .sources import Row

__all__ = ["IDENTITY", "OPERATIONS", "Operation", "Plan", "digests_of", "identities_of", "identity_of", "plan"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Rows of a rejects file that another journal knows as sent, or as the twin of one that was.
_HELD = frozenset({"unknown", "duplicate"})
# Where a field has no column of its name, what its value came from.
_SOURCES = {"agent": ("agentphone",), "phone": ("agentphone", "destination")}


class Operation(msgspec.Struct, Generic[T_co], frozen=True):
    """One bulk operation: its name, what it does, and what builds its request from keyword arguments.

    ``campaign`` is the format of that column; ``repeatable`` that a row may be sent twice.
    """

    name: str
    help: str
    build: Callable[..., T_co]
    campaign: TextFormat[str] = CAMPAIGN
    repeatable: bool = False

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that every row must fill."""
        return tuple(name for name, needed in _parameters(self.build) if needed and name != "data")

    @property
    def pairs(self) -> bool:
        """Whether it takes ``data.NAME``."""
        return any(name == "data" for name, _ in _parameters(self.build))

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that may be absent or empty, beside ``data.NAME``."""
        return tuple(name for name, needed in _parameters(self.build) if not needed and name != "data")


@functools.cache
def _parameters(build: Callable[..., Any]) -> tuple[tuple[str, bool], ...]:
    parameters = inspect.signature(build).parameters.values()
    return tuple((p.name, p.default is p.empty) for p in parameters)


def _insert(
    *,
    campaign: str,
    destination: str,
    alternatives: Sequence[str] = (),
    agent: str = "",
    agentphone: str = "",
    data: Mapping[str, str] = {},
    source: str = "source",
) -> DialerTask:
    if agent and agentphone:
        raise InvalidRequest("agent", "is filled, and the agent's extension too; keep one of the two")
    common: dict[str, Any] = {"campaign": campaign, "destination": destination, "alternatives": alternatives}
    common |= {"data": data, "source": source}
    return (
        DialerTask.for_phone(phone=agentphone, **common) if agentphone else DialerTask.for_agent(agent=agent, **common)
    )


def _remove(
    *, campaign: str, destination: str, since: datetime | None = None, until: datetime | None = None
) -> RemoveContact | RemoveSchedule:
    if since is None and until is None:
        return RemoveContact(campaign=campaign, destination=destination)
    if since is None or until is None:
        raise InvalidRequest("since" if since is None else "until", "is empty and the other end is not; give both")
    return RemoveSchedule(campaign=campaign, destination=destination, since=since, until=until)


def _block(
    *,
    destination: str,
    campaign: str = "*",
    name: str = "",
    company: str = "",
    job_title: str = "",
    username: str = "",
) -> BlockNumber:
    return BlockNumber(
        phone=destination, campaign=campaign, name=name, company=company, job_title=job_title, username=username
    )


OPERATIONS: dict[str, Operation[Request[None]]] = {
    operation.name: operation
    for operation in (
        Operation("schedule", "have a dialer call each number at a date and time", ScheduledCall),
        Operation("respool", "put contacts of a dialer's list back on the spool, now", Respool),
        Operation("task-priority", "insert into the dialer with priority 1", DialerTask.urgent),
        Operation(
            "task-scheduled", "call at a date and time, inside or outside the dialer's hours", DialerTask.scheduled
        ),
        Operation("task-dialer", "insert into the dialer, for one agent or for any", _insert),
        Operation("task-now", "call now, as a click-to-call does", DialerTask.now),
        Operation("remove", "take numbers off a dialer's spool, or a range of its schedule", _remove, repeatable=True),
        Operation("dnc-add", "put numbers on the do-not-call list", _block, CAMPAIGN_OR_ALL, repeatable=True),
    )
}


_CAMPAIGN = "--campaign 'Ventas->'"


def plan(
    columns: Iterable[str],
    operation: Operation[T],
    *,
    campaign: str | None = None,
    mapping: Mapping[str, str] | None = None,
) -> Plan[T]:
    """Settle how rows with ``columns`` become requests of ``operation``; raise :class:`SettingsError` if they cannot.

    ``mapping`` gives the file's name for a column of ours; ``campaign`` fills an absent or empty campaign.
    """
    theirs = tuple(columns)
    if campaign is not None and not (campaign := campaign.strip()):
        raise SettingsError("--campaign is empty; give the campaign with its arrow, such as 'Ventas->'")
    found = {_known(our, operation): _present(our, their, theirs) for our, their in (mapping or {}).items()}
    mapped = {**found}
    for column in theirs:
        name = _ours(column, operation)
        if name is None or name in mapped or column in mapped.values():
            continue
        if name in found:
            raise SettingsError(f"the columns {found[name]!r} and {column!r} both mean {name}; rename one")
        found[name] = column
    absent = [name for name in operation.required if name not in found and (name != "campaign" or campaign is None)]
    if absent:
        raise SettingsError(_missing(absent, theirs))
    used = set(found.values())
    ignored = tuple(column for column in theirs if column not in used and column.casefold() not in REPORTED)
    return Plan(operation, found, campaign, ignored)


def _ours(column: str, operation: Operation[Any]) -> str | None:
    name = column.strip()
    if operation.pairs and name[: len(PAIR)].casefold() == PAIR:
        return PAIR + name[len(PAIR) :].strip()
    name = name.casefold()
    return name if name in operation.required or name in operation.optional else None


def _known(our: str, operation: Operation[Any]) -> str:
    if (name := _ours(our, operation)) is not None:
        return name
    known = (*operation.required, *operation.optional)
    near = get_close_matches(our.casefold(), known, 1)
    pairs = " and data.NAME" if operation.pairs else ""
    hint = f"; did you mean {near[0]}?" if near else f" but {', '.join(known)}{pairs}"
    raise SettingsError(f"--map {our}=...: {operation.name} has no column {our!r}{hint}")


def _present(our: str, their: str, theirs: Sequence[str]) -> str:
    same = [column for column in theirs if column.strip().casefold() == their.strip().casefold()]
    if not same:
        raise SettingsError(f"--map {our}={their}: the file has no column {their!r} but {', '.join(theirs)}")
    return their if their in same else same[0]


def _missing(names: Sequence[str], theirs: Sequence[str]) -> str:
    """Say which columns are wanting, all at once, and the options that name them: guessed where one looks like it."""
    options, guessed = [], False
    for name in names:
        like = (name, *COLUMNS[name].also)
        near = next((column for column in theirs if get_close_matches(column.strip().casefold(), like, 1, 0.75)), None)
        guessed = guessed or near is not None
        column = "COLUMN" if near is None else repr(near)
        options.append(_CAMPAIGN if name == "campaign" and near is None else f"--map {name}={column}")
    told = f"the file has no column {', '.join(names)} but {', '.join(theirs)}; add {' '.join(options)}"
    return f"{told}, if that is what they mean" if guessed else told


class Plan(Generic[T_co]):
    """How the rows of one file become requests of one operation; made by :func:`plan`.

    ``ignored`` are the columns of the file that nothing is made of.
    """

    def __init__(
        self, operation: Operation[T_co], columns: Mapping[str, str], campaign: str | None, ignored: tuple[str, ...]
    ) -> None:
        self.operation = operation
        self.ignored = ignored
        self._columns = dict(columns)
        self._campaign = campaign
        self._build = operation.build
        needed = {name for name in operation.required if name != "campaign" or campaign is None}
        self._pairs = tuple((our[len(PAIR) :], their) for our, their in columns.items() if our.startswith(PAIR))
        ours = {our: their for our, their in columns.items() if not our.startswith(PAIR)}
        self._cells = tuple((our, their, COLUMNS[our].read, our in needed) for our, their in ours.items())
        self._dialled = tuple(their for our, their in ours.items() if COLUMNS[our].dialled)
        try:
            PAIRS.encode({name: "" for name, _ in self._pairs}, "data", Rules())
        except InvalidRequest as error:
            raise SettingsError(f"column {error.field}: {error.reason}") from None

    @unseen
    def request(self, row: Row) -> T_co:
        """Return the request that ``row`` asks for.

        Raises :class:`InvalidRequest` naming the file's column, and :class:`SettingsError` where the row contradicts
        ``--campaign``: that is a mistake about the whole file.
        """
        if row.problem is not None:
            raise InvalidRequest("row", row.problem)
        if row.typed is not None:
            self._refuse_typed(row.typed)
        fields = row.fields
        if (held := fields.get("outcome")) in _HELD and not self.operation.repeatable:
            raise InvalidRequest("outcome", f"says {held}: it may ring already; empty the cell to have the row sent")
        given: dict[str, Any] = {} if self._campaign is None else {"campaign": self._common_campaign(row)}
        for our, their, read, needed in self._cells:
            if text := fields[their].strip():
                given[our] = text if read is None else read(text, their)
            elif needed:
                raise InvalidRequest(their, "is empty, and every row needs it")
        if self._pairs:
            given["data"] = {name: text for name, their in self._pairs if (text := fields[their].strip())}
        try:
            return self._build(**given)
        except InvalidRequest as error:
            raise InvalidRequest(self.column_of(error.field), error.reason) from None

    def _refuse_typed(self, typed: Mapping[str, str]) -> None:
        for column in self._dialled:
            if column in typed:
                why = "where a number to dial loses its leading zeros; make the column text and write it again"
                raise InvalidRequest(column, f"{typed[column]}, {why}")

    def check(self, rows: Iterable[Row], rules: Rules) -> None:
        """Raise :class:`SettingsError` for a ``--campaign`` that no campaign can have or that a row contradicts.

        Both are mistakes about the whole file, to be found before its first row is sent.
        """
        if self._campaign is None:
            return
        try:
            self.operation.campaign.encode(self._campaign, "--campaign", rules)
        except InvalidRequest as error:
            raise SettingsError(str(error)) from None
        if "campaign" in self._columns:
            for row in rows:
                if row.problem is None:
                    self._common_campaign(row)

    def column_of(self, field: str) -> str:
        """Return the file's name for ``field``, ours; what comes from no column keeps its name."""
        if field == "campaign" and field not in self._columns:
            return "--campaign"
        names = (field, *_SOURCES.get(field, ()))
        return next((self._columns[name] for name in names if name in self._columns), field)

    def _common_campaign(self, row: Row) -> str | None:
        column = self._columns.get("campaign")
        if column is not None and (text := row.fields[column].strip()) not in {"", self._campaign}:
            # A wrongly mapped column may hold telephone numbers.
            shown = printable(text) if any(map(str.isalpha, text)) else mask_phone(text)
            raise SettingsError(f"row {row.number}: column {column} says {shown!r}, --campaign says {self._campaign!r}")
        return self._campaign


IDENTITY: dict[type[Request[Any]], Callable[[Any], tuple[str, str, Any]]] = {
    ScheduledCall: attrgetter("campaign", "destination", "calldate"),
    DialerTask: attrgetter("campaign", "destination", "calldate"),
    Respool: attrgetter("campaign", "destination", "contact"),
}
"""The fields in which two requests for the same call agree; of other types, all that is sent counts."""


def identity_of(request: Request[Any], body: bytes, zone: tzinfo | None = None) -> int:
    """Return a signed 64-bit number that two requests for the same call share, in a journal above all.

    ``body`` is the encoded request. With the server's ``zone`` a moment counts as it is sent; without it, an aware one
    counts as UTC and never equals a naive one. A ``-`` in a number is not dialled and does not count.
    """
    (identity,) = identities_of([request], [body], zone)
    return identity


def identities_of(
    requests: Sequence[Request[Any]],
    bodies: Sequence[bytes],
    zone: tzinfo | None = None,
    *,
    sent: Sequence[Any] | None = None,
    lasting: bool = True,
) -> list[int]:
    """Return :func:`identity_of` each of ``requests``, all of one type; ``sent`` are their moments as they are sent.

    Those that are not ``lasting`` hold within this process only, and cost 4,000 instructions less.
    """
    path = endpoint_of(requests[0]).path
    names = IDENTITY.get(type(requests[0]))
    if names is None:
        counted = bodies
    else:
        campaigns, destinations, others = zip(*map(names, requests), strict=True)
        dialled = map(str.replace, destinations, repeat("-"), repeat(""))
        texts = map("\0".join, zip(map(format, campaigns), dialled, _said(others, zone, sent), strict=True))
        counted = [*map(str.encode, texts)]
    if not lasting:
        return [*map(hash, zip(repeat(path), counted, strict=False))]
    digests = digests_of(f"{path}\0".encode(), counted, size=8)
    return [int.from_bytes(digest, "big", signed=True) for digest in digests]


def _said(values: Sequence[Any], zone: tzinfo | None, sent: Sequence[Any] | None) -> Sequence[str]:
    if sent is None or not isinstance(values[0], datetime):
        return [_moment(value, zone) if isinstance(value, datetime) else format(value) for value in values]
    return "\0".join(sent).replace(" ", "T").split("\0")


def digests_of(begin: bytes, rests: Iterable[bytes], *, size: int) -> list[bytes]:
    """Return the digests, of ``size`` bytes, of what begins alike: 6,500 instructions for each instead of 9,000."""
    begun = blake2b(begin, digest_size=size)
    digests = []
    for rest in rests:
        whole = begun.copy()
        whole.update(rest)
        digests.append(whole.digest())
    return digests


def _moment(value: datetime, zone: tzinfo | None) -> str:
    if zone is not None and (text := local_text(value, zone)) is not None:
        return text.replace(" ", "T")
    moment = value.replace(microsecond=0)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC) if zone is None else moment.astimezone(zone).replace(tzinfo=None)
    return moment.isoformat()
