"""Lists on the emulator: queued at once, loading, inactive, and on the spool when they are activated."""

import base64

import pytest

from ucontact_async.api import ENDPOINTS
from ucontact_async.emulator import Switches
from ucontact_async.emulator.ledger import Ledger
from ucontact_async.emulator.lists import ListRoom
from ucontact_async.emulator.state import ContactCentre
from ucontact_async.serving import Service

UPLOAD = "Dialers/uploadbase"


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self):
        """Return what it was set to."""
        return self.now


class Desk:
    """A contact centre without a socket, and its clock."""

    def __init__(self, **switches):
        self.ledger = Ledger()
        self.clock = Clock()
        settings = Switches(list_seconds=1.0, require_token=False, **switches)
        self.state = ContactCentre({}, self.ledger, None, settings)
        self.room = self.state.list_room = ListRoom(self.ledger, settings, clock=self.clock)
        self.service = Service(ENDPOINTS, {**self.state.handlers, **self.room.handlers}, lambda _: None)

    def upload(self, text, *, path=UPLOAD, name="mayo.csv", campaign="Ventas->", **extra):
        """Upload ``text`` and return the body of the answer."""
        encoded = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
        form = {"filename": name, "fileb64": encoded, "campaign": campaign, "cant": "7", "username": "ana"} | extra
        call = self.service.open(ENDPOINTS[path], form)
        return self.service.perform(call).body if hasattr(call, "request") else call.body

    def load(self):
        """Let the time pass that loading takes, and return the lists."""
        self.clock.now += 1.0
        return self.state.lists


def test_queued_loading_inactive_active():
    """The answer comes before anything is read; later the rows are there, and only activated they are on the spool."""
    desk = Desk()
    assert desk.upload("Ventas->;0991;a=b;0992;5;1001\nVentas->;M=2=0993;;H=0=0994;1") == b"1"
    (found,) = desk.state.lists
    assert (found.name, found.campaign, found.username) == ("mayo", "Ventas->", "ana")
    assert (found.status, found.rows, found.announced) == ("loading", [], 7)
    with pytest.raises(ValueError, match="still loading"):
        desk.state.activate("mayo")
    (found,) = desk.load()
    assert (found.status, len(found.rows), found.dropped) == ("inactive", 2, 0)
    assert desk.state.spool == []
    desk.state.activate("mayo", 60)
    assert (found.status, found.percentage) == ("active", 60)
    one, two = desk.state.spool
    assert (one.destination, one.data, one.alternatives, one.priority) == ("0991", "a=b", "0992", 5)
    assert (one.dialerbase, one.agentphone, one.retries) == ("mayo", "1001", 0)
    assert (two.destination, two.alternatives, two.priority, two.retries) == ("0993", "H=0=0994", 1, 2)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe;;", b"<html>", b"a;b\nc", "x" * 10_000])
def test_whatever_the_file_holds_it_is_queued(content):
    """Malformed lines are dropped without a word, and what was announced does not matter."""
    desk = Desk()
    assert desk.upload(content) == b"1"
    (found,) = desk.load()
    assert (found.status, found.rows) == ("inactive", [])


def test_malformed_lines_are_dropped():
    """The lines around them stay, in their order."""
    desk = Desk()
    desk.upload("V->;0991;;;1\nV->;0992;;;\r\n\nnombre;telefono\nV->;0993;;;2;\r\n")
    (found,) = desk.load()
    assert [row.destination for row in found.rows] == ["0991", "0993"]
    assert found.dropped == 2


def test_campaigns_with_and_without_an_arrow():
    """A line may name the campaign without its arrow; one that does not exist is dropped, or the file refused."""
    desk = Desk(campaigns=frozenset({"Ventas->", "Otra<-"}))
    assert desk.upload("Ventas;0991;;;1\nOtra<-;0992;;;1\nNada->;0993;;;1") == b"1"
    (found,) = desk.load()
    assert [(row.campaign, row.destination) for row in found.rows] == [("Ventas->", "0991"), ("Otra<-", "0992")]
    assert found.dropped == 1
    assert desk.upload("x", campaign="Nada->") == b"0"
    assert len(desk.ledger) == 1


def test_the_same_name_again_adds_its_rows():
    """A file of a name that is there adds rows to that list; activated again, only the new ones go on the spool."""
    desk = Desk()
    desk.upload("V->;0991;;;1")
    desk.load()
    desk.state.activate("mayo")
    desk.upload("V->;0991;;;1\nV->;0992;;;1")
    assert desk.state.lists[0].status == "loading"
    desk.load()
    desk.state.activate("mayo")
    assert [row.destination for row in desk.state.spool] == ["0991", "0991", "0992"]


def test_percentages_come_to_100_at_most():
    """The active lists of one campaign share 100 percent; those of another have their own."""
    desk = Desk()
    for name in ("one", "two", "three"):
        desk.upload("V->;0991;;;1", name=f"{name}.csv")
    desk.upload("W->;0991;;;1", name="other.csv", campaign="W->")
    desk.load()
    desk.state.activate("one", 60)
    desk.state.activate("two", 40)
    desk.state.activate("other")
    for name, percentage, said in (("three", 1, "100 of 100"), ("one", 0, "no share"), ("four", 10, "not there")):
        with pytest.raises(ValueError, match=said):
            desk.state.activate(name, percentage)
    desk.state.activate("one", 50)


def test_the_ledger_shows_the_text():
    """The entry has the wire's fields, and the decoded text for the base64."""
    desk = Desk()
    desk.upload("Ventas->;0991;n=Ñu;;1", path="Dialers/uploadbasewithtimezone", timezone="Asia/Tokyo")
    (entry,) = desk.ledger
    assert (entry.endpoint, entry.fields["fileb64"]) == ("Dialers/uploadbasewithtimezone", "Ventas->;0991;n=Ñu;;1")
    assert desk.load()[0].timezone == "Asia/Tokyo"


def test_clear_forgets_the_lists():
    """Also those that are still loading."""
    desk = Desk()
    desk.upload("V->;0991;;;1")
    desk.state.clear()
    assert desk.load() == []
