"""The API's small text formats: written, read and refused here and nowhere else.

The formats have no escape characters (``protocol.md`` 2.7), so a value that holds a separator is refused,
never replaced. This file knows neither endpoints nor HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from .errors import InvalidRequest, escaped
from .local_time import format_timestamp, local_text

if TYPE_CHECKING:
    from datetime import tzinfo

__all__ = [
    "ANY_CAMPAIGN",
    "CAMPAIGN",
    "CAMPAIGN_OR_ALL",
    "COUNT",
    "DIAL_STRING",
    "FLAG",
    "FREE_TEXT",
    "GUID",
    "JSON_OBJECT",
    "NAME",
    "OPTIONAL_CAMPAIGN",
    "OPTIONAL_DIAL_STRING",
    "OPTIONAL_TIMESTAMP",
    "PAIRS",
    "PHONE_LIST",
    "PRIORITY",
    "PRIVATE_TEXT",
    "SECRET",
    "TIMESTAMP",
    "Rules",
    "TextFormat",
    "dialled",
    "mask_phone",
    "parse_timestamp",
    "printable",
    "quoted",
]

T = TypeVar("T")

# Line breaks in every disguise, NUL, other control characters and lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BREAK = re.compile("[;\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SEPARATOR = re.compile("[:=;\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DIAL = re.compile(r"[0-9*#+-]{2,24}")
_DIALS = re.compile(rf"{_DIAL.pattern}(?::{_DIAL.pattern})*")
_LAST_DIGITS = re.compile(r"(?:\d\D*){1,4}\Z")
_GUID = re.compile(r"[A-Za-z0-9-]{8,64}")
_NAME = re.compile(r"[\w .<>@+-]{1,80}")
_CAMPAIGN = re.compile(r"[\w .-]{1,78}(?:<-|->)")
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[ T](\d{2}):(\d{2})(?::(\d{2})(?:\.0+)?)?\s*(Z|[+-]\d{2}:?\d{2}(?::?\d{2})?)?"
)


class Rules:
    """What the text formats need to know of one server: time zone, whether campaigns carry arrows, and who we are."""

    __slots__ = ("campaign_arrows", "user", "zone")

    def __init__(self, zone: tzinfo | None = None, *, campaign_arrows: bool = True, user: str | None = None) -> None:
        """``zone`` is the server's; without one no date can be written. ``user`` fills a user name not given."""
        self.zone = zone
        self.campaign_arrows = campaign_arrows
        self.user = user


def mask_phone(number: str) -> str:
    """Return ``number`` with its last four digits hidden: ``098344484`` becomes ``09834****``."""
    if len(number) <= 4:
        return "****"
    digits = _LAST_DIGITS.search(number)
    cut = len(number) - 4 if digits is None else min(digits.start(), len(number) - 4)
    return number[:cut] + "*" * (len(number) - cut)


def printable(text: str, limit: int = 64) -> str:
    """Return ``text`` cut to ``limit`` characters, with everything that could forge a log line escaped."""
    return escaped(text[:limit]) + ("..." if len(text) > limit else "")


def quoted(name: str) -> str:
    """Quote a name for an error; what has no letter may be a telephone number in the wrong column."""
    return repr(printable(name)) if any(character.isalpha() for character in name) else repr(mask_phone(name))


class TextFormat(Generic[T]):
    """How one kind of value is written on the wire and read back."""

    expects = "text"
    """What a value of this kind is, for the error that a wrong type gets."""

    few = False
    """Whether the requests of a run share a few values, all of them text: these are then checked once."""

    snapshot: Callable[[Any, str], Any] | None = None
    """Given for values that could change after the request was built: returns a copy of its own."""

    fixed: type | None = None
    """The type of which such a value is its own snapshot."""

    def __repr__(self) -> str:
        return type(self).__name__

    def encode(self, value: T, field: str, rules: Rules) -> Any:
        """Return what goes into the form or the JSON argument, or raise :class:`InvalidRequest`."""
        raise NotImplementedError

    def decode(self, text: Any, rules: Rules) -> T:
        """Read what :meth:`encode` writes; raise ``ValueError`` on anything else."""
        raise NotImplementedError

    def mask(self, value: T) -> T:
        """Return ``value`` with personal data hidden, in a form that :meth:`encode` still takes."""
        return value


