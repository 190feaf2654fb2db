"""Many requests of one type to form bytes at once, column by column: the same bytes as one by one, or none.

Whatever is not plain, a request that would be refused above all, is left to :mod:`codec`, which knows why; nothing is
decided here. A call of a bulk run takes 22,000 instructions instead of 64,000: it is interpreted by the column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain, repeat, zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import InvalidRequest
from .local_time import local_texts
from .text import DIAL_STRING, PAIRS, PHONE_LIST, TIMESTAMP
from .wire import Field, fields_of, quote

if TYPE_CHECKING:
    from .codec import FormCodec
    from .text import Rules

__all__ = ["Block", "BlockCodec"]

# How many accepted values of one field are remembered: more than a run has campaigns or agents.
_KNOWN = 256
# What stands between two texts that are quoted as one, and in none of them.
_BREAK = "\n"
# Whether the form carries what numbers and moments are made of as it is; a blank becomes a plus.
_AS_IT_IS = quote("0123456789:- ") == "0123456789:-+"
_QUOTATION_MARK = quote('"')
# What breaks a pair or is escaped in JSON, and with it what breaks a line.
_SIGNS = ';"\\'
_STRANGE = bytes([*range(0x20), *range(0x7F, 0xA0)]) + _SIGNS.encode()
# A text for each row, or one for all.
_Texts = Sequence[str] | str
# What a column writes of its values: as they are sent, as JSON, and that quoted for the form.
_Written = tuple[Sequence[Any], _Texts, _Texts]


class Block(msgspec.Struct, frozen=True, gc=False):
    """Requests encoded: of each its form body and its document; ``sent`` holds, by our names, what each field says."""

    bodies: list[bytes]
    documents: list[str]
    sent: dict[str, Sequence[Any]]


class _Doubt(Exception):
    """Something is not plain."""


class _Column:
    """The values of one field; here of one that few values go through, each of them looked at once."""

    text = False
    """Whether :meth:`write` leaves the quotation marks of a JSON text to the template."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._known: dict[Any, str] = {}
        self._quoted: dict[Any, str] = {}
        self._kind: type | None = None

    def forget(self) -> None:
        """Forget the values that were accepted."""
        self._known.clear()
        self._quoted.clear()

    def write(self, values: Sequence[Any], rules: Rules) -> _Written:
        """Return ``values`` as JSON, and quoted; ``_Doubt``, or the error of one of them, to have them told apart."""
        kind = _kind_of(values)  # True and 1 are the same to a dictionary
        if kind is not self._kind or len(self._known) > _KNOWN:
            self._kind = kind
            self.forget()
        different = set(values)
        for value in different.difference(self._known):
            written = msgspec.json.encode(self.field.format.encode(value, self.field.name, rules)).decode()
            self._known[value], self._quoted[value] = written, quote(written)
        if len(different) == 1:
            return values, self._known[values[0]], self._quoted[values[0]]
        return values, [*map(self._known.__getitem__, values)], [*map(self._quoted.__getitem__, values)]


class _Numbers(_Column):
    """Numbers to dial; other characters than digits are left to their format."""

    text = True

    def write(self, values: Sequence[str], rules: Rules) -> _Written:
        _kind_of(values, str)
        if _plain_numbers(values):
            return values, values, values
        written = [self.field.format.encode(value, self.field.name, rules) for value in values]
        return written, written, [*map(quote, written)]


class _Lists(_Column):
    """Alternative numbers."""

    text = True

    def write(self, values: Sequence[tuple[str, ...]], rules: Rules) -> _Written:
        _kind_of(values, tuple)
        numbers = [*chain.from_iterable(values)]
        different = sum(map(len, map(set, values)))
        if numbers and (different != len(numbers) or not _plain_numbers(numbers)):
            raise _Doubt
        written = [*map(":".join, values)]
        return written, written, written


class _Pairs(_Column):
    """Parameters for the agent's form."""

    text = True

    def write(self, values: Sequence[dict[str, str]], rules: Rules) -> _Written:
        _kind_of(values, dict)
        names = tuple(values[0])
        # As a file has them; to tell all different ones apart takes twice the time.
        alike = [*chain.from_iterable(values)] == [*names] * len(values)
        named = {names} if alike else {*map(tuple, values)}
        written = _joined(values, *named)
        whole = "".join(written)
        sizes = [*map(len, values)]
        # Each has as many separators as we put there at least: so all have, if all together have no more.
        separators = (sum(sizes), sum(sizes) - len(sizes) + sizes.count(0))
        if (whole.count("="), whole.count(":")) != separators or any("" in names for names in named):
            raise _Doubt
        if not _plain(whole):
            raise _Doubt
        # One quoting for all: a third less than one for each.
        return written, written, quote(_BREAK.join(written)).split(quote(_BREAK))


