"""The portal's call object (CTI) as a value: its PascalCase texts turned into our types, and back.

It does not know how the object travels, nor what is done with the call (``protocol.md`` 6.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from ..errors import InvalidRequest, unseen
from ..text import COUNT, FLAG, FREE_TEXT, GUID, OPTIONAL_DIAL_STRING, PAIRS, PHONE_LIST, PRIVATE_TEXT, Rules
from ..wire import fields_of, masked

__all__ = ["CtiCall"]

_RULES = Rules()
_DIALER = ("destination", "alternatives", "dialerbase", "contact", "retries", "priority", "agentphone")


class CtiCall(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The call that an agent has, as the portal tells it (``protocol.md`` 6.2).

    ``channel`` is empty for a telephone call; the ``callerid`` of a chat may be a name. ``destination`` and all below
    it are those of a call that a dialer made; of any other, ``dialerbase`` is empty.
    ``Respool.from_cti(call.to_cti())`` is the next request for its contact.
    """

    guid: Annotated[str, GUID]
    campaign: Annotated[str, FREE_TEXT]
    callerid: Annotated[str, PRIVATE_TEXT] = ""
    data: Annotated[Mapping[str, str], PAIRS] = msgspec.field(name="ParAndValues", default_factory=dict)
    form: Annotated[str, FREE_TEXT] = ""
    channel: Annotated[str, FREE_TEXT] = ""
    screen: Annotated[bool, FLAG] = False
    beep: Annotated[bool, FLAG] = False
    answer: Annotated[bool, FLAG] = False
    destination: Annotated[str, OPTIONAL_DIAL_STRING] = ""
    alternatives: Annotated[Sequence[str], PHONE_LIST] = ()
    dialerbase: Annotated[str, FREE_TEXT] = ""
    contact: Annotated[int, COUNT] = 0
    retries: Annotated[int, COUNT] = 0
    priority: Annotated[int, COUNT] = 9999
    agentphone: Annotated[str, OPTIONAL_DIAL_STRING] = ""

    @classmethod
    @unseen
    def read(cls, cti: str | bytes | Mapping[str, Any]) -> CtiCall:
        """Read the object as the portal gives it: JSON text or a mapping, its keys in any case, its values texts.

        It comes through a browser: every value is checked. Keys that nobody has documented are left out. Raises
        :class:`InvalidRequest` naming the field.
        """
        call = _opened(cti)
        given = {}
        for field in fields_of(cls):
            name = field.wire_name.lower()
            value = call.get("data") if name == "parandvalues" and name not in call else call.get(name)
            if value is not None and (value != "" or field.required):
                given[field.name] = _checked(field.name, field.format, value)
            elif field.required:
                raise InvalidRequest(field.name, f"the call object has no key {field.wire_name!r}; is there a call?")
        return cls(**given)

    def to_cti(self) -> dict[str, str]:
        """Return the object as the portal gives it; a dialer's keys only for a call that a dialer made."""
        texts = {"Status": "1"} if self.dialerbase else {}
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if (field.name in _DIALER and not self.dialerbase) or (field.name == "channel" and not value):
                continue
            if field.name == "data":
                value = ":".join(f"{name}={item}" for name, item in value.items())
            elif field.name == "alternatives":
                value = ":".join(value)
            texts[field.wire_name] = str(value).upper() if isinstance(value, bool) else str(value)
        return texts

    def __repr__(self) -> str:
        return f"CtiCall({', '.join(f'{name}={value!r}' for name, value in masked(self).items())})"


def _opened(cti: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(cti, str | bytes):
        try:
            cti = msgspec.json.decode(cti)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise InvalidRequest("cti", "is not the JSON text of a call object") from None
    if not isinstance(cti, Mapping):
        raise InvalidRequest("cti", f"is not a call object but {type(cti).__name__}")
    return {str(key).lower(): value for key, value in cti.items()}


def _checked(name: str, format_: Any, value: Any) -> Any:
    if isinstance(value, str) and name in ("contact", "retries", "priority") and not value.strip().isdecimal():
        raise InvalidRequest(name, "the call object holds no whole number there")
    try:
        read = format_.decode(value, _RULES)
        # Pairs and alternatives may hold what we would not send; that is asked when they are sent.
        return read if name in ("data", "alternatives") else format_.encode(read, name, _RULES)
    except (ValueError, TypeError):
        raise InvalidRequest(name, f"the call object holds a {type(value).__name__} that cannot be read") from None
