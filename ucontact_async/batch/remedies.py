"""What can be done about a call that was made, or may have been: how it is taken back, where a person sees it.

One table, by endpoint (``protocol.md`` 2.1 to 2.8, ``reliability.md`` 2.2). What is in no line of it can be neither
taken back nor looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..api.dialers import DialerTask, RemoveContact, RemoveSchedule, Respool
from ..endpoint import Request

__all__ = ["Remedy", "remedy_of"]


class Remedy(msgspec.Struct, frozen=True):
    """``removal`` makes the request that takes a call back, or says in a sentence why there is none.

    ``look`` tells a person what to look at in order to settle it. ``proven`` is ``False`` where the vendor does not say
    that the removal covers such a call.
    """

    look: str
    removal: Callable[[Any], Request[None] | str]
    proven: bool = True


def _off_schedule(call: Any) -> RemoveSchedule:
    return RemoveSchedule(
        campaign=call.campaign, destination=call.destination, since=call.calldate, until=call.calldate
    )


def _off_spool(call: Respool | DialerTask) -> RemoveContact:
    return RemoveContact(campaign=call.campaign, destination=call.destination)


def _task(task: DialerTask) -> Request[None] | str:
    if not task.bulk and not task.automatic:
        return "a click-to-call rings at once"
    return _off_spool(task) if task.calldate is None else _off_schedule(task)


def _none(why: str) -> Callable[[Any], str]:
    return lambda _: why


_RECORDS = "the records of calls (getrecords, `ucontact-async recordings`) for this number about the time it was sent"
_REMEDIES = {
    "Dialers/ScheduleDialerCall": Remedy(
        f"the dialer's scheduled calls: is this number there at this calldate? Once that has passed: {_RECORDS}",
        _off_schedule,
    ),
    "Dialers/Respool": Remedy(f"the dialer's spool: is this number on it? If not: {_RECORDS}", _off_spool),
    "Dialers/DialerTask": Remedy(
        f"the dialer's spool, and its scheduled calls for a task with a calldate; else {_RECORDS}", _task, proven=False
    ),
    "Agents/AgentCall": Remedy(f"ask the agent whether the phone rang, or {_RECORDS}", _none("the phone has rung")),
    "Agents/AgentCallwithData": Remedy(
        f"ask the agent whether the phone rang, or {_RECORDS}", _none("the phone has rung")
    ),
    "Agents/HungupPhone": Remedy("ask the agent whether the call ended", _none("a call that ended stays ended")),
    "api/DispositionCall": Remedy(
        "the dispositions of this call: is it there?", _none("a disposition, and what followed, stays")
    ),
    "admin/CallWorkflow": Remedy("what the workflow does: did it?", _none("what a workflow did stays done")),
    "admin/addblack": Remedy(
        "the do-not-call list; or nothing: it may be repeated, and the same command does so",
        _none("the API cannot take a number off the do-not-call list"),
    ),
}
_REMOVAL = Remedy(
    "nothing: a removal may be repeated, and the same command does so; unless a later call of its number was made: is "
    "an earlier one still there?",
    _none("what was removed is not kept"),
)
_LIST = Remedy(
    "the dialer's lists: is one with this file's name there?",
    _none("the API cannot delete a list; do it in the portal"),
)
_OTHER = Remedy("what it should have done: is it so?", _none("no removal is known for it"))


def remedy_of(endpoint: str) -> Remedy:
    """Return what can be done about a call of ``endpoint``, its path."""
    if endpoint.startswith("Dialers/Remove"):
        return _REMOVAL
    if endpoint.startswith("Dialers/uploadbase"):
        return _LIST
    return _REMEDIES.get(endpoint, _OTHER)
