"""Queues and campaigns of the emulated contact centre: which there are, and what their figures come from."""

import json
from datetime import UTC, datetime
from random import Random

import pytest

from ucontact_async.api import ENDPOINTS
from ucontact_async.emulator import ContactCentre, Ledger, Queue, Status, Switches
from ucontact_async.serving import Service

SUMMARY, STATUS = "Supervisor/queuesummary", "Supervisor/campaignstatus"


class Centre:
    """A contact centre behind its contract."""

    def __init__(self, **switches):
        self.ledger = Ledger()
        self.state = ContactCentre({"api": "secret"}, self.ledger, Random(1), Switches(**switches))
        self.service = Service(ENDPOINTS, self.state.handlers, self.state.sessions.authorise)
        self.token = self.state.sessions.open("api")

    def post(self, path, **form):
        """Return the JSON that a form is answered with, or the status if it is not 200."""
        call = self.service.open(ENDPOINTS[path], form, f"Basic {self.token}")
        answer = call if not hasattr(call, "request") else self.service.perform(call)
        return json.loads(answer.body) if answer.status == 200 else answer.status

    def queues(self):
        """Return the names in the summary."""
        return [element["queue"] for element in self.post(SUMMARY) if "queue" in element]


@pytest.fixture
def centre():
    """A contact centre with every switch at its default."""
    return Centre()


def test_it_is_never_empty(centre):
    """A server with nothing in it has two queues of its own, also after everything was forgotten."""
    assert centre.queues() == list(centre.post(STATUS)) == ["Soporte<-", "Ventas->"]
    centre.state.clear()
    assert centre.queues() == ["Soporte<-", "Ventas->"]


def test_the_campaigns_of_the_state_have_queues(centre):
    """Whatever has a row on spool or schedule, or was called at once, is there; with its rows it goes."""
    centre.post(
        "Dialers/Respool",
        callspool=json.dumps({"campaign": "S->", "destination": "1", "dialerbase": "b", "contact": 1}),
    )
    row = {"campaign": "T<-", "destination": "1", "calldate": "2027-05-05 10:00:00"}
    centre.post("Dialers/ScheduleDialerCall", callschedule=json.dumps(row))
    centre.post(
        "Dialers/DialerTask",
        call=json.dumps({"campaign": "N->", "destination": "1", "bulk": False, "automatic": False}),
    )
    assert set(centre.queues()) == set(centre.post(STATUS)) == {"Soporte<-", "Ventas->", "S->", "T<-", "N->"}
    centre.post("Dialers/RemoveContact", campaign="S->", number="1")
    assert "S->" not in centre.queues()
    centre.state.clear()
    assert centre.queues() == ["Soporte<-", "Ventas->"]


def test_the_switch_names_the_queues():
    """Where the campaigns are given, those and no others exist."""
    assert Centre(campaigns=frozenset({"B->", "A<-"})).queues() == ["A<-", "B->"]


def test_a_call_made_at_once_is_a_completed_one(centre):
    """The state's click-to-calls are counted in the status of their campaign."""
    for number in ("1", "2"):
        task = {"campaign": "Ventas->", "destination": number, "bulk": False, "automatic": False}
        centre.post("Dialers/DialerTask", call=json.dumps(task))
    status = centre.post(STATUS, queue="Ventas->")["Ventas->"]
    assert (status["completed"], status["totalcalls"], status["talked"]) == (2, 2, "00:00:00-2")


def test_the_figures_can_be_set(centre):
    """A test sets what a queue shows; both endpoints agree."""
    queue = centre.state.status.queue("Ventas->")
    queue.agents, queue.logged, queue.busy, queue.paused, queue.waiting, queue.abandoned = 5, 4, 2, 1, 7, 3
    queue.level = 85.5
    (summary,) = [element for element in centre.post(SUMMARY) if element.get("queue") == "Ventas->"]
    assert (summary["loggedIn"], summary["available"], summary["callers"]) == (4, 1, 7)
    status = centre.post(STATUS, queue="Ventas->")["Ventas->"]
    assert (status["availables"], status["notavailables"], status["acd"]) == (1, 4, 7)
    assert (status["abandonedlevel"], status["servicelevel"]) == ("100", "85.5")
    centre.state.status.queues["Nueva<-"] = Queue(waiting=1)
    assert "Nueva<-" in centre.queues()


def test_an_unknown_queue_has_no_status(centre):
    """It is an empty object, and asking does not make it exist."""
    assert centre.post(STATUS, queue="Otra->") == {}
    assert centre.queues() == ["Soporte<-", "Ventas->"]


def test_reads_leave_no_trace(centre):
    """Neither is an effect, and both need a live token."""
    centre.post(SUMMARY)
    centre.post(STATUS)
    assert len(centre.ledger) == 0
    centre.token = "dead"
    assert (centre.post(SUMMARY), centre.post(STATUS)) == (401, 401)


def test_the_date_is_the_machines_own():
    """The server's clock is local and can be given."""
    noon = datetime(2027, 5, 5, 12, tzinfo=UTC)
    status = Status(Switches(), list, list, lambda: noon)
    (*_, end) = json.loads(status.handlers[SUMMARY](None))
    local = noon.astimezone()
    assert (
        end["dateReceived"]
        == f"May {local.day}, 2027 {local.hour % 12 or 12}:{local:%M}:00 {'AM' if local.hour < 12 else 'PM'}"
    )
