"""How large a workbook becomes when it is read, asked before it is.

Its reader lays every cell between the first and the last one out in memory, and ends the process where that ends.
It knows zip files, the sheets of xlsx in them and the tables of OpenDocument, and of other workbooks only how much they
unpack to.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sequence

__all__ = ["TooLarge", "check_size"]

# The reader takes about 32 bytes for each place. So few cells in so many places are an accident, or an attack.
_MOST_CELLS, _FEW_CELLS, _SPREAD = 1 << 25, 1 << 20, 64
_MOST_BYTES = 1 << 30
_BLOCK = 1 << 20
_LONGEST_TAG = 65_536
_HEADER = 30  # bytes of a local header before its name
_TAG = re.compile(rb"""<(?:\w+:)?(?:(row|c)(?=[\s/>])((?:[^>"']|"[^"]*"|'[^']*')*)>|v(?:\s[^<>]*)?>([^<]*))""")
_SHARED = re.compile(rb"\st\s*=\s*[\"']s[\"']")
_TEXT = re.compile(rb"<(?:\w+:)?si(?=[\s/>])")
# The part of an OpenDocument that holds its tables. Of a place its reader keeps 120 bytes: as much as of four in xlsx.
_TABLES, _WIDE = "content.xml", 4
_ROW = re.compile(
    rb"""<(?:\w+:)?(table|table-row|table-cell|covered-table-cell)(?=[\s/>])((?:[^>"']|"[^"]*"|'[^']*')*)>"""
)
_VALUED = re.compile(rb"\s(?:\w+:)?(?:[a-z]+-)?value(?:-type)?\s*=")
_ROW_BEGUN = re.compile(rb"<(?:\w+:)?(?:covered-)?table(?:-row|-cell)?[\s/>]")
_REPEATED = re.compile(rb"\s(?:\w+:)?number-(?:rows|columns)-repeated\s*=\s*[\"']([0-9]{1,9})[\"']")
# The part of the texts that cells share, and how many they may be; the reader gives each cell a copy of its own.
_TEXTS, _MOST_TEXTS = "sharedstrings.xml", 1 << 25
_CELL = re.compile(rb"<(?:\w+:)?(?:row|c)[\s/>]")
_PLACE = re.compile(rb"\sr\s*=\s*[\"']([A-Za-z]{0,3})([0-9]{1,7})[\"']")
_NAMED = re.compile(rb"\sr\s*=")


class TooLarge(ValueError):
    """The workbook cannot be read within bounds; the text says why."""


def check_size(content: bytes, *, most_bytes: int = _MOST_BYTES, most_cells: int = _MOST_CELLS) -> None:
    """Raise :class:`TooLarge`, or whatever zipfile makes of a file that is none.

    ``most_bytes`` is for all that it unpacks to, and for the texts of all cells; ``most_cells`` for all sheets from the
    first cell of each to its last; beyond a million of these places one in 64 must hold a value.
    """
    places = cells = size = said = 0
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        parts = sorted(book.infolist(), key=lambda part: not _holds_texts(part))
    texts = _Texts()
    sheet: _Sheet | _Tables
    for part in parts:
        sheet = _Tables() if part.filename.lower() == _TABLES else _Sheet(texts.lengths)
        for block in _unpacked(content, part):
            size += len(block)
            if size > most_bytes:
                raise TooLarge(f"it unpacks to more than {most_bytes >> 20} MB")
            sheet.add(block)
            if _holds_texts(part):
                texts.add(block)
        sheet.add(b"<")  # the last tag is whole where another one begins
        texts.end()
        places += sheet.places
        cells += sheet.cells
        said += sheet.said
        if said > most_bytes:
            raise TooLarge(f"its cells say more than {most_bytes >> 20} MB")
        most = min(most_cells, _FEW_CELLS + _SPREAD * cells)
        if places > most:
            raise TooLarge(
                f"its cells reach over {places:,} places, more than {most:,}; delete those far from the others"
            )


def _unpacked(content: bytes, part: zipfile.ZipInfo) -> Iterator[bytes]:
    # By hand: zipfile believes what the directory says of a part's size, and the workbook's reader does not.
    begin = part.header_offset + _HEADER
    begin += sum(int.from_bytes(content[begin - place : begin - place + 2], "little") for place in (4, 2))
    packed = content[begin : begin + part.compress_size]
    if part.compress_type == zipfile.ZIP_STORED:
        yield packed
        return
    if part.compress_type != zipfile.ZIP_DEFLATED:
        raise TooLarge("a part of it is packed in a way that workbooks are not")
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    while packed and not unpacking.eof:
        yield unpacking.decompress(packed, _BLOCK)
        packed = unpacking.unconsumed_tail


def _holds_texts(part: zipfile.ZipInfo) -> bool:
    return part.filename.lower().endswith(_TEXTS)


class _Tags:
    """What a pattern that begins with a ``<`` matches in a part that comes in pieces."""

    def __init__(self, pattern: re.Pattern[bytes], begun: re.Pattern[bytes] | None = None) -> None:
        """Where ``begun`` matches, the rest of the pattern must not be far."""
        self.seen = 0
        self._pattern, self._begun = pattern, begun
        self._rest = b""

    def within(self, block: bytes) -> Iterator[tuple[int, re.Match[bytes]]]:
        """Yield what another ``<`` follows by the end of the next piece, each with the place where the part has it."""
        text = self._rest + block
        before = self.seen - len(self._rest)
        end = max(0, text.rfind(b"<"))
        for tag in self._pattern.finditer(text, 0, end):
            yield before + tag.start(), tag
        self.seen += len(block)
        self._rest = text[end:] if text.startswith(b"<", end) else b""
        if len(self._rest) > _LONGEST_TAG and self._begun is not None and self._begun.match(self._rest):
            raise TooLarge("a cell of it has no end")
        self._rest = self._rest[:_LONGEST_TAG]


class _Texts:
    """How many bytes the texts take that cells share, at most: from where one begins to where the next does."""

    def __init__(self) -> None:
        self.lengths = array("I")
        self._tags = _Tags(_TEXT)
        self._begun: int | None = None

    def add(self, block: bytes) -> None:
        """Take in the next piece of the part."""
        for place, _ in self._tags.within(block):
            self._next(place)

    def end(self) -> None:
        """Note that the part is over."""
        if self._begun is not None:
            self._next(self._tags.seen)
            self._begun = None

    def _next(self, place: int) -> None:
        if self._begun is not None:
            if len(self.lengths) >= _MOST_TEXTS:
                raise TooLarge(f"it has more than {_MOST_TEXTS:,} texts")
            self.lengths.append(place - self._begun)
        self._begun = place


class _Sheet:
    """The cells that a part of the file holds, if it is a sheet; those without a value do not count.

    ``said`` is how many bytes those of them say that share a text with others.
    """

    def __init__(self, texts: Sequence[int]) -> None:
        self.cells = self.said = 0
        self._texts = texts
        self._shared = False
        self._tags = _Tags(_TAG, _CELL)
        self._row = self._column = -1
        self._rows: tuple[int, int] | None = None
        self._columns = (0, 0)

    @property
    def places(self) -> int:
        """How many places lie between the first and the last."""
        if self._rows is None:
            return 0
        return (self._rows[1] - self._rows[0] + 1) * (self._columns[1] - self._columns[0] + 1)

    def add(self, block: bytes) -> None:
        """Take in the next piece of the part."""
        for _, tag in self._tags.within(block):
            if tag[1] is not None:
                self._take(tag[1] == b"row", tag[2])
            elif self._shared:
                self.said += self._length(tag[3].strip() or b"0")
                self._shared = False

    def _length(self, number: bytes) -> int:
        if not number.isdigit() or len(number) > 9:
            raise TooLarge("a cell of it names no text")
        return self._texts[int(number)] if int(number) < len(self._texts) else 0

    def _take(self, is_row: bool, attributes: bytes) -> None:
        self._shared = not is_row and _SHARED.search(attributes) is not None
        place = _PLACE.search(attributes)
        if len(_NAMED.findall(attributes)) != (place is not None):
            raise TooLarge("a cell of it is at no place of a sheet")
        if is_row:
            self._row, self._column = int(place[2]) - 1 if place else self._row + 1, -1
            return
        row, self._column = max(self._row, 0), self._column + 1
        if place is not None:
            row, self._column = int(place[2]) - 1, _column(place[1])
        if attributes.endswith(b"/"):
            return
        self.cells += 1
        if self._rows is None:
            self._rows, self._columns = (row, row), (self._column, self._column)
            return
        self._rows = min(row, self._rows[0]), max(row, self._rows[1])
        self._columns = min(self._column, self._columns[0]), max(self._column, self._columns[1])


class _Tables:
    """The tables of an OpenDocument, whose rows and cells may be repeated; otherwise as :class:`_Sheet`."""

    def __init__(self) -> None:
        self.places = self.cells = self.said = 0
        self._tags = _Tags(_ROW, _ROW_BEGUN)
        self._row = self._next_row = self._column = 0
        self._times = 1
        self._box: tuple[int, int, int, int] | None = None
        self._open: tuple[int, int] | None = None

    def add(self, block: bytes) -> None:
        """Take in the next piece of the part."""
        for place, tag in self._tags.within(block):
            self._close(place)
            self._take(tag[1], tag[2], place + len(tag[0]))
        if block == b"<":  # the end
            self._close(self._tags.seen)
            self._take(b"table", b"", self._tags.seen)

    def _close(self, place: int) -> None:
        """Count what the cell before this place says."""
        if self._open is not None:
            begun, times = self._open
            self.said += (place - begun) * times
            self._open = None

    def _take(self, name: bytes, attributes: bytes, place: int) -> None:
        if name == b"table":
            if self._box is not None:
                top, bottom, left, right = self._box
                self.places += _WIDE * (bottom - top) * (right - left)
            self._box, self._next_row = None, 0
            return
        repeated = _REPEATED.findall(attributes)
        if len(repeated) != attributes.count(b"-repeated"):
            raise TooLarge("a cell of it is at no place of a sheet")
        times = int(repeated[0]) if repeated else 1
        if name == b"table-row":
            self._row, self._next_row = self._next_row, self._next_row + times
            self._times, self._column = times, 0
            return
        left, self._column = self._column, self._column + times
        if attributes.endswith(b"/") and _VALUED.search(attributes) is None:
            return
        self.cells += _WIDE * times * self._times
        self._open = place, times * self._times
        box = self._box or (self._row, self._next_row, left, self._column)
        self._box = box[0], self._next_row, min(box[2], left), max(box[3], self._column)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number - 1
