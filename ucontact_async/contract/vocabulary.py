"""What each field on the wire means, with a made-up value: the words of the published contract.

Sources: ``protocol.md`` sections 1 to 5. It refuses to know what a document looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["VARIANTS", "WORDS", "Word"]


class Word(NamedTuple):
    """What a field means, a value for it, and the variable that a collection keeps the value in, if any."""

    meaning: str
    example: Any
    variable: str = ""


_ONE_LINE = "Text on one line; may be empty."
_PAIRS = "Parameters for the agent's form: `Name1=Value1:Name2=Value2`. `:` `=` `;` cannot be escaped: replace them."
_LOCAL = "in the server's local time, without a zone"

# By the name on the wire; "endpoint:name" where a name means something else there.
WORDS: Mapping[str, Word] = {
    "user": Word("The API user: one made for the API alone, best an administrator without a phone.", "api", "user"),
    "password": Word("The user's password, as plain text.", "secret", "password"),
    "token": Word("The token of the login.", "YXBpOjEyM2U0NTY3LWU4OWItNDJkMy1hNDU2LTQyNjYxNDE3NDAwMA==", "token"),
    "campaign": Word("The campaign or dialer with its arrow: `->` outbound, `<-` inbound.", "Ventas->", "campaign"),
    "destination": Word("The number to dial: 2 to 24 of `0-9 * # + -`.", "099123456", "destination"),
    "number": Word("The number to take off the spool.", "099123456", "destination"),
    "dialerbase": Word("The list that the contact came from; do not change it.", "Base mayo"),
    "status": Word("Always 1: enabled.", 1),
    "data": Word(_PAIRS, "nombre=Ana:id=7"),
    "alternatives": Word("Other numbers of the same contact, `:` between them; may be empty.", "098344484:24001234"),
    "contact": Word("The contact's number on its list; do not change it.", 1234),
    "retries": Word("How often this number was tried; 0 for a number not tried yet.", 0),
    "priority": Word("2 (first) to 9999 (last, the default); 1 is reserved for scheduled calls.", 9999),
    "agentphone": Word("The extension of the agent, for progressive dialers; otherwise empty.", ""),
    "calldate": Word(f"When to call, {_LOCAL}.", "2099-05-05 10:00:00"),
    "Dialers/DialerTask:calldate": Word(f"When to call, {_LOCAL}; `null` as soon as the dialer is free.", None),
    "Dialers/DialerTask:agent": Word("The agent the call is for, by user name or by extension; empty for any.", ""),
    "source": Word("The page writes `source` in all its examples.", "source"),
    "bulk": Word("See the five uses of the page.", example=False),
    "automatic": Word("See the five uses of the page.", example=True),
    "filename": Word(
        "The file's name, which names the list: 1 to 50 of `A-Z a-z 0-9 _ -`, the first not R, and `.csv`.", "mayo.csv"
    ),
    "fileb64": Word(
        "The file as base64. Each line is one contact, without a headline: "
        "`campaign;phone;data;alternatives;priority;agentphone`.",
        "VmVudGFzLT47MDk5MTIzNDU2O25vbWJyZT1BbmE6aWQ9NzswOTgzNDQ0ODQ7OTk5OTsK",
    ),
    "cant": Word("How many lines the file has.", 1),
    "timezone": Word("The time zone that the list's numbers live in.", "America/Montevideo"),
    "from": Word(f"The first moment of the range, {_LOCAL}.", "2099-05-05 00:00:00"),
    "to": Word(f"The last moment of the range, {_LOCAL}.", "2099-05-05 23:59:59"),
    "agent": Word("The agent's user name.", "Ana", "agent"),
    "phone": Word("The agent's phone: an extension.", "1001", "phone"),
    "tech": Word("The technology of the agent's phone; usually `SIP`.", "SIP"),
    "context": Word("The agents' context as it is configured: `agentes` or `agents`.", "agentes"),
    "outqueue": Word("The outbound campaign that the call is accounted to.", "Ventas->", "campaign"),
    "callerid": Word("The number that the customer sees; may be empty.", "24001111"),
    "Agents/AgentCallwithData:data": Word("Text for the workflow on one line, usually a JSON.", '{"id":"7"}'),
    "guid": Word(
        "What names the call: AgentCall and getrecords tell it.", "5f3a1c9e-7b24-4d0f-9a61-2f8e5d3c7b10", "guid"
    ),
    "api/DispositionCall:callerid": Word("The customer's number; empty if withheld.", "099123456", "destination"),
    "l1": Word("The disposition's first level, as it is configured.", "Contacto"),
    "l2": Word("The second level; may be empty.", "Interesado"),
    "l3": Word("The third level; may be empty.", ""),
    "d1": Word(_ONE_LINE, ""),
    "d2": Word(_ONE_LINE, ""),
    "comment": Word("A note on the call, on one line; may be empty.", "llama el lunes"),
    "schedule": Word(f"When to call again, {_LOCAL}: only if the disposition is configured to reschedule.", ""),
    "camptoreschedule": Word("The dialer that calls again; empty for the same campaign.", ""),
    "tag": Word("A tag for the disposition; may be empty.", ""),
    "admin/CallWorkflow:context": Word("The incoming context of the workflow.", "entrantes"),
    "extension": Word("The incoming extension of the workflow.", "encuesta"),
    "jsonparams": Word("The parameters: the text of a JSON object.", '{"id":"7"}'),
    "admin/addblack:phone": Word("The number never to call again.", "099123456", "destination"),
    "admin/addblack:campaign": Word("The campaign that must not call it; `*` for all.", "*"),
    "username": Word("In whose name.", "api", "user"),
    "company": Word(_ONE_LINE, ""),
    "job_title": Word(_ONE_LINE, ""),
    "name": Word("The customer's name; may be empty.", "Ana"),
    "lastrow": Word("How many rows were seen already: 0, then `searchLimit`, and so on.", 0),
    "searchLimit": Word("How many rows a page has.", 50),
    "Random": Word("Always 1.", 1),
    "type": Word("Always `record`.", "record"),
    "calldatei": Word(f"The first moment of the range, {_LOCAL}.", "2026-05-04 00:00:00"),
    "calldatef": Word(f"The last moment of the range, {_LOCAL}.", "2026-05-04 23:59:59"),
    "Cdr/getrecords:agent": Word("Only calls of this agent; empty for all.", ""),
    "Cdr/getrecords:campaign": Word("Only calls of this campaign; empty for all.", "Ventas->", "campaign"),
    "Cdr/getrecords:source": Word("Only calls from this number; empty for all.", ""),
    "Cdr/getrecords:destination": Word("Only calls to this number; empty for all.", ""),
    "Cdr/getrecords:data": Word("Only calls with this tag; empty for all.", ""),
    "range": Word("A range of hours; its syntax is not published. Leave it empty.", ""),
    "rating": Word("Only calls with this rating; empty for all.", ""),
    "mindur": Word("Only calls of so many seconds at least; empty for all.", ""),
    "exclude": Word("No calls of this number; empty to leave out none.", ""),
    "cont": Word("Only numbers with so many calls in the range at least; empty for all.", ""),
    "folder": Word("The day of the call, `YYYYMMDD`, in case the recording lies there; may be empty.", "20260504"),
    "Agents/TagRecord:phone": Word("The number that was called.", "099123456", "destination"),
    "Agents/TagRecord:data": Word("The text of the tag, to search for, on one line.", "buena venta"),
    "queue": Word("One campaign or dialer; empty for all.", "Ventas->", "campaign"),
}

_TASK: Mapping[str, Any] = {"calldate": None, "agent": "", "bulk": False, "automatic": False}

# The uses that the page shows of one endpoint, by their names: what each has other than above, a value or a word.
VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "Dialers/DialerTask": {
        "insert with priority 1": {**_TASK, "automatic": True},
        "call now (click-to-call)": _TASK,
        "call at a date and time": {**_TASK, "calldate": "2099-05-05 10:00:00", "bulk": True},
        "insert for an agent": {**_TASK, "agent": WORDS["agent"], "bulk": True, "automatic": True},
        "insert for an extension": {**_TASK, "agent": WORDS["phone"], "bulk": True, "automatic": True},
    }
}
