"""The rows of a file into the files of an upload, each with the lines that it came from.

It knows columns and rows; what a list file looks like and how it is sent is not its business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from ..api.lists import ListFile, ListWriter
from ..errors import Blocked, InvalidRequest
from ..list_file import ListRow, read_number
from .operations import Operation, Plan
from .rules.rules import Block
from .sources import Row

__all__ = ["UPLOAD", "BadRow", "Cut", "cut", "stem_of"]

_STRANGE = re.compile(r"[^A-Za-z0-9_-]+")
_STEM = 39


def _list_row(
    *,
    campaign: str,
    destination: str,
    alternatives: Sequence[str] = (),
    priority: int = 9999,
    agentphone: str = "",
    data: Mapping[str, str] = {},
) -> ListRow:
    return ListRow(
        campaign=campaign,
        destination=read_number(destination, "destination"),
        alternatives=[read_number(number, "alternatives") for number in alternatives],
        priority=priority,
        agentphone=agentphone,
        data=data,
    )


UPLOAD = Operation("upload", "make lists of a dialer of the rows of a file", _list_row)


class Cut(msgspec.Struct, frozen=True):
    """One file of an upload, and the first and the last line of the source that are in it."""

    file: ListFile
    first: int
    last: int


class BadRow(msgspec.Struct, frozen=True):
    """A row that breaks a rule; ``duplicate`` says that it is sound but for an earlier row with the same number."""

    row: Row
    error: InvalidRequest
    duplicate: bool = False


def cut(
    rows: Iterable[Row],
    plan: Plan[ListRow],
    writer: ListWriter,
    bad: Callable[[BadRow], None],
    forbids: Callable[[ListRow], Block | None] = lambda _: None,
) -> Iterator[Cut]:
    """Yield the files that ``writer`` makes of the sound ``rows``; tell ``bad`` the others, by the file's columns.

    ``forbids`` says which rule of the dial a row breaks.
    """
    first = last = 0
    for row in rows:
        try:
            planned = plan.request(row)
        except InvalidRequest as error:
            bad(BadRow(row, error))
            continue
        if (block := forbids(planned)) is not None:
            bad(BadRow(row, Blocked(block.rule, block.detail)))
            continue
        try:
            file = writer.add(planned, row.number)
        except InvalidRequest as error:
            named = InvalidRequest(plan.column_of(error.field), error.reason)
            bad(BadRow(row, named, duplicate=writer.twin_of(planned) is not None))
            continue
        first, last = first or row.number, row.number
        if file is not None:
            yield Cut(file, first, last)
            first = 0
    if (file := writer.rest()) is not None:
        yield Cut(file, first, last)


def stem_of(name: str) -> str:
    """Return what the names of lists may begin with when their rows come from the file ``name``."""
    stem = _STRANGE.sub("_", name).strip("_")
    # The portal takes no list whose name begins with R.
    return (f"list_{stem}" if stem[:1] in ("r", "R", "") else stem)[:_STEM].rstrip("_")
