"""The contact centre's calls in memory: agents, live calls and records, dispositions, the do-not-call list."""

import json
import re
from datetime import UTC, datetime
from random import Random

import pytest

from ucontact_async.api import ENDPOINTS
from ucontact_async.emulator import CallRecord, ContactCentre, DispositionAction, Ledger, Switches
from ucontact_async.serving import Service

NOON = datetime(2027, 5, 5, 12, tzinfo=UTC)
UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LEVELS = ("V->", "Contacto", "", "")


class Counter:
    """A contact centre behind its contract: forms in, bodies out."""

    def __init__(self, **switches):
        self.ledger = Ledger()
        self.state = ContactCentre({"api": "secret"}, self.ledger, Random(1), Switches(require_token=False, **switches))
        self.service = Service(ENDPOINTS, self.state.handlers, self.state.sessions.authorise)

    def post(self, path, form):
        """Return the body that a form is answered with."""
        call = self.service.open(ENDPOINTS[path], form)
        return (self.service.perform(call) if hasattr(call, "request") else call).body

    def dial(self, path="Agents/AgentCall", **fields):
        """Have an agent call."""
        form = {"agent": "Ana", "phone": "1001", "destination": "098", "outqueue": "V->", "callerid": "24001111"}
        return self.post(path, form | {"tech": "SIP", "context": "agentes"} | fields)

    def hang_up(self, phone="1001"):
        """Hang a phone up."""
        return self.post("Agents/HungupPhone", {"phone": phone})

    def respool(self, destination, **fields):
        """Respool a number."""
        row = {"campaign": "V->", "destination": destination, "dialerbase": "b", "contact": 7} | fields
        return self.post("Dialers/Respool", {"callspool": json.dumps(row)})

    def schedule(self, destination, calldate="2027-06-01 10:00:00", **fields):
        """Schedule a call."""
        row = {"campaign": "V->", "destination": destination, "calldate": calldate} | fields
        return self.post("Dialers/ScheduleDialerCall", {"callschedule": json.dumps(row)})

    def dispose(self, guid="no-such-call", **fields):
        """Say how a call ended."""
        form = {"campaign": "V->", "agent": "Ana", "callerid": "098", "guid": guid, "l1": "Contacto"}
        return self.post("api/DispositionCall", form | fields)

    def block(self, phone, campaign="*", **fields):
        """Put a number on the do-not-call list."""
        return self.post("admin/addblack", {"black": json.dumps({"phone": phone, "campaign": campaign} | fields)})

    def due(self):
        """Return the numbers that are due, in order."""
        return [row.destination for row in self.state.dial_order(NOON)]


@pytest.fixture
def counter():
    """A contact centre with every switch at its default."""
    return Counter()


