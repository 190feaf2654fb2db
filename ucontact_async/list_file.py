"""The dialers' list file: one contact a line, ``campaign;phone;params;alternatives;priority[;agentphone]``.

Written, read and refused here and nowhere else (``protocol.md`` section 5). A value that could become a second line
or a second field is refused, never replaced. This file knows neither endpoints nor how a file is sent.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from .errors import InvalidRequest, unseen
from .text import (
    CAMPAIGN,
    DIAL_STRING,
    FREE_TEXT,
    OPTIONAL_DIAL_STRING,
    PAIRS,
    Rules,
    TextFormat,
    WholeNumber,
    dialled,
    mask_phone,
    printable,
)

__all__ = [
    "FILE_CONTENT",
    "FILE_NAME",
    "LIST_PRIORITY",
    "USER_NAME",
    "Kind",
    "ListRow",
    "TypedNumber",
    "decode_file",
    "decode_row",
    "encode_row",
    "number_text",
    "plain_number",
    "read_number",
]

Kind = Literal["M", "W", "H", "P", "U"]
"""Of a number: mobile, work, home, priority (called first), unknown (called last)."""

_RETRIES = WholeNumber(0, 9999)
LIST_PRIORITY = WholeNumber(1, 9999, ", the lowest")
_KINDS = frozenset("MWHPU")
_MAIN_KINDS = frozenset("MWH")
_FILE_NAME = re.compile(r"(?![Rr])[A-Za-z0-9_-]{1,50}\.csv")
# A multiple of three bytes is whole base64: the pieces can be joined.
_PIECE = 49_152
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


class TypedNumber(msgspec.Struct, frozen=True, kw_only=True):
    """A number of a known kind, and how often the dialer has tried it; its ``repr`` hides the number."""

    kind: Kind
    number: str
    retries: int = 0

    def __repr__(self) -> str:
        return f"TypedNumber(kind={self.kind!r}, number={mask_phone(str(self.number))!r}, retries={self.retries!r})"


class ListRow(msgspec.Struct, frozen=True, kw_only=True):
    """One contact of a dialer's list; its ``repr`` hides numbers and form data.

    ``destination`` may be typed M, W or H, ``alternatives`` any kind. ``campaign`` is the full name with its arrow;
    empty, it is the one that the file is uploaded to. ``priority`` is 1 (first) to 9999 (last); equal ones are dialled
    in any order. ``agentphone`` is for progressive dialers only.
    """

    destination: str | TypedNumber
    campaign: str = ""
    data: Mapping[str, str] = {}
    alternatives: Sequence[str | TypedNumber] = ()
    priority: int = 9999
    agentphone: str = ""

    def __post_init__(self) -> None:
        """Keep snapshots of what could change afterwards; idempotent, for it runs again on every copy."""
        msgspec.structs.force_setattr(self, "data", PAIRS.snapshot(self.data, "data"))
        numbers = self.alternatives
        # A str is a sequence too: "099" would become the three numbers 0, 9 and 9. A set has no order.
        if isinstance(numbers, str | bytes | Mapping | set | frozenset) or not isinstance(numbers, Iterable):
            raise InvalidRequest("alternatives", f"expected a list of numbers, got {type(numbers).__name__}")
        msgspec.structs.force_setattr(self, "alternatives", tuple(numbers))

    def __repr__(self) -> str:
        numbers = [mask_phone(number) if isinstance(number, str) else number for number in self.alternatives]
        destination = self.destination
        return (
            f"ListRow(destination={mask_phone(destination) if isinstance(destination, str) else destination!r}, "
            f"campaign={self.campaign!r}, data={PAIRS.mask(self.data)}, alternatives={numbers}, "
            f"priority={self.priority!r}, agentphone={mask_phone(str(self.agentphone))!r})"
        )


@unseen
def encode_row(row: ListRow, rules: Rules, *, campaign: str = "") -> str:
    """Return the line of ``row``, without a line end; raise :class:`InvalidRequest` naming the field.

    ``campaign`` stands for one that is empty.
    """
    fields = (
        _encode(CAMPAIGN, row.campaign or campaign, "campaign", rules),
        _encode_number(row.destination, "destination", _MAIN_KINDS, rules),
        _encode(PAIRS, row.data, "data", rules),
        ":".join([_encode_number(number, "alternatives", _KINDS, rules) for number in row.alternatives]),
        str(_encode(LIST_PRIORITY, row.priority, "priority", rules)),
    )
    agentphone = _encode(OPTIONAL_DIAL_STRING, row.agentphone, "agentphone", rules)
    numbers = [plain_number(number) for number in (row.destination, *row.alternatives)]
    if numbers[0] in numbers[1:]:
        raise InvalidRequest("alternatives", "holds the destination itself; the dialer would call it twice")
    if len(set(numbers)) != len(numbers):
        raise InvalidRequest("alternatives", "names the same number twice; keep one")
    return ";".join((*fields, agentphone) if agentphone else fields)


def _encode(format_: TextFormat[Any], value: Any, field: str, rules: Rules) -> Any:
    try:
        return format_.encode(value, field, rules)
    except (TypeError, AttributeError):
        raise InvalidRequest(field, f"expected {format_.expects}, got {type(value).__name__}") from None


def _encode_number(number: str | TypedNumber, field: str, kinds: frozenset[str], rules: Rules) -> str:
    if not isinstance(number, TypedNumber):
        return cast("str", _encode(DIAL_STRING, number, field, rules))
    if number.kind not in kinds:
        known = " ".join(kind for kind in "MWHPU" if kind in kinds)
        raise InvalidRequest(field, f"{printable(str(number.kind), 8)!r} is no kind that is allowed here: {known}")
    _encode(DIAL_STRING, number.number, field, rules)
    _encode(_RETRIES, number.retries, field, rules)
    return number_text(number)


def number_text(number: str | TypedNumber) -> str:
    """Return ``number`` as a file has it; it is not checked."""
    return number if isinstance(number, str) else f"{number.kind}={number.retries}={number.number}"


def plain_number(number: str | TypedNumber) -> str:
    """Return what is dialled: without kind and retries, and without ``-``."""
    return dialled(number.number if isinstance(number, TypedNumber) else number)


def read_number(text: str, field: str) -> str | TypedNumber:
    """Read ``099123456`` or ``M=0=099123456``, the number itself unchecked; refuse any other text with ``=``."""
    if "=" not in text:
        return text
    kind, _, rest = text.partition("=")
    retries, equals, number = rest.partition("=")
    if kind not in _KINDS or not equals or not (retries.isascii() and retries.isdecimal()):
        raise InvalidRequest(field, "is not a typed number; write kind=retries=number, such as M=0=099123456")
    if len(retries) > 4:
        raise InvalidRequest(field, "has more than 9999 retries")
    return TypedNumber(kind=cast("Kind", kind), number=number, retries=int(retries))


def decode_row(line: str) -> ListRow:
    """Read a line as :func:`encode_row` writes it; raise :class:`InvalidRequest` for one that no server can use.

    A campaign without its arrow and parameters written carelessly are taken as they are.
    """
    fields = line.split(";")
    if len(fields) == 5:
        fields.append("")
    if len(fields) != 6:
        raise InvalidRequest("row", f"has {len(fields)} fields, not campaign;phone;params;alternatives;priority")
    campaign, destination, data, alternatives, priority, agentphone = fields
    if not (priority.isascii() and priority.isdecimal() and len(priority) <= 4):
        raise InvalidRequest("priority", "is not a whole number from 1 to 9999")
    row = ListRow(
        campaign=campaign,
        destination=read_number(destination, "destination"),
        data=PAIRS.decode(data, _LENIENT),
        alternatives=[read_number(number, "alternatives") for number in alternatives.split(":") if number],
        priority=int(priority),
        agentphone=agentphone,
    )
    encode_row(msgspec.structs.replace(row, data={}), _LENIENT)
    return row


_LENIENT = Rules(campaign_arrows=False)


def decode_file(content: bytes) -> tuple[list[ListRow], int]:
    """Return the rows of a file, and how many lines were no rows; UTF-8, or else Windows-1252. Never fails."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    rows, dropped = [], 0
    for line in text.split("\n"):
        if not (line := line.removesuffix("\r")):
            continue
        try:
            rows.append(decode_row(line))
        except InvalidRequest:
            dropped += 1
    return rows, dropped


