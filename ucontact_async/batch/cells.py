"""Cells between programs: a value of a workbook or table as text, and texts that a spreadsheet would change.

It knows no file and no column.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

__all__ = ["REPORTED", "guarded", "text_of", "unguarded"]

REPORTED = ("row", "outcome", "reason")
"""The last columns of a file of rejects, by which it is known as one when it is fed back in."""

_EXACT = 2.0**53


def guarded(cell: str) -> str:
    """Return ``cell`` so that a spreadsheet leaves it alone and computes nothing: an apostrophe goes before it.

    What begins with a letter needs none; :func:`unguarded` gives back exactly what it was.
    """
    return cell if _kept(cell) else f"'{cell}"


def unguarded(cell: str) -> str:
    """Return what :func:`guarded` made ``cell`` of; one that was typed over without an apostrophe stays as it is."""
    return cell[1:] if cell.startswith("'") and not _kept(cell) else cell


def _kept(cell: str) -> bool:
    """Return whether a spreadsheet takes ``cell`` for text: anything else may be a quantity, a date or a formula."""
    bare = cell.lstrip("'")
    return not bare or bare[0].isalpha()


def text_of(value: Any) -> tuple[str, str | None]:
    """Return the text of a cell and, unless it was text or empty, what it was: ``a number``, ``a date``.

    Dates are written as ISO 8601 with a blank. Raises ``TypeError`` for what is no cell.
    """
    if isinstance(value, str):
        return value, None
    if value is None or _missing(value):
        return "", None
    if isinstance(value, bool):
        return ("true" if value else "false"), "a truth value"
    if isinstance(value, datetime):
        return value.isoformat(" "), "a date"
    if isinstance(value, date | time | timedelta):
        return str(value), "a time" if isinstance(value, time | timedelta) else "a date"
    if isinstance(value, Integral):
        return str(int(value)), "a number"
    if isinstance(value, Decimal):
        return f"{value:f}", "a number"
    if isinstance(value, Real):
        number = float(value)
        return str(int(number)) if abs(number) < _EXACT and number.is_integer() else str(value), "a number"
    raise TypeError(f"holds a {type(value).__name__}, which is no cell; give text")


def _missing(value: Any) -> bool:
    """Return whether ``value`` stands for nothing: NaN, NaT and NA are unlike themselves, or do not say."""
    try:
        return bool(value != value)  # noqa: PLR0124  that is how they are known
    except TypeError:
        return True
    except ValueError:  # an array has no truth
        return False
