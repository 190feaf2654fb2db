"""The seven actions of the page's "via Proxy" samples, their replies, and the envelope that both travel in.

Sources: ``protocol.md`` 6.1 and Porthole 1.0.0, whose envelope it is. It knows neither browsers nor markup.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from ..api.dialers import Dialers, Respool
from ..errors import InvalidRequest, unseen
from ..text import (
    CAMPAIGN,
    DIAL_STRING,
    GUID,
    OPTIONAL_DIAL_STRING,
    PRIVATE_TEXT,
    TIMESTAMP,
    Rules,
    TextFormat,
)
from ..wire import fields_of, masked
from .cti import CtiCall

__all__ = [
    "ACTIONS",
    "Action",
    "CallAction",
    "CallWithPhoneAction",
    "CtiAction",
    "CtiReply",
    "Envelope",
    "GuidReply",
    "HangUpAction",
    "RespoolAction",
    "ScheduleAction",
    "TagAction",
    "action_fields",
    "read_action",
    "read_reply",
]


class RespoolObject(TextFormat[Respool]):
    """The page's "Objeto Respool" (``protocol.md`` 2.5): the JSON object that the endpoint Respool takes."""

    expects = "a Respool"

    def encode(self, value: Respool, field: str, rules: Rules) -> dict[str, Any]:
        if not isinstance(value, Respool):
            raise TypeError
        document: dict[str, Any] = msgspec.json.decode(Dialers.respool.prepare(value, rules).document)
        return document

    def decode(self, text: Any, rules: Rules) -> Respool:
        respool: Respool = Dialers.respool.codec.read(msgspec.json.encode(text).decode(), rules)
        return respool


_RESPOOL = RespoolObject()


class Action(msgspec.Struct, frozen=True, kw_only=True, tag_field="action"):
    """What a page asks the agent portal to do, as the agent who is logged in there. Its ``repr`` hides numbers."""

    answer: ClassVar[Literal["guid", "CTI"] | None] = None
    """What the portal answers with; ``None`` where no answer is documented."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in masked(self).items())})"


class CallAction(Action, frozen=True, kw_only=True, tag="call"):
    """Call ``destination`` for ``campaign``; the customer sees ``callerid``. Answered with the call's GUID."""

    answer: ClassVar[Literal["guid"]] = "guid"
    campaign: Annotated[str, CAMPAIGN]
    callerid: Annotated[str, OPTIONAL_DIAL_STRING] = ""
    destination: Annotated[str, DIAL_STRING]


class CallWithPhoneAction(Action, frozen=True, kw_only=True, tag="callWithPhone"):
    """Call ``destination`` for ``campaign`` with the agent's own phone. Answered with the call's GUID."""

    answer: ClassVar[Literal["guid"]] = "guid"
    destination: Annotated[str, DIAL_STRING]
    campaign: Annotated[str, CAMPAIGN]


class HangUpAction(Action, frozen=True, kw_only=True, tag="hangup"):
    """Hang up the agent's call."""


class TagAction(Action, frozen=True, kw_only=True, tag="tag"):
    """Put the text ``message`` on the call ``guid``, to search its recording for."""

    guid: Annotated[str, GUID]
    message: Annotated[str, PRIVATE_TEXT]


class CtiAction(Action, frozen=True, kw_only=True, tag="CTI"):
    """Ask which call the agent has. Answered with a :class:`CtiCall`."""

    answer: ClassVar[Literal["CTI"]] = "CTI"


class RespoolAction(Action, frozen=True, kw_only=True, tag="respool"):
    """Put a contact back on the spool: ``Respool.from_cti`` of the agent's call."""

    respool: Annotated[Respool, _RESPOOL] = msgspec.field(name="objetoRespool")


class ScheduleAction(Action, frozen=True, kw_only=True, tag="schedule"):
    """Call a contact at ``call_date``, as :class:`ScheduledCall` has it; ``None`` only where the agent types it in.

    The page takes a whole Respool object for the contact.
    """

    call_date: Annotated[datetime | None, TIMESTAMP] = msgspec.field(name="callDate", default=None)
    respool: Annotated[Respool, _RESPOOL] = msgspec.field(name="objectDialer")


