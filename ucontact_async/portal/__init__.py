"""Forms inside the agent portal: the page's seven "via Proxy" actions, typed, and safe to put into a page.

A service renders an action (:func:`render_action`), the agent's browser hands it to the portal (``bridge.js``), and the
portal's answer comes back to the service (:func:`read_result`). It performs no request and knows no web framework.
"""

from __future__ import annotations

from .actions import (
    Action,
    CallAction,
    CallWithPhoneAction,
    CtiAction,
    CtiReply,
    Envelope,
    GuidReply,
    HangUpAction,
    RespoolAction,
    ScheduleAction,
    TagAction,
    action_fields,
    read_action,
    read_reply,
)
from .cti import CtiCall
from .page import bridge_script, page_headers
from .render import Markup, render_action
from .results import Result, read_result

__all__ = [
    "Action",
    "CallAction",
    "CallWithPhoneAction",
    "CtiAction",
    "CtiCall",
    "CtiReply",
    "Envelope",
    "GuidReply",
    "HangUpAction",
    "Markup",
    "RespoolAction",
    "Result",
    "ScheduleAction",
    "TagAction",
    "action_fields",
    "bridge_script",
    "page_headers",
    "read_action",
    "read_reply",
    "read_result",
    "render_action",
]