class WholeNumber(TextFormat[int]):
    """A whole number from ``least`` to ``most``."""

    expects = "a whole number"

    def __init__(self, least: int, most: int, hint: str = "") -> None:
        self._least = least
        self._most = most
        self._hint = hint

    def encode(self, value: int, field: str, rules: Rules) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError
        if not self._least <= value <= self._most:
            raise InvalidRequest(field, f"{value} is not from {self._least} to {self._most}{self._hint}")
        return value

    def decode(self, text: Any, rules: Rules) -> int:
        return int(_text(text))


class Flag(TextFormat[bool]):
    """A JSON boolean."""

    expects = "True or False"

    def encode(self, value: bool, field: str, rules: Rules) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value

    def decode(self, text: Any, rules: Rules) -> bool:
        if isinstance(text, bool):
            return text
        known = {"true": True, "1": True, "false": False, "0": False, "": False}
        if (word := _text(text).lower()) not in known:
            raise ValueError("expected true or false")
        return known[word]


class _Line(TextFormat[str]):
    """Text that is sent as it is."""

    def decode(self, text: Any, rules: Rules) -> str:
        return _text(text)


class Hidden(_Line):
    """A secret: any text, sent as it is, never shown."""

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if _SURROGATE.search(value):  # yarl would leave it out without a word
            raise InvalidRequest(field, "holds half a character (a lone surrogate); read it as UTF-8")
        return value

    def mask(self, value: str) -> str:
        return "***"


class FreeText(_Line):
    """Any text on one line; ``private`` text, such as a note on a customer, is never shown."""

    def __init__(self, *, private: bool = False) -> None:
        self._private = private

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if _UNSAFE.search(value):
            raise InvalidRequest(field, "holds a line break or a control character; remove it")
        return value

    def mask(self, value: str) -> str:
        return "***" if self._private and value else value


class Name(_Line):
    """The name of an agent, a list or a context: letters, digits, blank and ``. < > - _ @ +``; may be empty."""

    few = True

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if value != "" and not _NAME.fullmatch(value):
            raise InvalidRequest(
                field, f"{quoted(value)} is not a name (up to 80 letters, digits, blanks and . < > - _ @ +)"
            )
        return value

    def mask(self, value: str) -> str:
        return _mask_name(value)


class CallGuid(_Line):
    """What names a call: 8 to 64 letters, digits and ``-``; it becomes part of a path (``reliability.md`` S7)."""

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if not _GUID.fullmatch(value):
            raise InvalidRequest(field, f"{quoted(value)} names no call (8 to 64 letters, digits and -)")
        return value


class DialString(_Line):
    """A number to dial: 2 to 24 of ``0-9 * # + -``. Other characters can add a call leg (``reliability.md`` S6)."""

    def __init__(self, *, optional: bool) -> None:
        self._optional = self.few = optional

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if _DIAL.fullmatch(value) or (self._optional and not value):
            return value
        if not value:
            raise InvalidRequest(field, "is empty; give the number to dial")
        strange = sorted(set(_DIAL_STRANGE.findall(value)))
        what = f"has {printable(' '.join(map(repr, strange)))}" if strange else f"has {len(value)} characters"
        raise InvalidRequest(field, f"{what}; a number to dial is 2 to 24 of the characters 0-9 * # + -")

    def mask(self, value: str) -> str:
        return _masked(value)


def dialled(number: str) -> str:
    """Return what is dialled of ``number``: a - is not, and so hides nothing that comes after it."""
    return number.replace("-", "")


def _masked(number: str) -> str:
    # All of it where it is none: there may be two in it, or a name.
    return mask_phone(number) if _DIAL.fullmatch(number) else "***" if number else number


def _mask_name(name: str) -> str:  # digits without a letter may be a number in the wrong column
    return name if any(map(str.isalpha, name)) else re.sub(r"\d(?=\D*(?:\d\D*){0,3}\Z)", "-", name)


def _sound(text: str) -> bool:
    # What can be printed, as nearly all can, holds no break: a tenth of what looking for one takes.
    return ";" not in text if text.isprintable() else not _BREAK.search(text)


_DIAL_STRANGE = re.compile(r"[^0-9*#+-]")