ACTIONS: dict[Any, type[Action]] = {
    action.__struct_config__.tag: action
    for action in (
        CallAction,
        CallWithPhoneAction,
        HangUpAction,
        TagAction,
        CtiAction,
        RespoolAction,
        ScheduleAction,
    )
}
"""The seven, by what the page calls them."""


def action_fields(action: Action, rules: Rules | None = None, *, typed: Collection[str] = ()) -> dict[str, Any]:
    """Return the object that a page posts for ``action``, ready for JSON.

    ``rules`` have the server's time zone, which a ``call_date`` needs: ``uc.rules`` of a client. The fields named in
    ``typed`` may be empty: the agent types them in. Raises :class:`InvalidRequest` naming the field.
    """
    values: dict[str, Any] = {"action": action.__struct_config__.tag}
    for field in fields_of(type(action)):
        value = getattr(action, field.name)
        if field.name in typed and value in ("", None):
            values[field.wire_name] = ""
            continue
        try:
            values[field.wire_name] = field.format.encode(value, field.name, rules or Rules())
        except (TypeError, AttributeError):
            expected = f"expected {field.format.expects}, got {type(value).__name__}"
            raise InvalidRequest(field.name, expected) from None
    return values


@unseen
def read_action(fields: Any, rules: Rules | None = None) -> Action:
    """Return the action that a page has posted as the object ``fields``; :class:`InvalidRequest` for anything else."""
    if not isinstance(fields, Mapping) or not isinstance(fields.get("action"), str):
        raise InvalidRequest("action", "is missing")
    if (kind := ACTIONS.get(fields["action"])) is None:
        raise InvalidRequest("action", "is none of the seven of the page")
    given = {}
    for field in fields_of(kind):
        if field.wire_name not in fields and field.required:
            raise InvalidRequest(field.name, f"no {field.wire_name} was posted")
        try:
            given[field.name] = field.format.decode(fields.get(field.wire_name, ""), rules or Rules())
        except (ValueError, TypeError, RecursionError):
            raise InvalidRequest(field.name, "cannot be read") from None
    return kind(**given)


class GuidReply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The portal has begun a call. The GUID comes through a browser: it says what the browser said, and no more."""

    guid: str

    def __post_init__(self) -> None:
        """Refuse what names no call: it becomes part of requests and paths."""
        GUID.encode(self.guid, "guid", Rules())


class CtiReply(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's call."""

    cti: CtiCall


@unseen
def read_reply(action: type[Action], data: Any) -> GuidReply | CtiReply:
    """Return what the portal's answer ``data`` to an ``action`` says.

    It is an object of the one key that is documented; raises :class:`InvalidRequest` for anything else, and for an
    action that has no answer.
    """
    if action.answer is None or not isinstance(data, Mapping) or set(data) != {action.answer}:
        raise InvalidRequest("reply", "is not what the portal answers to this")
    if action.answer == "CTI":
        return CtiReply(cti=CtiCall.read(data["CTI"]))
    if not isinstance(data["guid"], str):
        raise InvalidRequest("guid", "is no text")
    return GuidReply(guid=data["guid"])


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What Porthole 1.0.0 puts around everything that it posts; on the wire it is JSON text, not an object.

    ``target_origin`` ``*`` lets any page read it. Porthole hands a message on where ``source_window_name`` is the name
    of the window that it was made for.
    """

    data: Any
    source_origin: str
    target_origin: str
    source_window_name: str = ""
    target_window_name: str = ""

    def __repr__(self) -> str:
        return f"Envelope({self.source_origin} to {self.target_origin})"

    def write(self) -> str:
        """Return the text that is posted."""
        return msgspec.json.encode(self).decode()

    @classmethod
    @unseen
    def read(cls, text: str | bytes) -> Envelope:
        """Read what :meth:`write` writes; :class:`InvalidRequest` for anything else."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise InvalidRequest("envelope", "is not one of Porthole's") from None