class FileName(TextFormat[str]):
    """The name of a list file, which names the list: ``[A-Za-z0-9_-]{1,50}.csv``, not beginning with R."""

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if not _FILE_NAME.fullmatch(value):
            raise InvalidRequest(
                field,
                f"{printable(value)!r} is no list file's name: 1 to 50 of A-Z a-z 0-9 _ -, the first not R, and .csv",
            )
        return value

    def decode(self, text: Any, rules: Rules) -> str:
        return str(text)


class FileContent(TextFormat[bytes]):
    """The bytes of a file as base64; encoded they are ready for the form, for a file is too large for copies."""

    expects = "the bytes of the file"

    def encode(self, value: bytes, field: str, rules: Rules) -> bytes:
        """Return base64 whose ``+ / =`` are percent-encoded: bytes that no form encoder touches any more."""
        if not isinstance(value, bytes):
            raise TypeError
        if not value:
            raise InvalidRequest(field, "is empty; a list has a row at least")
        return b"".join([_percent_base64(value[start : start + _PIECE]) for start in range(0, len(value), _PIECE)])

    def decode(self, text: Any, rules: Rules) -> bytes:
        """Read base64 as a lenient server does: what is no base64 is skipped, a cut end is left out. Never fails."""
        plain = _NOT_BASE64.sub(b"", str(text).encode("ascii", "ignore"))
        return binascii.a2b_base64(plain[: len(plain) // 4 * 4 + _WHOLE[len(plain) % 4]] + b"==")

    def mask(self, value: bytes) -> bytes:
        return b"***"


# Of the characters after the last whole group of four, those that hold a whole byte.
_WHOLE = (0, 0, 2, 3)


def _percent_base64(piece: bytes) -> bytes:
    text = binascii.b2a_base64(piece, newline=False)
    return text.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")


class UserName(TextFormat["str | None"]):
    """The user in whose name something is done; ``None`` is the user of the client."""

    def encode(self, value: str | None, field: str, rules: Rules) -> str:
        if value is None:
            value = rules.user
        if value is None:
            raise InvalidRequest(field, "is not known: the client has a token and no user; give username")
        return FREE_TEXT.encode(value, field, rules)

    def decode(self, text: Any, rules: Rules) -> str:
        return str(text)


FILE_NAME = FileName()
FILE_CONTENT = FileContent()
USER_NAME = UserName()
