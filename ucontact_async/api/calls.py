"""The vendor's section "Calls": agents' calls, dispositions, workflows and the do-not-call list.

Sources: ``protocol.md`` 2.1 to 2.4 and section 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from ..endpoint import Endpoint, EndpointGroup, Request, Safety
from ..text import (
    CAMPAIGN,
    CAMPAIGN_OR_ALL,
    DIAL_STRING,
    FREE_TEXT,
    GUID,
    JSON_OBJECT,
    NAME,
    OPTIONAL_CAMPAIGN,
    OPTIONAL_DIAL_STRING,
    OPTIONAL_TIMESTAMP,
    PRIVATE_TEXT,
)
from ..wire import DONE, OK
from ..wire import GUID as GUID_REPLY

__all__ = ["AgentCall", "AgentCallWithData", "BlockNumber", "CallWorkflow", "Calls", "Disposition", "HangUp"]


class AgentCall(Request[str], frozen=True, kw_only=True):
    """Ring an agent's phone and, once it is picked up, the customer's ("AgentCall", ``protocol.md`` 2.1).

    Returns the GUID of the call, before the customer has answered. ``outqueue`` is the outbound campaign that the call
    is accounted to, ``callerid`` the number that the customer sees. Sent once, and not at all later than 5 s after it
    was asked for; after an unknown outcome the agent's phone may be ringing.
    """

    agent: Annotated[str, NAME]
    phone: Annotated[str, DIAL_STRING]
    destination: Annotated[str, DIAL_STRING]
    outqueue: Annotated[str, CAMPAIGN]
    callerid: Annotated[str, OPTIONAL_DIAL_STRING] = ""
    tech: Annotated[str, NAME] = "SIP"
    context: Annotated[str, NAME] = "agentes"


class AgentCallWithData(Request[str], frozen=True, kw_only=True):
    """Ring an agent's phone, then the customer's, and hand ``data`` to the workflow ("AgentCallwithData").

    As :class:`AgentCall`; ``data`` is text on one line, usually a JSON (``protocol.md`` section 8).
    """

    agent: Annotated[str, NAME]
    phone: Annotated[str, DIAL_STRING]
    destination: Annotated[str, DIAL_STRING]
    outqueue: Annotated[str, CAMPAIGN]
    data: Annotated[str, PRIVATE_TEXT]
    callerid: Annotated[str, OPTIONAL_DIAL_STRING] = ""
    tech: Annotated[str, NAME] = "SIP"
    context: Annotated[str, NAME] = "agentes"


class HangUp(Request[None], frozen=True, kw_only=True):
    """Hang up whatever call a phone is in ("HungupPhone", ``protocol.md`` 2.1).

    Sent once, and not at all later than 3 s after it was asked for: a late one would end the next call.
    ``ServerProfile(hangup="HangupPhone")`` chooses the other published spelling of the endpoint.
    """

    phone: Annotated[str, DIAL_STRING]


class Disposition(Request[None], frozen=True, kw_only=True):
    """Say how a call ended ("DispositionCall", ``protocol.md`` 2.2).

    The levels are those of a disposition configured on the server, which also knows the action that follows: none,
    respool, respool of the next alternative, blacklist, or reschedule. ``schedule`` (aware, or the server's local
    time) and ``reschedule_campaign`` (the dialer; empty for the same campaign) only matter to the last. ``callerid``
    is the customer's number, empty where it was withheld. Sent once: the action would be taken twice.
    """

    campaign: Annotated[str, CAMPAIGN]
    agent: Annotated[str, NAME]
    callerid: Annotated[str, OPTIONAL_DIAL_STRING]
    guid: Annotated[str, GUID]
    level1: Annotated[str, FREE_TEXT] = msgspec.field(name="l1")
    level2: Annotated[str, FREE_TEXT] = msgspec.field(name="l2", default="")
    level3: Annotated[str, FREE_TEXT] = msgspec.field(name="l3", default="")
    data1: Annotated[str, PRIVATE_TEXT] = msgspec.field(name="d1", default="")
    data2: Annotated[str, PRIVATE_TEXT] = msgspec.field(name="d2", default="")
    comment: Annotated[str, PRIVATE_TEXT] = ""
    schedule: Annotated[datetime | None, OPTIONAL_TIMESTAMP] = None
    reschedule_campaign: Annotated[str, OPTIONAL_CAMPAIGN] = msgspec.field(name="camptoreschedule", default="")
    tag: Annotated[str, FREE_TEXT] = ""


class CallWorkflow(Request[None], frozen=True, kw_only=True):
    """Start a workflow at its incoming context and extension ("CallWorkflow", ``protocol.md`` 2.3).

    ``params`` goes out as the text of a JSON object. Sent once: what a workflow does is unknown.
    """

    context: Annotated[str, NAME]
    extension: Annotated[str, NAME]
    params: Annotated[Mapping[str, Any], JSON_OBJECT] = msgspec.field(name="jsonparams", default_factory=dict)


class BlockNumber(Request[None], frozen=True, kw_only=True):
    """Put a number on the do-not-call list of a campaign, or of all with ``*`` ("addblack", ``protocol.md`` 2.4).

    Only dialers with the DNCR flag look there. May be repeated.
    """

    phone: Annotated[str, DIAL_STRING]
    campaign: Annotated[str, CAMPAIGN_OR_ALL] = "*"
    username: Annotated[str, FREE_TEXT] = ""
    company: Annotated[str, PRIVATE_TEXT] = ""
    job_title: Annotated[str, PRIVATE_TEXT] = ""
    name: Annotated[str, PRIVATE_TEXT] = ""


class Calls(EndpointGroup):
    """Calls of agents, and what is said of calls."""

    # A late click-to-call is worse than none, and a late hang-up ends the next call (design.md section 4).
    dial = Endpoint("Agents/AgentCall", AgentCall, GUID_REPLY, Safety.ONCE, send_by=5.0)
    dial_with_data = Endpoint("Agents/AgentCallwithData", AgentCallWithData, GUID_REPLY, Safety.ONCE, send_by=5.0)
    hangup = Endpoint("Agents/HungupPhone", HangUp, DONE, Safety.ONCE, also=("Agents/HangupPhone",), send_by=3.0)
    disposition = Endpoint("api/DispositionCall", Disposition, DONE, Safety.ONCE)
    workflow = Endpoint("admin/CallWorkflow", CallWorkflow, OK, Safety.ONCE)
    block = Endpoint("admin/addblack", BlockNumber, DONE, Safety.REPEATABLE, argument="black")
