"""An action as markup: a button, with inputs if the agent is to type something in.

Nothing in it is code: what the action says stands in JSON, which ``bridge.js`` reads. It knows no template engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

import msgspec

from ..api.dialers import Respool
from ..errors import InvalidRequest
from ..text import DIAL_STRING, DialString, Rules, TextFormat, Timestamp
from ..wire import fields_of
from .actions import Action, RespoolObject, action_fields
from .page import browser_origin

__all__ = ["Markup", "render_action"]

# Browsers take // and /\ for the beginning of a host, and leave out tabs and line breaks.
_PATH = re.compile(r"/(?![/\\])[!-~]*")
# Inside a script element only </script> and <!-- end the text; elsewhere & would begin a reference.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&'\u2028\u2029"}


class Markup(str):
    """Text that is markup already: template engines that ask for ``__html__`` (Jinja, Django) put it in as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the markup."""
        return str(self)


def render_action(
    action: Action,
    label: str,
    *,
    portal_origin: str,
    result_path: str,
    inputs: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    texts: Mapping[str, str] | None = None,
    rules: Rules | None = None,
) -> Markup:
    """Return a button for ``action`` that works inside the portal, and with its page's ``bridge.js`` only.

    Args:
        action: what the portal is asked to do.
        label: what stands on the button.
        portal_origin: where the agent portal is, such as ``https://acme.ucontactcloud.com``; nobody else is told.
        result_path: the path of this service that takes the answer (see :func:`read_result`).
        inputs: labels, by the names of fields that the agent types in, of the action or of its ``respool``; what the
            action holds there is what the input begins with, and may be empty.
        timeout: seconds that the portal's answer is waited for.
        texts: other words for what the agent is told, by the codes in ``bridge.js``.
        rules: as for :func:`action_fields`.

    Raises:
        InvalidRequest: a field breaks a rule of the API, an input is none of its fields, or a setting is none.
        SettingsError: ``portal_origin`` is no origin.
    """
    inputs = inputs or {}
    if not _PATH.fullmatch(result_path):
        raise InvalidRequest("result_path", "is not a path of this service, such as /portal/result")
    if not 0 < timeout <= 3600:
        raise InvalidRequest("timeout", f"{timeout} is not from 0 to 3600 seconds")
    values = action_fields(action, rules, typed=inputs)
    places = _places(action)
    shown = []
    for name, text in inputs.items():
        if name not in places:
            raise InvalidRequest(name, f"is nothing that an agent types into {type(action).__name__}")
        shown.append(_input(name, text, places[name][1], _value_at(values, places[name][0])))
    config = {
        "portal": browser_origin(portal_origin),
        "result": result_path,
        "seconds": timeout,
        "action": values,
        "inputs": {name: places[name][0] for name in inputs},
        "texts": dict(texts or {}),
    }
    json = msgspec.json.encode(config).decode().translate(_ESCAPES)
    # The button is dead without the script, which would send the inputs to nobody.
    return Markup(
        f'<form class="ucontact" method="post"><script type="application/json">{json}</script>{"".join(shown)}'
        f'<button type="submit" disabled>{escape(label)}</button><output></output></form>'
    )


def _places(action: Action) -> dict[str, tuple[list[str], TextFormat[Any]]]:
    """Return where in the posted object each field stands that can be typed in, by our name."""
    places = {}
    for field in fields_of(type(action)):
        if isinstance(field.format, RespoolObject):
            inner = {inside.name: inside for inside in fields_of(Respool)}
            for name in ("destination", "agentphone"):
                places[name] = ([field.wire_name, inner[name].wire_name], inner[name].format)
        else:
            places[field.name] = ([field.wire_name], field.format)
    return places


def _value_at(values: dict[str, Any], path: list[str]) -> str:
    value: Any = values
    for name in path:
        value = value[name]
    return str(value)


def _input(name: str, label: str, format_: TextFormat[Any], value: str) -> str:
    needed = "" if isinstance(format_, DialString) and format_ is not DIAL_STRING else " required"
    kind = 'type="text" maxlength="500"'
    if isinstance(format_, DialString):
        kind = r'type="tel" pattern="[0-9*#+\-]{2,24}"'
    elif isinstance(format_, Timestamp):
        kind, value = 'type="datetime-local"', value.replace(" ", "T")
    return (
        f'<label><span>{escape(label)}</span><input name="{name}" {kind} value="{escape(value)}" autocomplete="off"'
        f"{needed}></label>"
    )
