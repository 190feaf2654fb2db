"""Rows from a CSV file: on which line each begins, its cells by the file's own column names.

A cell is text here. This file knows nothing of requests, of which columns mean what, or of what happens to a row.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from ..errors import SettingsError, escaped
from .cells import REPORTED, unguarded

__all__ = ["WORKBOOK", "CsvSource", "OneRow", "Row", "check_header"]

_BLOCK = 65_536
_LONGEST_LINE = 131_072
_MOST_LINES = 1_000
_DELIMITERS = ";,\t|"
_ONE_COLUMN = "\x1f"
_NO_DELIMITERS = '"\r\n\0'
_QUOTED = re.compile(r'"[^"]*"?')
# Excel's own way to name the separator, on a line before the header.
_DECLARED = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_ENCODING_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8 with BOM", "cp1252": "Windows-1252"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
WORKBOOK = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""What the file of a workbook begins with."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row as it was read.

    ``number`` is the line of the file on which it begins, the first line being 1. ``problem`` says why the line could
    not be read as a row; ``fields`` then holds its raw text under the first column, so that nothing of it is lost.
    ``typed`` says of cells that were no text in a workbook or table where they are and what they held.
    """

    number: int
    fields: dict[str, str]
    problem: str | None = None
    typed: dict[str, str] | None = None

    def __repr__(self) -> str:
        # Cells are numbers and names of persons.
        return f"Row({self.number}, {dict.fromkeys(self.fields, '***')}, problem={self.problem!r})"


class OneRow:
    """A row that was given by hand, as a source of its own."""

    def __init__(self, column: str, cell: str) -> None:
        self.columns = (column,)
        self.last = 1
        self.digest = hashlib.blake2b(cell.encode(), digest_size=16).hexdigest()
        self._row = Row(1, {column: cell})

    def describe(self) -> str:
        """Return what it is, in one line."""
        return f"one {self.columns[0]}"

    def __iter__(self) -> Iterator[Row]:
        yield self._row