class Campaign(_Line):
    """A campaign with its arrow: ``<-`` inbound, ``->`` outbound (``protocol.md`` 0.5)."""

    few = True

    def __init__(self, *, arrow: bool, all_: bool = False, optional: bool = False) -> None:
        self._arrow = arrow
        self._all = all_
        self._optional = optional

    def encode(self, value: str, field: str, rules: Rules) -> str:
        if _CAMPAIGN.fullmatch(value) or (self._all and value == "*") or (self._optional and not value):
            return value
        if not value:
            raise InvalidRequest(field, "is empty; give the campaign with its arrow, such as 'Ventas->'")
        if not _NAME.fullmatch(value):
            raise InvalidRequest(field, f"{quoted(value)} holds characters that no campaign name has")
        if self._arrow and rules.campaign_arrows:
            raise InvalidRequest(
                field, f"{quoted(value)} lacks its arrow; end it in -> (outbound) or <- (inbound), such as 'Ventas->'"
            )
        return value

    def mask(self, value: str) -> str:
        return _mask_name(value)


class Pairs(TextFormat[Mapping[str, str]]):
    """Parameters for the agent's form: ``Par1=Val1:Par2=Val2`` (``protocol.md`` 2.5)."""

    expects = "a mapping of text to text"

    @staticmethod
    def snapshot(value: Any, field: str) -> Mapping[str, str]:
        if type(value) is dict:  # asking an abstract class takes a while
            return value.copy()
        if not isinstance(value, Mapping):
            raise InvalidRequest(field, f"expected a mapping of text to text, got {type(value).__name__}")
        return dict(value)

    def encode(self, value: Mapping[str, str], field: str, rules: Rules) -> str:
        try:
            text = ":".join(map("=".join, value.items()))
        except TypeError:
            text = ""
        # As many separators as we put there, and no name is empty: then no pair for itself need be looked at.
        separators = (text.count("="), text.count(":") + 1)
        if separators == (len(value), len(value)) and "" not in value and _sound(text):
            return text
        for name, item in value.items():
            if not name or _SEPARATOR.search(name):
                raise InvalidRequest(f"{field}.{printable(name)}", "a name is not empty and has no : = ; or line break")
            if not isinstance(item, str):
                raise InvalidRequest(f"{field}.{printable(name)}", f"expected text, got {type(item).__name__}")
            if _SEPARATOR.search(item):
                raise InvalidRequest(
                    f"{field}.{printable(name)}",
                    "holds one of : = ; or a line break, which the API cannot escape; replace it first",
                )
        return ":".join([f"{name}={item}" for name, item in value.items()])

    def decode(self, text: Any, rules: Rules) -> Mapping[str, str]:
        pairs: dict[str, str] = {}
        for pair in _text(text).split(":"):
            name, _, item = pair.partition("=")
            if name:
                pairs[name] = item
        return pairs

    def mask(self, value: Mapping[str, str]) -> Mapping[str, str]:
        return dict.fromkeys(value, "***")


class PhoneList(TextFormat[Sequence[str]]):
    """Alternative numbers, ``:`` between them (``protocol.md`` 2.5)."""

    expects = "a sequence of numbers as text"
    fixed = tuple

    @staticmethod
    def snapshot(value: Any, field: str) -> Sequence[str]:
        # A str is a sequence too: "099" would go out as the three numbers 0, 9 and 9.
        # A set has another order in every process, and so the row another key: a resumed run would send it again.
        if isinstance(value, str | bytes | Mapping | set | frozenset) or not isinstance(value, Iterable):
            raise InvalidRequest(field, f"expected a list of numbers as text, got {type(value).__name__}")
        return tuple(value)

    def encode(self, value: Sequence[str], field: str, rules: Rules) -> str:
        if not value:
            return ""
        text = ":".join(value)
        # As many separators as we put there: then no number for itself need be looked at.
        if text.count(":") >= len(value) or not _DIALS.fullmatch(text):
            for number in value:
                DIAL_STRING.encode(number, field, rules)
        if len(set(value)) != len(value):
            raise InvalidRequest(field, "names the same number twice; keep one")
        return text

    def decode(self, text: Any, rules: Rules) -> Sequence[str]:
        return tuple(number for number in _text(text).split(":") if number)

    def mask(self, value: Sequence[str]) -> Sequence[str]:
        # Distinct numbers may look alike once masked; the index keeps them apart for the rule above.
        return tuple(_masked(number)[: -len(str(index))] + str(index) for index, number in enumerate(value, 1))