class TestCalls:
    """Agents' calls (protocol.md section 9, 13 and 14)."""

    def test_a_call_gets_a_guid_and_a_record(self, counter):
        """The answer is a new UUID, which names a live call of the agent's phone."""
        guid = counter.dial()
        assert UUID.fullmatch(guid)
        (record,) = counter.state.switchboard.live
        assert record == CallRecord(
            guid=guid.decode(),
            campaign="V->",
            destination="098",
            agent="Ana",
            phone="1001",
            callerid="24001111",
            started=record.started,
        )
        assert datetime.fromisoformat(record.started)
        assert counter.state.switchboard.find(guid.decode()) is record
        assert len(counter.ledger.of("Agents/AgentCall")) == 1

    def test_every_call_has_a_guid_of_its_own(self, counter):
        """A hundred calls, a hundred identifiers; the same again with the same seed."""
        guids = [counter.dial() for _ in range(100)]
        assert len(set(guids)) == 100
        twin = Counter()
        assert guids == [twin.dial() for _ in range(100)]

    def test_data_are_kept(self, counter):
        """A call with data has them in its record."""
        assert UUID.fullmatch(counter.dial("Agents/AgentCallwithData", data='{"id":7}'))
        assert counter.state.switchboard.cdr[0].data == '{"id":7}'

    def test_hanging_up_ends_the_call(self, counter):
        """1 and an end in the record; then, and for a phone without a call, 0 and no effect."""
        counter.dial()
        counter.dial(phone="1002")
        assert [counter.hang_up(), counter.hang_up(), counter.hang_up("1003")] == [b"1", b"0", b"0"]
        assert [(record.phone, record.ended is None) for record in counter.state.switchboard.cdr] == [
            ("1001", False),
            ("1002", True),
        ]
        assert [record.phone for record in counter.state.switchboard.live] == ["1002"]
        assert len(counter.ledger.of("Agents/HungupPhone")) == 1

    def test_only_given_agents_exist(self):
        """With agents given, an unknown one and one at another phone are refused; by default any will do."""
        counter = Counter(agents={"Ana": "1001"})
        assert UUID.fullmatch(counter.dial())
        refused = [counter.dial(agent="Eva"), counter.dial(phone="1002"), counter.dial(agent="", phone="")]
        assert refused == [b"0"] * 3
        assert len(counter.ledger) == len(counter.state.switchboard.cdr) == 1
        assert Counter(agents={}).dial() == b"0"

    def test_only_given_campaigns_exist(self):
        """With campaigns given, calls, dispositions and blacklistings for others are refused."""
        counter = Counter(campaigns=frozenset({"W->"}))
        assert [counter.dial(), counter.dispose(), counter.block("098", "V->")] == [b"0"] * 3
        assert len(counter.ledger) == 0
        assert UUID.fullmatch(counter.dial(outqueue="W->"))
        assert [counter.dispose(campaign="W->"), counter.block("098", "W->"), counter.block("098")] == [b"1"] * 3

    def test_a_workflow_is_kept(self, counter):
        """OK, and its fields in the state."""
        form = {"context": "entrantes", "extension": "700", "jsonparams": '{"id":7}'}
        assert counter.post("admin/CallWorkflow", form) == b"OK"
        assert counter.state.switchboard.workflows == [form]
        assert counter.post("admin/CallWorkflow", form | {"jsonparams": "[]"}) == b"0"
        assert len(counter.ledger) == 1

    def test_a_reset_forgets_all_of_it(self, counter):
        """Calls, records, workflows, dispositions and blocked numbers."""
        guid = counter.dial().decode()
        counter.block("098")
        counter.dispose(guid)
        counter.post("admin/CallWorkflow", {"context": "a", "extension": "b"})
        counter.state.clear()
        switchboard = counter.state.switchboard
        assert not [*switchboard.cdr, *switchboard.live, *switchboard.workflows, *counter.state.dispositions.made]
        assert not counter.state.blacklist
        assert (switchboard.find(guid), counter.hang_up()) == (None, b"0")


class TestDialer:
    """What a dialer takes next."""

    def test_a_call_of_the_dialer(self, counter):
        """The first due row leaves the spool and is a live call with its contact; at last nothing is due."""
        counter.respool("098", alternatives="099", data="id=7", retries=2, priority=5, agentphone="1001")
        counter.schedule("097", "2027-05-05 11:00:00")
        first = counter.state.dial_next(NOON, agent="Eva", phone="1002")
        assert (first.destination, first.phone, first.agent, first.campaign) == ("097", "1002", "Eva", "V->")
        second = counter.state.dial_next(NOON)
        shown = (second.destination, second.phone, second.alternatives, second.data, second.dialerbase, second.contact)
        assert shown == ("098", "1001", "099", "id=7", "b", 7)
        assert (second.retries, second.priority) == (2, 5)
        assert counter.state.spool == counter.state.schedule == []
        assert counter.state.dial_next(NOON) is None
        assert counter.state.switchboard.live == [first, second]
        assert counter.hang_up("1001") == b"1"

    def test_one_of_two_rows_of_a_number(self, counter):
        """A second row of the same number stays."""
        counter.respool("098")
        counter.respool("098")
        counter.state.dial_next(NOON)
        assert [row.duplicate for row in counter.state.spool] == [True]


