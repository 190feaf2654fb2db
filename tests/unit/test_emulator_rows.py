"""The rows of spool and schedule: their counts go with every change."""

import json
from collections import Counter
from datetime import UTC, datetime
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.api import ENDPOINTS
from ucontact_async.emulator import CallRecord, ContactCentre, Ledger, Switches
from ucontact_async.serving import Service

NOON = datetime(2027, 5, 5, 12, tzinfo=UTC)
MORNING = "2027-05-05 10:00:00"
TASK = {"agent": "", "data": "", "alternatives": "", "source": "source", "calldate": MORNING}
LEVELS = {"agent": "Ana", "l1": "busy", "schedule": MORNING}
SWITCHES = Switches(dispositions={(name, "busy", "", ""): "RESCHEDULE" for name in ("V->", "S->")})

CHANGES = {
    "respool": ("Dialers/Respool", "callspool", {"dialerbase": "b", "contact": 1}),
    "schedule": ("Dialers/ScheduleDialerCall", "callschedule", {"calldate": MORNING}),
    "priority": ("Dialers/DialerTask", "call", TASK | {"bulk": False, "automatic": True}),
    "task": ("Dialers/DialerTask", "call", TASK | {"bulk": True, "automatic": False}),
    "remove": ("Dialers/RemoveContact", None, {}),
    "unschedule": ("Dialers/RemoveScheduleDialerCall", None, {"from": MORNING, "to": MORNING}),
    "dispose": ("api/DispositionCall", None, LEVELS),
}


class Centre:
    """A contact centre whose rows change by the name of the change."""

    def __init__(self):
        self.state = ContactCentre({}, Ledger(), Random(1), SWITCHES)
        self.service = Service(ENDPOINTS, self.state.handlers, lambda _: None)

    def change(self, kind, campaign, number):
        """Make one change; ``dial`` and ``again`` are the dialer's own."""
        if kind == "dial":
            self.state.dial_next(NOON)
        elif kind == "again":
            self.state.respool(CallRecord(campaign=campaign, destination=number))
        elif kind == "clear":
            self.state.clear()
        else:
            path, argument, more = CHANGES[kind]
            row = {"campaign": campaign, "destination": number, "number": number, "callerid": number, "guid": "g" * 8}
            form = row | more if argument is None else {argument: json.dumps(row | more)}
            self.service.perform(self.service.open(ENDPOINTS[path], form))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*CHANGES, "dial", "again", "clear"]),
            st.sampled_from(["V->", "S->"]),
            st.sampled_from(["1001", "1002"]),
        ),
        max_size=40,
    )
)
def test_the_counts_are_those_of_the_rows(changes):
    """Whatever comes and goes, the counts say what a walk over the rows would say."""
    centre = Centre()
    for change in changes:
        centre.change(*change)
        for rows in (centre.state.spooled, centre.state.scheduled):
            assert rows.counts == Counter(row.campaign for row in rows)
            assert len(rows) == sum(rows.counts.values())


def test_each_change_is_one():
    """None of the changes above is refused."""
    centre = Centre()
    seen = []
    for kind in ("respool", "again", "priority", "remove", "schedule", "task", "unschedule", "dispose", "dial"):
        centre.change(kind, "V->", "1001")
        seen.append((len(centre.state.spooled), len(centre.state.scheduled)))
    assert seen == [(1, 0), (2, 0), (3, 0), (0, 0), (0, 1), (0, 2), (0, 0), (0, 1), (0, 0)]
    assert centre.state.spooled.counts == {}


def test_the_campaign_that_changed_last_is_last():
    """The order of the counts is that of the last changes, removals included."""
    centre = Centre()
    for kind, campaign, number in (
        ("respool", "V->", "1001"),
        ("respool", "V->", "1002"),
        ("respool", "S->", "1001"),
        ("remove", "V->", "1001"),
    ):
        centre.change(kind, campaign, number)
    assert list(centre.state.spooled.counts.items()) == [("S->", 1), ("V->", 1)]
