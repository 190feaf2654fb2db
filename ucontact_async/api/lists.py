"""Whole lists for the dialers: files of rows, built, named, and sent one after another (``protocol.md`` section 5).

Which coroutine takes a file is the business of ``dialers.py``; how a row is written, that of ``list_file.py``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Annotated, Literal, Self

import msgspec

from ..endpoint import Request
from ..errors import InvalidRequest, NotSent, OutcomeUnknown, Refused, SettingsError, UContactError, unseen
from ..list_file import FILE_CONTENT, FILE_NAME, USER_NAME, ListRow, encode_row, plain_number
from ..text import CAMPAIGN, COUNT, FREE_TEXT, Rules

__all__ = [
    "ROWS_PER_FILE",
    "ListFile",
    "ListWriter",
    "UploadReport",
    "UploadedFile",
    "ZonedListFile",
    "send_files",
]

# About half a megabyte of usual rows: proxies and servers refuse forms beyond one or two (nginx 1 MB, Tomcat 2 MB).
ROWS_PER_FILE = 5_000

_STEM = re.compile(r"(?![Rr])[A-Za-z0-9_-]{1,39}")
_DIGEST = 5


class ListFile(Request[None], frozen=True, kw_only=True):
    """One file of rows for a dialer's list ("uploadbase", ``protocol.md`` 5): ``1`` means that it is queued.

    The server reads the file later: the list ``name`` (without ``.csv``) appears after a while, inactive, until
    somebody activates it in the portal. ``rows`` is the number of lines. ``username`` is the uploading user, by default
    the client's. Sent once: an unknown outcome is not repeated. :meth:`Dialers.upload` makes such files of rows.
    """

    # In the vendor's order: a request that is cut within the file names no campaign, so nothing can be made of it.
    name: Annotated[str, FILE_NAME] = msgspec.field(name="filename")
    content: Annotated[bytes, FILE_CONTENT] = msgspec.field(name="fileb64")
    campaign: Annotated[str, CAMPAIGN]
    rows: Annotated[int, COUNT] = msgspec.field(name="cant")
    username: Annotated[str | None, USER_NAME] = None


class ZonedListFile(ListFile, frozen=True, kw_only=True):
    """A :class:`ListFile` whose numbers live in another time zone ("uploadbasewithtimezone"): ``1`` means queued.

    The dialer's hours then count in ``timezone``, which is sent as it is given; the page names no list of them, most
    likely they are names such as ``America/Montevideo``. Sent once: an unknown outcome is not repeated.
    """

    timezone: Annotated[str, FREE_TEXT]

    def check(self) -> None:
        """Refuse an empty time zone: without one there is the other endpoint."""
        if not self.timezone.strip():
            raise InvalidRequest("timezone", "is empty; name the list's time zone, or upload without one")


class UploadedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file: ``accepted`` means queued, ``unknown`` that it may have been; ``error`` says why."""

    name: str
    rows: int
    status: Literal["accepted", "refused", "unknown", "not sent"]
    error: UContactError | None = None


class UploadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every file of an upload, in order."""

    files: tuple[UploadedFile, ...]

    @property
    def rows(self) -> int:
        """How many rows the files hold."""
        return sum(file.rows for file in self.files)

    @property
    def accepted(self) -> int:
        """How many of these rows are in files that the server has queued."""
        return sum(file.rows for file in self.files if file.status == "accepted")

    def raise_for_status(self) -> Self:
        """Return the report; raise the error that ended the upload unless every file was accepted."""
        for file in self.files:
            if file.error is not None:
                raise file.error
        return self


class ListWriter:
    """Gathers rows into files whose names are made of a stem and of what is in them.

    The same rows give the same name, so a repeated upload is recognised by a person who looks at the lists.
    """

    def __init__(
        self,
        *,
        campaign: str,
        name: str = "list",
        rows_per_file: int = ROWS_PER_FILE,
        username: str | None = None,
        timezone: str | None = None,
        on_duplicate: Literal["refuse", "allow"] = "refuse",
        rules: Rules | None = None,
    ) -> None:
        """Every file is for ``campaign``; raise :class:`SettingsError` for what cannot work with any row."""
        if not _STEM.fullmatch(name):
            raise SettingsError(f"name is 1 to 39 of A-Z a-z 0-9 _ - and does not begin with R, not {name!r}")
        if not isinstance(rows_per_file, int) or isinstance(rows_per_file, bool) or rows_per_file < 1:
            raise SettingsError(f"rows_per_file is a whole number from 1, not {rows_per_file!r}")
        if on_duplicate not in ("refuse", "allow"):
            raise SettingsError(f"on_duplicate is 'refuse' or 'allow', not {on_duplicate!r}")
        self._rules = rules or Rules()
        self._campaign = CAMPAIGN.encode(campaign, "campaign", self._rules)
        self._stem = name
        self._rows_per_file = rows_per_file
        self._username = username
        self._timezone = timezone
        self._seen: dict[int, int] | None = {} if on_duplicate == "refuse" else None
        self._names: set[str] = set()
        self._lines: list[str] = []

    def files(self, rows: Iterable[ListRow]) -> Iterator[ListFile]:
        """Yield the files that ``rows`` fill; raise :class:`InvalidRequest` naming row and field."""
        for position, row in enumerate(rows):
            if not isinstance(row, ListRow):
                raise TypeError(f"row {position} is no ListRow but {type(row).__name__}")
            try:
                file = self.add(row, position)
            except InvalidRequest as error:
                raise InvalidRequest(f"row {position}: {error.field}", error.reason) from None
            if file is not None:
                yield file
        if (file := self.rest()) is not None:
            yield file

    @unseen
    def add(self, row: ListRow, position: int) -> ListFile | None:
        """Take ``row`` in, and return a file once it is full.

        Raises :class:`InvalidRequest` for a row that breaks a rule, or that has campaign and destination of an earlier
        one: nothing of it is kept. ``position`` is how that one will be named.
        """
        line = encode_row(row, self._rules, campaign=self._campaign)
        if (twin := self.twin_of(row)) is not None:
            raise InvalidRequest("destination", f"is that of row {twin}; the dialer would call it twice")
        if self._seen is not None:
            self._seen[self._key(row)] = position
        self._lines.append(line)
        return self.rest() if len(self._lines) >= self._rows_per_file else None

    def twin_of(self, row: ListRow) -> int | None:
        """Return the position of the row taken in that has campaign and destination of ``row``, if that matters."""
        return None if self._seen is None else self._seen.get(self._key(row))

    def _key(self, row: ListRow) -> int:
        return hash((row.campaign or self._campaign, plain_number(row.destination)))

    def rest(self) -> ListFile | None:
        """Return a file of the rows that are not in one yet, ``None`` where there are none."""
        if not self._lines:
            return None
        lines, self._lines = self._lines, []
        content = "\n".join(lines).encode()
        name, username = self._name(content), self._username
        if self._timezone is None:
            return ListFile(campaign=self._campaign, name=name, content=content, rows=len(lines), username=username)
        return ZonedListFile(
            campaign=self._campaign,
            name=name,
            content=content,
            rows=len(lines),
            username=username,
            timezone=self._timezone,
        )

    def _name(self, content: bytes) -> str:
        digest = blake2b(content, digest_size=_DIGEST)
        # Two files of one upload may be equal where duplicates are allowed; the server must not take them for one.
        while (name := f"{self._stem}-{digest.hexdigest()}.csv") in self._names:
            digest.update(b"\n")
        self._names.add(name)
        return name


async def send_files(
    files: Iterable[ListFile],
    send: Callable[[ListFile], Awaitable[None]],
    clear: Callable[[Sequence[ListFile]], Awaitable[None]],
) -> UploadReport:
    """Build every file, ``clear`` them all, then ``send`` one after another; the first not accepted ends it."""
    built = []
    for file in files:
        built.append(file)
        await asyncio.sleep(0)  # some thousand rows a turn of the loop, and no more
    await clear(built)
    report: list[UploadedFile] = []
    ended: UploadedFile | None = None
    for file in built:
        if ended is None:
            sent = await _send(file, send)
            ended = sent if sent.error is not None else None
        else:
            error = NotSent(f"{ended.name} before it was {ended.status}", transient=False)
            sent = UploadedFile(name=file.name, rows=file.rows, status="not sent", error=error)
        report.append(sent)
    return UploadReport(files=tuple(report))


async def _send(file: ListFile, send: Callable[[ListFile], Awaitable[None]]) -> UploadedFile:
    try:
        await send(file)
    except NotSent as error:
        return UploadedFile(name=file.name, rows=file.rows, status="not sent", error=error)
    except OutcomeUnknown as error:
        return UploadedFile(name=file.name, rows=file.rows, status="unknown", error=error)
    except Refused as error:
        return UploadedFile(name=file.name, rows=file.rows, status="refused", error=error)
    return UploadedFile(name=file.name, rows=file.rows, status="accepted")