class TestDispositions:
    """Each action, from its configuration to what is then on spool, schedule and list."""

    def test_without_an_action(self, counter):
        """Nothing follows, and the disposition is kept with its fields."""
        assert counter.dispose(comment="x") == b"1"
        (made,) = counter.state.dispositions.made
        assert (made["comment"], made["action"]) == ("x", "NOACTION")
        assert counter.state.spool == counter.state.schedule == counter.state.blacklist == []
        assert len(counter.ledger.of("api/DispositionCall")) == 1

    def test_the_action_is_that_of_campaign_and_levels(self):
        """One that differs in any of the four has none."""
        counter = Counter(dispositions={("V->", "a", "b", "c"): DispositionAction.RESPOOL})
        said = {"campaign": "V->", "l1": "a", "l2": "b", "l3": "c"}
        for name in said:
            assert counter.dispose(**said | {name: "W->" if name == "campaign" else "x"}) == b"1"
        assert counter.state.spool == []
        assert counter.dispose(**said) == b"1"
        assert len(counter.state.spool) == 1

    def test_respool(self):
        """The number goes back on the spool with its contact, and one more attempt counted."""
        counter = Counter(dispositions={LEVELS: DispositionAction.RESPOOL})
        counter.respool("098", alternatives="099:097", data="id=7", retries=2, priority=5)
        call = counter.state.dial_next(NOON, phone="1001")
        assert counter.dispose(call.guid) == b"1"
        (row,) = counter.state.spool
        assert (row.destination, row.alternatives, row.data, row.dialerbase) == ("098", "099:097", "id=7", "b")
        assert (row.contact, row.retries, row.priority, row.status) == (7, 3, 5, 1)
        assert [entry.endpoint for entry in counter.ledger] == ["Dialers/Respool", "api/DispositionCall"]

    def test_respool_of_a_scheduled_call(self):
        """Priority 1 is the schedule's; its respool goes last."""
        counter = Counter(dispositions={LEVELS: "RESPOOL"})
        counter.post("Dialers/DialerTask", {"call": json.dumps({"campaign": "V->", "destination": "098"})})
        call = counter.state.dial_next(NOON)
        assert call.priority == 1
        counter.dispose(call.guid)
        assert counter.state.spool[0].priority == 9999

    def test_respool_of_an_unknown_call(self):
        """The number is then the caller's; without one there is nothing to do and the answer is 0."""
        counter = Counter(dispositions={LEVELS: DispositionAction.RESPOOL})
        assert [counter.dispose(callerid="097"), counter.dispose(callerid="")] == [b"1", b"0"]
        assert [(row.destination, row.dialerbase) for row in counter.state.spool] == [("097", "")]
        assert len(counter.ledger) == 1

    def test_respool_of_the_next_alternative(self):
        """Every number gets its turn, the one just dialled goes last, and attempts are counted anew."""
        counter = Counter(dispositions={LEVELS: DispositionAction.RESPOOLALTERNATIVE})
        counter.respool("091", alternatives="091:092:093", retries=2)
        dialled = []
        for _ in range(6):
            call = counter.state.dial_next(NOON)
            dialled.append(call.destination)
            counter.dispose(call.guid, callerid=call.destination)
            assert counter.state.spool[0].retries == 0
        assert dialled == ["091", "092", "093"] * 2

    def test_respool_of_no_alternative(self):
        """Without another number nothing is dialled again."""
        counter = Counter(dispositions={LEVELS: DispositionAction.RESPOOLALTERNATIVE})
        assert counter.dispose() == b"1"
        assert counter.state.spool == []

    def test_blacklist(self):
        """The number is on the campaign's do-not-call list, and a flagged dialer skips it."""
        counter = Counter(dispositions={LEVELS: DispositionAction.BLACKLIST}, dncr=frozenset({"V->"}))
        counter.respool("098")
        assert counter.due() == ["098"]
        assert counter.dispose() == b"1"
        (row,) = counter.state.blacklist
        assert (row.phone, row.campaign, row.username) == ("098", "V->", "Ana")
        assert counter.due() == []

    @pytest.mark.parametrize("action", [DispositionAction.RESCHEDULE, "RESCHEDULE", "SCHEDULE"])
    @pytest.mark.parametrize(("target", "campaign"), [("", "V->"), ("W->", "W->")])
    def test_reschedule(self, action, target, campaign):
        """The call is on the schedule of the campaign that was named, or of its own, and nowhere else."""
        counter = Counter(dispositions={LEVELS: action})
        counter.respool("098", alternatives="099", data="id=7")
        call = counter.state.dial_next(NOON)
        counter.respool("098")
        counter.respool("097", alternatives="096:098")
        counter.respool("096")
        counter.respool("098", campaign="X->")
        counter.schedule("098")
        assert counter.dispose(call.guid, schedule="2027-05-07 10:00:00", camptoreschedule=target) == b"1"
        (row,) = counter.state.schedule
        assert (row.campaign, row.destination, row.calldate) == (campaign, "098", "2027-05-07 10:00:00")
        assert (row.alternatives, row.data) == ("099", "id=7")
        assert [(row.campaign, row.destination) for row in counter.state.spool] == [("V->", "096"), ("X->", "098")]
        assert counter.state.dispositions.made[0]["action"] == "RESCHEDULE"

    @pytest.mark.parametrize("schedule", ["", "2027-05-07T10:00:00Z", "tomorrow"])
    def test_reschedule_without_a_date(self, schedule):
        """A reschedule that does not say when is refused and changes nothing."""
        counter = Counter(dispositions={LEVELS: DispositionAction.RESCHEDULE})
        counter.respool("098")
        assert counter.dispose(schedule=schedule) == b"0"
        assert (len(counter.state.spool), counter.state.schedule, len(counter.ledger)) == (1, [], 1)

    def test_the_other_word_for_reschedule(self):
        """The page has both; anything else is a mistake of who configures."""
        assert DispositionAction("SCHEDULE") is DispositionAction.SCHEDULE is DispositionAction.RESCHEDULE
        assert [action.value for action in DispositionAction] == [
            *("NOACTION", "RESPOOL", "RESPOOLALTERNATIVE", "BLACKLIST", "RESCHEDULE")
        ]
        with pytest.raises(ValueError, match="CALLBACK"):
            Counter(dispositions={LEVELS: "CALLBACK"})

    def test_eleven_fields_are_enough(self, counter):
        """The page has eleven, and one client's sample sends d2 twice and no d1."""
        names = ("campaign", "agent", "callerid", "guid", "l1", "l2", "l3", "d2", "comment", "schedule")
        form = dict.fromkeys(names, "") | {"campaign": "V->", "guid": "x", "l1": "Contacto"}
        assert counter.post("api/DispositionCall", form) == b"1"


