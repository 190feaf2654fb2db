"""What the page posts back to the service: read, and refused if it comes from elsewhere.

It comes through a browser, so everything in it is what a user typed until it has been looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ..errors import InvalidRequest, unseen
from ..wire import COMMAND_LIMIT
from .actions import ACTIONS, Action, CtiReply, GuidReply, read_reply
from .page import browser_origin

__all__ = ["Result", "check_same_origin", "read_result"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an action, as the agent's browser tells it.

    ``answered``: ``reply`` is the portal's. ``posted``: the portal was told; for this action no answer is documented.
    ``unanswered``: it was told and did not answer in time, so it may have happened: do not offer it again without a
    look. An answer that comes later is a second result.
    """

    action: type[Action]
    outcome: Literal["answered", "posted", "unanswered"]
    reply: GuidReply | CtiReply | None = None


class _Posted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    action: str
    outcome: Literal["answered", "posted", "unanswered"]
    data: Any = None


@unseen
def read_result(body: bytes, headers: Mapping[str, str], *, origin: str) -> Result:
    """Read the ``body`` of a POST to ``result_path`` with its ``headers`` (names in any case).

    ``origin`` is where this service is, as the agent's browser writes it: ``https://forms.acme.example``. Raises
    :class:`InvalidRequest`; its field is ``origin`` where the request does not come from a page of this service.
    """
    check_same_origin(headers, origin)
    if len(body) > COMMAND_LIMIT:
        raise InvalidRequest("body", f"is larger than {COMMAND_LIMIT} bytes")
    try:
        posted = msgspec.json.decode(body, type=_Posted)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise InvalidRequest("body", "is not what bridge.js posts") from None
    action = ACTIONS.get(posted.action)
    if action is None:
        raise InvalidRequest("action", "is none of the seven of the page")
    # What is answered without an answer, or posted although there is one, was not written by bridge.js.
    if posted.outcome == "answered":
        return Result(action=action, outcome="answered", reply=read_reply(action, posted.data))
    if (posted.outcome == "posted") != (action.answer is None) or posted.data is not None:
        raise InvalidRequest("outcome", "is none that this action has")
    return Result(action=action, outcome=posted.outcome)


def check_same_origin(headers: Mapping[str, str], origin: str) -> None:
    """Raise :class:`InvalidRequest` unless a script of a page at ``origin`` sent these ``headers`` with JSON."""
    given = {name.lower(): value for name, value in headers.items()}
    # Browsers of before 2023 may lack Sec-Fetch-Site; all send Origin with a POST.
    if given.get("origin") != browser_origin(origin) or given.get("sec-fetch-site", "same-origin") != "same-origin":
        raise InvalidRequest("origin", "the request does not come from a page of this service")
    # A form of another site cannot send this type.
    if given.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidRequest("origin", "the request was not sent by bridge.js")