class _Moments(_Column):
    """Moments in the server's time, or none in all of the requests."""

    def write(self, values: Sequence[Any], rules: Rules) -> _Written:
        kind = _kind_of(values)
        if kind is type(None):
            return super().write(values, rules)
        if rules.zone is None or not _AS_IT_IS or not issubclass(kind, datetime):
            raise _Doubt
        written = local_texts(values, rules.zone)
        # All as one text: a loop over them would be interpreted.
        json = '"' + f'"{_BREAK}"'.join(written) + '"'
        quoted = json.replace('"', _QUOTATION_MARK).replace(" ", "+")
        return written, json.split(_BREAK), quoted.split(_BREAK)


def _plain(text: str) -> bool:
    """Return whether ``text`` may stand in pairs, and in JSON as it is."""
    try:
        latin = text.encode("latin-1")  # as nearly all can: strange bytes are found in half the time
    except UnicodeEncodeError:
        return text.isprintable() and not any(map(text.__contains__, _SIGNS))
    return len(latin.translate(None, _STRANGE)) == len(latin)


def _joined(values: Sequence[dict[str, str]], names: tuple[str, ...], *others: tuple[str, ...]) -> list[str]:
    """Return all pairs of each of ``values`` in one text; they have those ``names``, or one of the ``others``."""
    if others or not names:
        return [":".join(map("=".join, pairs.items())) for pairs in values]
    # The same names for all, as a file has them: a third of the time.
    heads = [":" * (number > 0) + name + "=" for number, name in enumerate(names)]
    return _merged(heads, [*zip(*map(dict.values, values), strict=True)], len(values))


def _merged(pieces: Sequence[str], columns: Sequence[_Texts], count: int) -> list[str]:
    """Return ``count`` texts: of each column its own, before each its piece, and the last one behind if it is left.

    By the ``%`` of a template it took twice the time.
    """
    parts: list[Iterable[str]] = []
    same = ""
    for piece, column in zip_longest(pieces, columns, fillvalue=""):
        same += piece
        if isinstance(column, str):
            same += column
        else:
            parts += [repeat(same), column]
            same = ""
    return [*map("".join, zip(*parts, repeat(same, count), strict=False))]


def _kind_of(values: Sequence[Any], wanted: type | None = None) -> type:
    """Return the type of all ``values``, which must be one, and the ``wanted`` one if given."""
    kinds = set(map(type, values))
    kind = kinds.pop()
    if kinds or (wanted is not None and kind is not wanted):
        raise _Doubt
    return kind


def _plain_numbers(numbers: Sequence[str]) -> bool:
    """Return whether all ``numbers`` are numbers to dial that hold digits and nothing else."""
    whole = "".join(numbers)
    sizes = {*map(len, numbers)}
    # Of bytes only 0 to 9 are digits, and they are looked at in a third of the time.
    return _AS_IT_IS and whole.isascii() and whole.encode().isdigit() and min(sizes) >= 2 and max(sizes) <= 24


_COLUMNS: dict[type, type[_Column]] = {
    type(DIAL_STRING): _Numbers,
    type(PHONE_LIST): _Lists,
    type(PAIRS): _Pairs,
    type(TIMESTAMP): _Moments,
}


class BlockCodec:
    """Encodes as a :class:`FormCodec` does that writes one JSON argument and nothing beside it."""

    def __init__(self, codec: FormCodec) -> None:
        fields = fields_of(codec.request_type)
        self._columns = [
            (_Column if field.format.few else _COLUMNS.get(type(field.format), _Column))(field) for field in fields
        ]
        self._rules: Rules | None = None
        places = {column.field.wire_name: "\0" for column in self._columns}
        document = msgspec.json.encode(codec.constants | places).decode()
        # msgspec writes \0 as a text of six characters, which no constant of ours holds.
        for column in self._columns:
            document = document.replace('"\\u0000"', '"\0"' if column.text else "\0", 1)
        self._document = document.split("\0")
        self._body = [*map(quote, self._document)]
        if codec.argument is not None:
            self._body[0] = f"{quote(codec.argument)}={self._body[0]}"

    def encode(self, requests: Sequence[msgspec.Struct], rules: Rules, *, documents: bool) -> Block | None:
        """Return the block of ``requests``, all of our type; ``None`` says to take them one by one.

        Without ``documents`` each of them is empty.
        """
        if rules is not self._rules:
            self._rules = rules
            for column in self._columns:
                column.forget()
        try:
            values = zip(*map(msgspec.structs.astuple, requests), strict=True)
            written = [column.write(one, rules) for column, one in zip(self._columns, values, strict=True)]
        except (_Doubt, InvalidRequest, TypeError, AttributeError, ValueError):
            return None
        sent, json, quoted = zip(*written, strict=True)
        names = [column.field.name for column in self._columns]
        count = len(requests)
        bodies = [*map(str.encode, _merged(self._body, quoted, count))]
        said = _merged(self._document, json, count) if documents else [""] * count
        return Block(bodies, said, dict(zip(names, sent, strict=True)))