class TestDoNotCall:
    """Numbers that are not to be called (protocol.md section 9, 11)."""

    def test_a_blocked_number_is_kept(self, counter):
        """With all its fields; a second time is 1 too, and the row is still one."""
        details = {"username": "Ana", "company": "ACME", "job_title": "Gerente", "name": "José"}
        assert [counter.block("098", "V->", **details), counter.block("098", "V->", **details)] == [b"1", b"1"]
        assert counter.block("098") == b"1"
        rows = [
            json.loads(json.dumps({name: getattr(row, name) for name in row.__struct_fields__}))
            for row in counter.state.blacklist
        ]
        assert rows == [
            {"phone": "098", "campaign": "V->"} | details,
            {"phone": "098", "campaign": "*"} | dict.fromkeys(details, ""),
        ]
        assert len(counter.ledger.of("admin/addblack")) == 3

    def test_only_flagged_dialers_look(self):
        """A campaign with the flag skips numbers blocked for it or for all; others call them."""
        counter = Counter(dncr=frozenset({"V->"}))
        counter.block("091", "V->")
        counter.block("092", "W->")
        counter.block("093", "*")
        for campaign in ("V->", "W->"):
            for number in ("091", "092", "093", "094"):
                counter.respool(number, campaign=campaign)
        counter.schedule("091", "2027-05-05 10:00:00")
        due = [(row.campaign, row.destination) for row in counter.state.dial_order(NOON)]
        assert due == [
            *(("V->", "092"), ("V->", "094")),
            *(("W->", "091"), ("W->", "092"), ("W->", "093"), ("W->", "094")),
        ]
        assert len(counter.state.spool) == 8

    def test_an_agent_may_call_a_blocked_number(self):
        """The list is the dialers'; what servers do with a manual call is not known."""
        counter = Counter(dncr=frozenset({"V->"}))
        counter.block("098")
        assert UUID.fullmatch(counter.dial())
