"""Cells between programs: values as text, and texts that a spreadsheet must leave alone."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.batch.cells import guarded, text_of, unguarded

NAN = float("nan")


class Missing:
    """As pandas' NA: whoever asks whether it is like itself is told that nobody knows."""

    def __ne__(self, other):
        return self

    __hash__ = None

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


@given(st.text("'=+-@09aÑ \t\r\n\uff15\uff1d", max_size=6))
def test_guarding_is_undone_exactly(cell):
    """Every text comes back, and a guarded one begins with a letter or an apostrophe."""
    kept = guarded(cell)
    assert unguarded(kept) == cell
    assert kept[:1] in ("", "'") or kept[0].isalpha()


@pytest.mark.parametrize("cell", ["090000002", "90000002", "=1", "Ana", "'Ana"])
def test_what_was_typed_over_stays(cell):
    """A cell without the apostrophe, as a person leaves it, is taken as it is."""
    assert unguarded(cell) == cell


@pytest.mark.parametrize(
    ("value", "text", "what"),
    [
        ("098", "098", None),
        (None, "", None),
        (NAN, "", None),
        (Missing(), "", None),
        (7, "7", "a number"),
        (7.0, "7", "a number"),
        (7.5, "7.5", "a number"),
        (1e16, "1e+16", "a number"),
        (float("inf"), "inf", "a number"),
        (Decimal("1E+3"), "1000", "a number"),
        (Fraction(7), "7", "a number"),
        (True, "true", "a truth value"),
        (datetime(2026, 5, 5, 10, tzinfo=UTC), "2026-05-05 10:00:00+00:00", "a date"),
        (date(2026, 5, 5), "2026-05-05", "a date"),
        (time(10), "10:00:00", "a time"),
    ],
)
def test_a_value_is_its_text(value, text, what):
    """Numbers are written as they are counted, dates as the API reads them, what is missing as nothing."""
    assert text_of(value) == (text, what)


@pytest.mark.parametrize("value", [b"098", ["098"], {"a": 1}, object()])
def test_what_is_no_cell_is_refused(value):
    """A list or bytes in a cell are a mistake, not text."""
    with pytest.raises(TypeError, match="which is no cell"):
        text_of(value)
