"""Rows from a workbook: Excel (xlsx, xlsb, xls) or OpenDocument, by python-calamine (extra ``excel``).

A cell is text here, and one that was none is marked with its place: what that means for a column is not known here.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from .cells import text_of
from .sources import WORKBOOK, CsvSource, Row, check_header
from .workbook_size import TooLarge, check_size

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

__all__ = ["WorkbookSource", "open_source"]

_MOST_BYTES = 256 << 20


def open_source(path: str | os.PathLike[str], *, sheet: str | None = None) -> CsvSource | WorkbookSource:
    """Return the rows of the file at ``path``: a workbook by its first bytes, else CSV."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError:
        begin = b""  # the CSV reader says what is wrong with it
    if begin.startswith(WORKBOOK):
        return WorkbookSource(path, sheet=sheet)
    if sheet is not None:
        raise SettingsError(f"{path.name} is no workbook, so it has no sheet {sheet!r}")
    return CsvSource(path)


class WorkbookSource:
    """The rows of one sheet, as often as they are asked for; ``row`` numbers are those of the sheet.

    The first row that is not empty names the columns. ``digest`` is that of the whole file and the sheet's name. The
    workbook is read whole. Raises :class:`SettingsError` for one that cannot be read, that has several sheets with
    cells and no ``sheet`` is named, or whose columns have no names.
    """

    def __init__(self, path: str | os.PathLike[str], *, sheet: str | None = None) -> None:
        """Read the file; what becomes of it afterwards does not matter."""
        self.path = Path(path)
        content = self._content()
        self._sheet = self._open(content, sheet)
        self.digest = hashlib.blake2b(content + self._sheet.name.encode(), digest_size=16).hexdigest()
        start, end = self._sheet.start, self._sheet.end
        assert start is not None
        assert end is not None
        self._top, self._left = start
        self.last = end[0] + 1
        header = next(islice(self._sheet.iter_rows(), self._top, None))
        names = [text_of(cell)[0].strip() for cell in header]
        while names and not names[-1]:  # cells that were formatted and never filled
            names.pop()
        self.columns = check_header(names, self.path)

    def describe(self) -> str:
        """Return what was found out about the file, in one line."""
        return f"{self.path.name}: sheet {self._sheet.name!r}, {len(self.columns)} columns"

    def __iter__(self) -> Iterator[Row]:
        for number, cells in enumerate(islice(self._sheet.iter_rows(), self._top + 1, None), self._top + 2):
            if any(cell if isinstance(cell, str) else cell is not None for cell in cells) and any(map(_filled, cells)):
                yield self._row(number, cells)

    def _row(self, number: int, cells: list[Any]) -> Row:
        fields: dict[str, str] = {}
        typed: dict[str, str] = {}
        width = len(self.columns)
        for position, (column, value) in enumerate(zip(self.columns, cells, strict=False)):
            fields[column], what = text_of(_whole_seconds(value))
            if what is not None:
                typed[column] = f"cell {self._name(position, number)} holds {what}"
        if any(map(_filled, cells[width:])):
            beyond = next(place for place in range(width, len(cells)) if _filled(cells[place]))
            return Row(number, fields, f"has a cell {self._name(beyond, number)} beyond the last named column")
        return Row(number, fields, typed=typed or None)

    def _name(self, position: int, number: int) -> str:
        letters, left = "", self._left + position + 1
        while left:
            left, letter = divmod(left - 1, 26)
            letters = chr(65 + letter) + letters
        return f"{letters}{number}"

    def _content(self) -> bytes:
        try:
            if self.path.stat().st_size > _MOST_BYTES:
                raise SettingsError(f"{self.path} is larger than {_MOST_BYTES >> 20} MB; save it as 'CSV UTF-8'")
            return self.path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{self.path} cannot be read: {error.strerror}") from None

    def _open(self, content: bytes, wanted: str | None) -> CalamineSheet:
        try:
            sheets = _sheets(content)
        except ImportError:
            raise SettingsError(
                f"{self.path.name} is a workbook: python -m pip install 'ucontact-async[excel]', "
                "or save it as 'CSV UTF-8'"
            ) from None
        except TooLarge as error:
            raise SettingsError(f"{self.path.name} is not read: {error}") from None
        except Exception as error:  # noqa: BLE001  zipfile raises whatever a broken field leads to
            raise SettingsError(
                f"{self.path.name} cannot be read as a workbook: {error}; open it and save it again, without a password"
            ) from None
        filled = [sheet for sheet in sheets if sheet.start is not None]
        if wanted is not None:
            filled = [sheet for sheet in filled if sheet.name == wanted]
        if len(filled) == 1:
            return filled[0]
        names = ", ".join(repr(sheet.name) for sheet in sheets)
        if filled:
            raise SettingsError(f"{self.path.name} has several sheets: {names}; say which with --sheet")
        what = "no sheet with cells" if wanted is None else f"no sheet {wanted!r} with cells"
        raise SettingsError(f"{self.path.name} has {what} but {names}")


def _sheets(content: bytes) -> list[CalamineSheet]:
    from python_calamine import CalamineWorkbook

    if content.startswith(WORKBOOK[0]):
        check_size(content)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        return [book.get_sheet_by_name(name) for name in book.sheet_names]
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # how the reader, which is Rust, ends where it did not look
            raise ValueError("its reader gave up") from None
        raise


def _filled(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _whole_seconds(value: Any) -> Any:
    """Round a moment, which a workbook keeps as a fraction of days: 10:00 may come out as 9:59:59.999."""
    if isinstance(value, datetime) and value.microsecond:
        return (value + timedelta(microseconds=500_000)).replace(microsecond=0)
    return value
