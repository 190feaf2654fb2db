"""Rows from any iterable of mappings, such as those of polars, pandas or pyarrow, each made a request of an operation.

It reads no file; which columns there are, and what becomes of a row, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from ..endpoint import Request
from ..errors import SettingsError
from ..text import quoted
from .cells import text_of
from .operations import OPERATIONS, plan
from .sources import Row

__all__ = ["Table"]


class Table:
    """Rows as requests: ``await uc.bulk(Table(frame.iter_rows(named=True), "schedule", campaign="Ventas->"), ...)``.

    For pandas ``frame.to_dict("records")``, for pyarrow ``table.to_pylist()``, or any iterable of mappings, read
    lazily. The keys of the first one name the columns, which are those of a file; ``mapping`` gives yours for ours
    (``{"destination": "Telefono"}``), ``campaign`` fills an absent or empty one. ``operation`` is ``schedule``,
    ``respool``, ``task-priority``, ``task-scheduled``, ``task-dialer``, ``task-now``, ``remove`` or ``dnc-add``.

    Numbers to dial must be text: a numeric cell has lost its leading zeros, and its row is skipped as invalid. None,
    NaN and NaT are empty cells. Outcomes name rows from 1. Raises :class:`SettingsError` where the columns do not make
    a request, and ``TypeError`` for what is no iterable of mappings.
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        operation: str,
        *,
        campaign: str | None = None,
        mapping: Mapping[str, str] | None = None,
    ) -> None:
        """Take the first row, to learn the columns."""
        if operation not in OPERATIONS:
            raise SettingsError(f"the operation is one of {', '.join(OPERATIONS)}, not {operation!r}")
        source = iter(rows)
        first = [*islice(source, 1)]
        if first and not isinstance(first[0], Mapping):
            raise TypeError(f"expected an iterable of mappings, got {type(first[0]).__name__}")
        self.columns = tuple(map(str, first[0])) if first else ()
        self._rows = chain(first, source)
        # Without a row there is nothing to be said of columns.
        chosen = OPERATIONS[operation]
        known = self.columns if first else (*chosen.required, *(mapping or {}).values())
        self._plan = plan(known, chosen, campaign=campaign, mapping=mapping)

    def __iter__(self) -> Iterator[Row]:
        for number, values in enumerate(self._rows, 1):
            yield self._row(number, values)

    def request(self, row: Row) -> Request[Any]:
        """Return the request of ``row``, or raise :class:`InvalidRequest`."""
        return self._plan.request(row)

    def column_of(self, field: str) -> str:
        """Return your name for one of our fields."""
        return self._plan.column_of(field)

    def _row(self, number: int, values: Mapping[str, Any]) -> Row:
        fields = dict.fromkeys(self.columns, "")
        typed: dict[str, str] = {}
        for name, value in values.items():
            column = str(name)
            if column not in fields:
                return Row(number, fields, f"has the column {quoted(column)}, which the first row has not")
            try:
                fields[column], what = text_of(value)
            except TypeError as error:
                return Row(number, fields, f"column {column} {error}")
            if what is not None:
                typed[column] = f"holds {what}"
        return Row(number, fields, typed=typed or None)