class CsvSource:
    """The rows of a CSV file, one at a time, as often as they are asked for.

    The file is read once on construction: for its ``encoding``, the names of its ``columns``, the ``digest`` of all its
    bytes and the number of its ``last`` line; ``delimiter`` is ``None`` for a file of one column. In a file of rejects
    the apostrophes that guard cells from a spreadsheet are taken off again. Raises :class:`SettingsError` for a file
    that cannot be read and, while rows are read, for one that changes under it.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, encoding: str | None = None, delimiter: str | None = None
    ) -> None:
        """Look at the file; a given ``encoding`` or ``delimiter`` is taken at its word."""
        if delimiter is not None and (len(delimiter) != 1 or delimiter in _NO_DELIMITERS):
            raise SettingsError(f"the delimiter is one character, such as ';', not {delimiter!r}")
        self.path = Path(path)
        steady = _SteadyFile(self.path)
        self._stamp = steady.stamp
        with io.BufferedReader(steady, _BLOCK) as file:
            self.encoding, self.digest, self.last = _examine(file, self.path, encoding)
        self.delimiter = delimiter
        try:
            with self._open() as text:
                names = [cell.strip() for cell in self._begin(_Lines(text))[0]]
                self._guarded = tuple(names[-len(REPORTED) :]) == REPORTED
                self.columns = check_header([*map(unguarded, names)] if self._guarded else names, self.path)
        except csv.Error as error:
            raise SettingsError(f"{self.path}: the first line does not name the columns: {error}") from None

    def describe(self) -> str:
        """Return what was found out about the file, in one line."""
        columns = f"columns separated by {self.delimiter!r}" if self.delimiter else "one column"
        return f"{self.path.name}: {_ENCODING_NAMES.get(self.encoding, self.encoding)}, {columns}"

    def __iter__(self) -> Iterator[Row]:
        columns, width = self.columns, len(self.columns)
        with self._open() as file:
            lines = _Lines(file)
            _, reader = self._begin(lines)
            while True:
                lines.taken.clear()
                number = lines.number + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield self._problem(
                        number, lines, f"cannot be split into cells: {escaped(str(error))}; is a quote left open?"
                    )
                    continue
                # Spreadsheets leave rows of bare separators behind: they are blank lines too.
                if not any(map(str.strip, cells)):
                    continue
                if self._guarded:
                    cells = [*map(unguarded, cells)]
                if len(cells) == width or (len(cells) < width and len(lines.taken) == 1):
                    yield Row(number, dict(zip_longest(columns, cells, fillvalue="")))
                else:
                    yield self._problem(number, lines, _misfit(len(cells), width, len(lines.taken)))

    def _problem(self, number: int, lines: _Lines, problem: str) -> Row:
        # A quote left open swallows the lines after it, and each of them may be a row.
        lines.rewind(1)
        return Row(number, {self.columns[0]: lines.taken[0].strip("\r\n\0")}, problem)

    def _open(self) -> io.TextIOWrapper:
        file = io.BufferedReader(_SteadyFile(self.path, self._stamp), _BLOCK)
        return io.TextIOWrapper(file, encoding=self.encoding, newline="")

    def _begin(self, lines: _Lines) -> tuple[list[str], Iterator[list[str]]]:
        for line in lines:
            declared = _DECLARED.fullmatch(line.strip("\r\n"))
            if declared is not None and declared[1] in _NO_DELIMITERS:
                raise SettingsError(f"{self.path}: its first line declares {declared[1]!r}, which separates nothing")
            if declared is None and line.strip():
                break
            self.delimiter = self.delimiter or (declared and declared[1])
        else:
            raise SettingsError(f"{self.path} is empty; its first line names the columns")
        lines.rewind(-1)
        self.delimiter = self.delimiter or _delimiter_of(line)
        reader = csv.reader(lines, delimiter=self.delimiter or _ONE_COLUMN, strict=True)
        return next(reader), reader


def _misfit(cells: int, width: int, lines: int) -> str:
    problem = f"has {cells} cells, the header names {width}"
    return problem if lines == 1 else f"{problem}, and runs over {lines} lines; is a quote left open?"


def _delimiter_of(header: str) -> str | None:
    bare = _QUOTED.sub("", header)
    best = max(_DELIMITERS, key=bare.count)
    return best if best in bare else None


def check_header(names: list[str], path: Path) -> tuple[str, ...]:
    """Return the names of the columns; raise :class:`SettingsError` where they do not name each."""
    for position, name in enumerate(names, 1):
        if not name:
            raise SettingsError(f"{path}: column {position} has no name; name it, or remove the separator too many")
        if any(c.isdecimal() for c in name) and not any(c.isalpha() for c in name):
            raise SettingsError(f"{path}: the first line must name the columns; its cell {position} looks like data")
        if name in names[: position - 1]:
            raise SettingsError(f"{path}: two columns are named {name!r}; rename one")
    return tuple(names)


def _examine(file: io.BufferedReader[_SteadyFile], path: Path, encoding: str | None) -> tuple[str, str, int]:
    # The whole file decides: one accent in the last row tells cp1252 from UTF-8.
    digest = hashlib.blake2b(digest_size=16)
    block = file.read(_BLOCK)
    names = [_checked_encoding(encoding)] if encoding is not None else ["utf-8", "cp1252"]
    if encoding is None and block.startswith(_UTF16 + WORKBOOK):
        found = "UTF-16 text" if block.startswith(_UTF16) else "a workbook"
        raise SettingsError(f"{path} is {found}; save it as 'CSV UTF-8'")
    if block.startswith(codecs.BOM_UTF8) and "utf-8" in names:
        names = ["utf-8-sig"]
    decoders = {name: codecs.getincrementaldecoder(name)() for name in names}
    more, lines = True, 0
    while more:  # the empty block at the end too, for it shows a character cut in two
        digest.update(block)
        lines += block.count(b"\n")
        for name, decoder in list(decoders.items()):
            try:
                decoder.decode(block, final=not block)
            except UnicodeError:
                del decoders[name]
        more, block = bool(block), file.read(_BLOCK)
    if not decoders:
        tried = " nor ".join(_ENCODING_NAMES.get(name, name) for name in names)
        raise SettingsError(f"{path} is not {tried}; save it as 'CSV UTF-8' or name its encoding")
    return next(iter(decoders)), digest.hexdigest(), lines


def _checked_encoding(encoding: str) -> str:
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise SettingsError(f"{encoding!r} is not a text encoding that Python knows") from None


class _SteadyFile(io.FileIO):
    """A regular file that refuses to be read once it is no longer what it was: a cut line may hold a cut number."""

    def __init__(self, path: Path, stamp: tuple[int, int] | None = None) -> None:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise SettingsError(f"{path} is a directory, a pipe or a device; give a file")
            super().__init__(path)
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
        self._path = path
        self.stamp = stamp or self._look()

    def _look(self) -> tuple[int, int]:
        seen = os.fstat(self.fileno())
        return seen.st_size, seen.st_mtime_ns

    def readinto(self, buffer: Any, /) -> int:
        try:
            count = super().readinto(buffer)
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be read: {error.strerror}") from None
        if self._look() != self.stamp:
            raise SettingsError(f"{self._path} changed while it was read; run again once it is complete")
        return count or 0


class _Lines(Iterator[str]):
    """The lines of a file; those of the current row are kept, for they may have to be read again."""

    __slots__ = ("_again", "_readline", "number", "taken")

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._readline = file.readline
        self._again: list[str] = []
        self.number = 0
        self.taken: list[str] = []

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= _LONGEST_LINE and line[-1] not in "\r\n":
            line = self._cut(line)
        self.taken.append(line)
        if "\0" in line:
            raise csv.Error(f"the line holds a NUL character or more than {_LONGEST_LINE} characters")
        if len(self.taken) > _MOST_LINES:
            raise csv.Error(f"it runs over more than {_MOST_LINES} lines")
        return line

    def rewind(self, first: int) -> None:
        """Deliver the lines of the current row again, from its ``first`` on."""
        again = self.taken[first:]
        self._again += reversed(again)
        self.number -= len(again)

    def _cut(self, line: str) -> str:
        while (rest := self._readline(_LONGEST_LINE)) and rest[-1] not in "\r\n":
            pass
        # The mark makes it refused on every later reading too.
        return line[:1_000] + "\0"
