"""The contact centre in memory: spool, schedule, sessions and the switches."""

import base64
import json
import uuid
from datetime import UTC, datetime
from random import Random

import pytest

from ucontact_async.api import ENDPOINTS
from ucontact_async.emulator import ContactCentre, Ledger, Switches
from ucontact_async.serving import Service

NOON = datetime(2027, 5, 5, 12, tzinfo=UTC)
TASK = {"agent": "", "data": "", "alternatives": "", "source": "source", "calldate": None}


class Counter:
    """A contact centre behind its contract: forms in, bodies out."""

    def __init__(self, **switches):
        self.ledger = Ledger()
        self.state = ContactCentre({"api": "secret"}, self.ledger, Random(1), Switches(**switches))
        self.service = Service(ENDPOINTS, self.state.handlers, self.state.sessions.authorise)
        self.token = self.state.sessions.open("api")

    def post(self, path, form, authorization=None):
        """Return the body that a form is answered with, or the status if it is not 200."""
        endpoint = ENDPOINTS[path]
        call = self.service.open(endpoint, form, authorization or f"Basic {self.token}")
        answer = call if not hasattr(call, "request") else self.service.perform(call)
        return answer.body if answer.status == 200 else answer.status

    def respool(self, destination="1001", **fields):
        """Respool a number."""
        row = {"campaign": "V->", "destination": destination, "dialerbase": "b", "contact": 1} | fields
        return self.post("Dialers/Respool", {"callspool": json.dumps(row)})

    def schedule(self, destination, calldate, **fields):
        """Schedule a call."""
        row = {"campaign": "V->", "destination": destination, "calldate": calldate} | fields
        return self.post("Dialers/ScheduleDialerCall", {"callschedule": json.dumps(row)})

    def task(self, destination, **fields):
        """Give a task, by default without a date."""
        row = TASK | {"campaign": "V<-", "destination": destination} | fields
        return self.post("Dialers/DialerTask", {"call": json.dumps(row)})

    def login(self, user="api", password="secret", path="auth/UserLogin"):
        """Log in."""
        return self.post(path, {"user": user, "password": password})


@pytest.fixture
def counter():
    """A contact centre with every switch at its default."""
    return Counter()


def test_a_dialer_takes_calls_in_the_documented_order(counter):
    """Scheduled and due, then dated, then by priority, oldest first; what is not due waits."""
    counter.respool("3001", priority=9999)
    counter.respool("3002", priority=5)
    counter.task("2001", bulk=False, automatic=True)
    counter.respool("3003", priority=5)
    counter.task("2002", bulk=True, automatic=True, calldate="2027-05-05 09:00:00")
    counter.schedule("1002", "2027-05-05 11:00:00")
    counter.schedule("1001", "2027-05-05 10:00:00")
    counter.schedule("1003", "2027-05-05 12:00:01")
    counter.task("1004", bulk=True, automatic=False)
    due = [row.destination for row in counter.state.dial_order(NOON)]
    assert due == ["1001", "1002", "1004", "2002", "2001", "3002", "3003", "3001"]
    assert [row.destination for row in counter.state.dial_order(NOON.replace(second=1))][2] == "1003"


def test_each_task_goes_where_the_page_says(counter):
    """Priority 1 and agent tasks to the spool, scheduled ones to the schedule, calls now to nobody's list."""
    counter.task("1001", bulk=False, automatic=True)
    counter.task("1002", bulk=True, automatic=True, agent="Ana")
    counter.task("1003", bulk=True, automatic=False, calldate="2027-05-05 10:00:00")
    counter.task("1004", bulk=False, automatic=False)
    spool = counter.state.spool
    assert [(row.destination, row.priority, row.agentphone) for row in spool] == [
        ("1001", 1, ""),
        ("1002", 9999, "Ana"),
    ]
    assert [(row.destination, row.calldate) for row in counter.state.schedule] == [("1003", "2027-05-05 10:00:00")]
    assert [call["destination"] for call in counter.state.calls] == ["1004"]
    assert len(counter.ledger) == 4


def test_a_removal_takes_the_range_with_both_its_ends(counter):
    """Rows at from and at to go, those beside them stay; 1 also if nothing is left to remove."""
    for minute in range(5):
        counter.schedule("1001", f"2027-05-05 10:0{minute}:00")
    counter.schedule("1002", "2027-05-05 10:02:00")
    form = {"campaign": "V->", "destination": "1001", "from": "2027-05-05 10:01:00", "to": "2027-05-05 10:03:00"}
    assert counter.post("Dialers/RemoveScheduleDialerCall", form) == b"1"
    left = [(row.destination, row.calldate[11:16]) for row in counter.state.schedule]
    assert left == [("1001", "10:00"), ("1001", "10:04"), ("1002", "10:02")]
    wide = form | {"from": "2027-01-01 00:00:00", "to": "2028-01-01 00:00:00"}
    assert [counter.post("Dialers/RemoveScheduleDialerCall", wide) for _ in range(2)] == [b"1", b"1"]
    assert [row.destination for row in counter.state.schedule] == ["1002"]
    assert counter.post("Dialers/RemoveScheduleDialerCall", form | {"from": ""}) == b"0"


def test_a_contact_is_removed_from_its_campaign_only(counter):
    """The spool row of that campaign and number goes; 1 also for nothing."""
    counter.respool("1001")
    counter.respool("1001", campaign="W->")
    for _ in range(2):
        assert counter.post("Dialers/RemoveContact", {"campaign": "V->", "number": "1001"}) == b"1"
    assert [row.campaign for row in counter.state.spool] == ["W->"]
    assert len(counter.ledger.of("Dialers/RemoveContact")) == 2