class JsonObject(TextFormat[Mapping[str, Any]]):
    """An object, written as the text of its JSON (``protocol.md`` 2.3). What JSON does not carry exactly is refused."""

    expects = "a mapping"

    @staticmethod
    def snapshot(value: Any, field: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise InvalidRequest(field, f"expected a mapping, got {type(value).__name__}")
        plain = dict(value)
        kept: Mapping[str, Any] | None = None
        try:
            kept = msgspec.json.decode(msgspec.json.encode(plain))
            exact = kept == plain  # NaN has become null; a date, or a number that was a name, has become text
        except (TypeError, ValueError, OverflowError, RecursionError):
            exact = False
        if kept is None or not exact:
            raise InvalidRequest(field, "holds what JSON does not carry as it is; give text, numbers, lists, mappings")
        return kept

    def encode(self, value: Mapping[str, Any], field: str, rules: Rules) -> str:
        if not isinstance(value, Mapping):
            raise TypeError
        try:
            return msgspec.json.encode(value).decode()
        except RecursionError:  # built where the stack was shallow
            raise InvalidRequest(field, "is nested too deeply") from None

    def decode(self, text: Any, rules: Rules) -> Mapping[str, Any]:
        try:
            return self.snapshot(msgspec.json.decode(_text(text) or "{}"), "")
        except (InvalidRequest, RecursionError):
            raise ValueError("expected a JSON object") from None

    def mask(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return dict.fromkeys(value, "***")


class Timestamp(TextFormat["datetime | None"]):
    """A moment as the server's local ``YYYY-MM-DD HH:MM:SS``, without a zone (``protocol.md`` 0.13)."""

    expects = "a datetime"

    def __init__(self, *, optional: bool) -> None:
        self._optional = optional

    def encode(self, value: datetime | None, field: str, rules: Rules) -> str | None:
        if value is None:
            if self._optional:
                return None
            raise InvalidRequest(field, "is missing; give a date and time")
        if not isinstance(value, datetime):
            raise TypeError
        try:
            if rules.zone is not None and (text := local_text(value, rules.zone)) is not None:
                return text
            return format_timestamp(value, field, rules.zone)
        except (ValueError, OverflowError):
            raise InvalidRequest(field, "is not a date that can be written in the server's time zone") from None

    def decode(self, text: Any, rules: Rules) -> datetime | None:
        if self._optional and (text is None or text == ""):
            return None
        moment = parse_timestamp(_text(text))
        if moment is None:
            raise ValueError("expected YYYY-MM-DD HH:MM:SS")
        if moment.tzinfo is None and rules.zone is not None:
            return moment.replace(tzinfo=rules.zone)
        return moment


def parse_timestamp(text: str) -> datetime | None:
    """Read ``YYYY-MM-DD HH:MM[:SS]``, blank or T between, with or without an offset; ``None`` for anything else."""
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, offset = match.groups()
    try:
        plain = f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{offset or ''}"
        return datetime.fromisoformat(plain)
    except ValueError:
        return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        raise ValueError(f"expected text, got {type(value).__name__}")
    return str(value)


FREE_TEXT = FreeText()
PRIVATE_TEXT = FreeText(private=True)
FLAG = Flag()
SECRET = Hidden()
COUNT = WholeNumber(0, 2**31 - 1)
PRIORITY = WholeNumber(2, 9999, ", the lowest; 1 is reserved for scheduled calls")
NAME = Name()
GUID = CallGuid()
DIAL_STRING = DialString(optional=False)
OPTIONAL_DIAL_STRING = DialString(optional=True)
CAMPAIGN = Campaign(arrow=True)
OPTIONAL_CAMPAIGN = Campaign(arrow=True, optional=True)
ANY_CAMPAIGN = Campaign(arrow=False)
CAMPAIGN_OR_ALL = Campaign(arrow=False, all_=True)
PAIRS = Pairs()
PHONE_LIST = PhoneList()
JSON_OBJECT = JsonObject()
TIMESTAMP = Timestamp(optional=False)
OPTIONAL_TIMESTAMP = Timestamp(optional=True)