@pytest.mark.parametrize(
    ("switch", "answer", "flags", "entries"),
    [("duplicate", b"1", [False, True], 2), ("refuse", b"0", [False], 1), ("ignore", b"1", [False], 1)],
)
def test_a_second_respool_of_one_number(switch, answer, flags, entries):
    """A second row that is flagged, a refusal, or nothing, as switched."""
    counter = Counter(duplicate=switch)
    assert counter.respool("1001") == b"1"
    assert counter.respool("1001") == answer
    assert [row.duplicate for row in counter.state.spool] == flags
    assert len(counter.ledger) == entries


def test_priority_1_is_taken_unless_strict(counter):
    """The page reserves it; whether servers enforce that is a switch."""
    assert counter.respool(priority=1) == b"1"
    strict = Counter(strict_priority=True)
    assert (strict.respool(priority=1), strict.respool(priority=2)) == (b"0", b"1")
    assert len(strict.ledger) == 1


def test_only_given_campaigns_exist():
    """With campaigns given, all three inserts refuse any other."""
    counter = Counter(campaigns=frozenset({"W->"}))
    refused = [counter.respool(), counter.schedule("1", "2027-05-05 10:00:00"), counter.task("1", bulk=1, automatic=0)]
    assert refused == [b"0"] * 3
    assert counter.respool(campaign="W->") == b"1"
    assert len(counter.ledger) == 1


def test_a_date_with_a_zone_is_refused(counter):
    """The API's dates are local times; an offset is a mistake the emulator does not hide."""
    assert counter.schedule("1001", "2027-05-05T10:00:00Z") == b"0"
    assert counter.state.schedule == []


def test_a_good_login_gives_a_live_token_and_a_bad_one_0(counter):
    """Both logins count, bad ones do not."""
    assert counter.login(password="wrong") == counter.login(user="nobody") == b"0"
    token = json.loads(counter.login())[2]
    assert json.loads(counter.login(path="auth/getUserToken")) in counter.state.sessions.live
    assert counter.ledger.logins == 2
    assert token not in counter.state.sessions.live
    assert list(counter.ledger) == []


def test_a_token_is_base64_of_user_and_uuid(counter):
    """As on every token that was seen: the user, a colon, a lower-case UUID 4."""
    user, _, text = base64.b64decode(counter.token).decode().partition(":")
    assert user == "api"
    assert str(uuid.UUID(text, version=4)) == text
    assert Counter().token == counter.token


def test_a_second_login_ends_the_first_token_unless_switched_off():
    """One live token a user by default."""
    for one_session, after in ((True, 401), (False, b"1")):
        counter = Counter(one_session=one_session)
        assert counter.respool("1001") == b"1"
        counter.login()
        assert counter.respool("1002") == after


def test_an_old_server_has_no_get_user_token():
    """It answers 404, and UserLogin works."""
    counter = Counter(get_user_token="absent")
    assert counter.login(path="auth/getUserToken") == 404
    assert json.loads(counter.login())[2] in counter.state.sessions.live


def test_logout_ends_the_token_it_names(counter):
    """Another user's name does not; a second logout is answered 1 too."""
    end = {"user": "api", "token": counter.token}
    assert counter.post("auth/EndSession", end | {"user": "other"}) == b"1"
    assert counter.respool("1001") == b"1"
    assert [counter.post("auth/EndSession", end) for _ in range(2)] == [b"1", b"1"]
    assert counter.respool("1002") == 401


@pytest.mark.parametrize(
    ("written", "lenient", "strict"),
    [
        ("Basic {}", b"1", b"1"),
        ("Basic {}'", b"1", 401),
        ("Bearer {}", b"1", 401),
        ("Basic  {}", b"1", 401),
        ("Basic x{}", 401, 401),
        ("Basic", 401, 401),
        ("Basic '", 401, 401),
        ("{}", 401, 401),
    ],
)
def test_the_header_is_read_leniently_unless_strict(written, lenient, strict):
    """A stray apostrophe was seen to pass in production."""
    form = {"campaign": "V->", "number": "1"}
    for switch, expected in ((False, lenient), (True, strict)):
        counter = Counter(strict_header=switch)
        header = written.format(counter.token)
        assert counter.post("Dialers/RemoveContact", form, header) == expected


def test_no_token_is_needed_where_none_is_required():
    """On the server's own machine clients send none."""
    counter = Counter(require_token=False)
    assert counter.post("Dialers/RemoveContact", {"campaign": "V->", "number": "1"}, "none") == b"1"


def test_ending_all_sessions_is_a_restart(counter):
    """Afterwards every token is dead."""
    counter.state.sessions.end_all()
    assert counter.respool() == 401


def test_the_ledger_keeps_the_last_entries_if_capped():
    """A cap bounds memory; the numbers go on."""
    ledger = Ledger(cap=2)
    for number in range(5):
        ledger.record("x", {"n": number})
    assert [entry.seq for entry in ledger] == [4, 5]
    assert (len(ledger), ledger.total) == (2, 5)


def test_names_that_clients_choose_do_not_grow_without_bound():
    """Beyond ten thousand paths that were asked for, the others share one count; those that are known go on."""
    ledger = Ledger()
    for number in range(10_010):
        ledger.ask(f"records/{number}.mp3")
    ledger.ask("records/7.mp3")
    assert (len(ledger.requests), ledger.requests["..."], ledger.requests["records/7.mp3"]) == (10_001, 10, 2)
