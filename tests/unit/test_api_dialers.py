"""The vendor's section "Dialers": wire names and values by hand, the rules of respooling, the uses of a task."""

import random
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sound_requests import RULES

from ucontact_async.api.dialers import Dialers, DialerTask, RemoveContact, RemoveSchedule, Respool, ScheduledCall
from ucontact_async.errors import InvalidRequest, UContactError
from ucontact_async.text import Rules

WHEN = datetime(2026, 1, 15, 8, 30)
CTI = {
    "campaign": "Ventas->",
    "destination": "24001111",
    "dialerbase": "base enero",
    "status": 1,
    "data": "id=7:name=Ana",
    "alternatives": "24001111:24002222:24003333",
    "contact": 4711,
    "retries": 2,
    "priority": 50,
    "agentphone": "1001",
}
phones = st.text("0123456789", min_size=6, max_size=6)


def sent(endpoint, request, rules=RULES):
    """Return the fields that go out for ``request``, the JSON argument opened."""
    fields = dict(parse_qsl(endpoint.encode(request, rules).decode("ascii"), keep_blank_values=True))
    return fields if endpoint.codec.argument is None else msgspec.json.decode(fields[endpoint.codec.argument])


def without(*keys, **changes):
    """Return the call object without ``keys`` and with ``changes``."""
    return {key: value for key, value in (CTI | changes).items() if key not in keys}


def refused(build):
    """Return the error that ``build`` raises."""
    with pytest.raises(InvalidRequest) as caught:
        build()
    return caught.value


class TestWire:
    """What goes out, by the vendor's names and JSON types (protocol.md 2.5 to 2.8)."""

    def test_respool(self):
        """Ten keys; status is always 1; contact, retries and priority are numbers."""
        request = Respool(
            campaign="Ventas->",
            destination="24001111",
            dialerbase="base",
            contact=4711,
            alternatives=["24002222", "24003333"],
            data={"id": "7", "name": "Ana"},
        )
        assert sent(Dialers.respool, request) == {
            "campaign": "Ventas->",
            "destination": "24001111",
            "dialerbase": "base",
            "status": 1,
            "data": "id=7:name=Ana",
            "alternatives": "24002222:24003333",
            "contact": 4711,
            "retries": 0,
            "priority": 9999,
            "agentphone": "",
        }

    def test_schedule(self):
        """Six keys, ``data`` among them even if it is empty."""
        request = ScheduledCall(campaign="Ventas->", destination="24001111", calldate=WHEN)
        assert sent(Dialers.schedule, request) == {
            "campaign": "Ventas->",
            "destination": "24001111",
            "calldate": "2026-01-15 08:30:00",
            "alternatives": "",
            "agentphone": "",
            "data": "",
        }

    def test_task(self):
        """All nine keys, empty ones too; ``calldate`` null, ``bulk`` and ``automatic`` booleans."""
        assert sent(Dialers.task, DialerTask(campaign="Ventas<-", destination="24001111")) == {
            "campaign": "Ventas<-",
            "destination": "24001111",
            "calldate": None,
            "alternatives": "",
            "agent": "",
            "data": "",
            "source": "source",
            "bulk": False,
            "automatic": True,
        }

    def test_removals(self):
        """Plain form fields, with the names of the page."""
        assert sent(Dialers.remove_contact, RemoveContact(campaign="Ventas->", destination="24001111")) == {
            "campaign": "Ventas->",
            "number": "24001111",
        }
        removal = RemoveSchedule(campaign="Ventas->", destination="24001111", since=WHEN, until=WHEN)
        assert sent(Dialers.remove_schedule, removal) == {
            "campaign": "Ventas->",
            "destination": "24001111",
            "from": "2026-01-15 08:30:00",
            "to": "2026-01-15 08:30:00",
        }

    def test_where_they_go(self):
        """Paths and arguments as the page spells them."""
        assert {endpoint.path: endpoint.codec.argument for endpoint in Dialers.endpoints().values()} == {
            "Dialers/Respool": "callspool",
            "Dialers/ScheduleDialerCall": "callschedule",
            "Dialers/DialerTask": "call",
            "Dialers/RemoveContact": None,
            "Dialers/RemoveScheduleDialerCall": None,
            "Dialers/uploadbase": None,
            "Dialers/uploadbasewithtimezone": None,
        }


class TestRules:
    """Fields that contradict each other."""

    def test_a_range_that_ends_before_it_begins(self):
        """The end comes after the beginning, or at it."""
        fields = {"campaign": "Ventas->", "destination": "24001111"}
        later = WHEN.replace(hour=9)
        wrong = RemoveSchedule(since=later, until=WHEN, **fields)
        assert refused(lambda: sent(Dialers.remove_schedule, wrong)).field == "until"
        assert sent(Dialers.remove_schedule, RemoveSchedule(since=WHEN, until=later, **fields))

    def test_a_range_of_mixed_kinds(self):
        """A naive and an aware end cannot be compared without the zone, and are not."""
        removal = RemoveSchedule(
            campaign="Ventas->", destination="24001111", since=WHEN, until=datetime(2026, 1, 15, 12, tzinfo=UTC)
        )
        assert sent(Dialers.remove_schedule, removal)["to"] == "2026-01-15 09:00:00"

    def test_a_destination_that_is_its_own_alternative(self):
        """The dialer would call it twice."""
        request = Respool(
            campaign="a->", destination="24001111", dialerbase="b", contact=1, alternatives=["24002222", "24001111"]
        )
        assert refused(lambda: sent(Dialers.respool, request)).field == "alternatives"

    def test_no_zone_no_date(self):
        """What carries no date needs no zone."""
        assert sent(Dialers.task, DialerTask.urgent(campaign="a->", destination="24001111"), Rules())
        scheduled = DialerTask.scheduled(campaign="a->", destination="24001111", calldate=WHEN)
        assert refused(lambda: sent(Dialers.task, scheduled, Rules())).field == "calldate"


class TestRespoolFromCti:
    """The next request, built from the portal's call object by the rules of the page."""

    def test_the_whole_of_it(self):
        """Campaign, dialerbase and contact are taken over; the next alternative is dialled; retries start again."""
        assert Respool.from_cti(CTI) == Respool(
            campaign="Ventas->",
            destination="24002222",
            dialerbase="base enero",
            contact=4711,
            alternatives=["24003333", "24001111"],
            data={"id": "7", "name": "Ana"},
            retries=0,
            priority=50,
            agentphone="1001",
        )

    @pytest.mark.parametrize(
        "spelling", [str.upper, str.lower, str.title, str.swapcase, lambda key: key[0].upper() + key[1:]]
    )
    @pytest.mark.parametrize(
        "form", [dict, MappingProxyType, lambda cti: msgspec.json.encode(cti).decode(), msgspec.json.encode]
    )
    def test_keys_in_any_case_and_every_form(self, spelling, form):
        """A mapping, JSON text or its bytes; keys in whatever case the portal writes them."""
        assert Respool.from_cti(form({spelling(key): value for key, value in CTI.items()})) == Respool.from_cti(CTI)

    def test_the_names_that_a_form_sees(self):
        """A form gets ``Callerid`` and ``ParAndValues`` instead of the documented names."""
        cti = without("destination", "data") | {"Callerid": "24001111", "ParAndValues": "id=7:name=Ana"}
        assert Respool.from_cti(cti) == Respool.from_cti(CTI)

    def test_numbers_may_be_texts_and_texts_numbers(self):
        """Everything may come as text, and a number of digits only as a number."""
        cti = CTI | {"contact": "4711", "priority": " 50 ", "destination": 24001111, "agentphone": 1001}
        assert Respool.from_cti(cti) == Respool.from_cti(CTI)

    @given(st.lists(phones, min_size=2, max_size=6, unique=True), st.integers(0, 5), st.randoms(use_true_random=False))
    def test_never_the_number_on_the_spool(self, known, which, chance: random.Random):
        """Whichever was dialled and however they are ordered: another one is next, and none is lost or twice."""
        dialled = known[which % len(known)]
        listed = known + chance.choices(known, k=2)
        chance.shuffle(listed)
        request = Respool.from_cti(CTI | {"destination": dialled, "alternatives": ":".join(listed)})
        after = listed[listed.index(dialled) + 1 :] + listed
        assert request.destination == next(number for number in after if number != dialled)
        assert sorted([request.destination, *request.alternatives]) == sorted(known)
        request.check()

    def test_every_number_gets_its_turn(self):
        """Respooled again and again, a contact with three numbers is tried on each of them before one comes back."""
        cti = CTI | {"destination": "090000001", "alternatives": "090000001:090000002:090000003"}
        dialled = []
        for _ in range(6):
            request = Respool.from_cti(cti)
            dialled.append(request.destination[-1])
            # What the dialer makes of it: the number dialled stands among the alternatives again.
            cti |= {"destination": request.destination}
            cti["alternatives"] = ":".join([request.destination, *request.alternatives])
        assert "".join(dialled) == "231231"

    @pytest.mark.parametrize("alternatives", ["", "24001111", "24001111:24001111", ":", ":24001111:"])
    def test_no_number_left(self, alternatives):
        """Without another number there is nothing to respool."""
        error = refused(lambda: Respool.from_cti(CTI | {"alternatives": alternatives}))
        assert error.field == "alternatives"
        assert "already on the spool" in error.reason

    def test_a_destination_of_ones_own(self):
        """Any other number may be given; the listed ones stay alternatives."""
        request = Respool.from_cti(CTI, destination="24009999")
        assert request.destination == "24009999"
        assert request.alternatives == ("24001111", "24002222", "24003333")
        assert Respool.from_cti(CTI, destination="24003333").alternatives == ("24001111", "24002222")

    def test_the_number_on_the_spool_as_a_destination(self):
        """The page forbids it, and so the message says what to give."""
        error = refused(lambda: Respool.from_cti(CTI, destination="24001111"))
        assert error.field == "destination"
        assert "alternative" in error.reason
        assert "1111" not in str(error)

    def test_what_may_be_changed(self):
        """Alternatives, retries, priority, data and agentphone are replaced where they are given, even by nothing."""
        request = Respool.from_cti(CTI, alternatives=[], retries=1, priority=2, data={}, agentphone="")
        assert (request.alternatives, request.retries, request.priority) == ((), 1, 2)
        assert (request.data, request.agentphone) == ({}, "")
        with pytest.raises(InvalidRequest, match="alternatives: expected a list"):
            Respool.from_cti(CTI, alternatives="24002222")

    @pytest.mark.parametrize("key", ["campaign", "dialerbase", "contact"])
    def test_what_may_not_be_changed(self, key):
        """Campaign, dialerbase and contact are those of the call: there is no parameter for them."""
        with pytest.raises(TypeError):
            Respool.from_cti(CTI, **{key: "x"})

    @pytest.mark.parametrize(
        ("priority", "next_one"),
        [(1, 9999), ("1", 9999), (0, 9999), ("0", 9999), (2, 2), (9999, 9999)],
    )
    def test_priority_1_is_not_taken_over(self, priority, next_one):
        """A call that came from the schedule has 1, which is reserved; its respool goes last."""
        assert Respool.from_cti(CTI | {"priority": priority}).priority == next_one

    @pytest.mark.parametrize("key", ["campaign", "destination", "dialerbase", "contact", "alternatives"])
    @pytest.mark.parametrize("absent", [True, False])
    def test_what_is_missing_is_named(self, key, absent):
        """A key that is absent or null is named: the call was perhaps not made by a dialer."""
        error = refused(lambda: Respool.from_cti(without(key) if absent else CTI | {key: None}))
        assert error.field == key
        assert "no key" in error.reason

    def test_what_may_be_missing(self):
        """Priority, data and agentphone have defaults; alternatives are only missed where a number is looked for."""
        request = Respool.from_cti(without("priority", "data", "agentphone", "status", "retries"))
        assert (request.priority, request.data, request.agentphone) == (9999, {}, "")
        assert Respool.from_cti(without("alternatives"), destination="24009999").alternatives == ()

    @pytest.mark.parametrize("key", ["campaign", "destination", "dialerbase", "contact", "alternatives", "data"])
    @pytest.mark.parametrize("value", [[], {}, 1.5, True])
    def test_what_is_of_a_wrong_type_is_named(self, key, value):
        """A list where text belongs is named."""
        assert refused(lambda: Respool.from_cti(CTI | {key: value})).field == key

    @pytest.mark.parametrize("key", ["contact", "priority"])
    @pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "²"])
    def test_what_is_no_number_is_named(self, key, value):
        """Text that is no whole number is named."""
        assert refused(lambda: Respool.from_cti(CTI | {key: value})).field == key

    @pytest.mark.parametrize(
        "cti", ["", "{", "null", "[]", "1", '"text"', b"\xff", chr(0xD800), "[" * 100_000, None, 1, [CTI]]
    )
    def test_what_is_no_call_object(self, cti):
        """Anything else is refused as ``cti``."""
        assert refused(lambda: Respool.from_cti(cti)).field == "cti"

    @given(
        st.dictionaries(
            st.sampled_from(sorted(CTI)),
            st.none() | st.text() | st.integers() | st.lists(st.integers()) | st.just("24001111:24002222"),
        )
    )
    def test_any_call_object_is_a_request_or_a_refusal(self, changes):
        """No call object brings down a form; what comes of it keeps the rules or is refused when it is encoded."""
        try:
            assert sent(Dialers.respool, Respool.from_cti(CTI | changes))["status"] == 1
        except InvalidRequest:
            pass
        except UContactError:
            pytest.fail("only InvalidRequest")


TASK = {"campaign": "Ventas->", "destination": "24001111", "alternatives": ["24002222"], "data": {"id": "7"}}
# protocol.md 2.7: constructor, its own fields, bulk, automatic, calldate, agent, seconds until its first byte.
USES = [
    (DialerTask.urgent, {}, False, True, None, "", None),
    (DialerTask.now, {}, False, False, None, "", 5.0),
    (DialerTask.now, {"agent": "ana"}, False, False, None, "ana", 5.0),
    (DialerTask.scheduled, {"calldate": WHEN}, True, False, "2026-01-15 08:30:00", "", None),
    (DialerTask.for_agent, {"agent": "ana"}, True, True, None, "ana", None),
    (DialerTask.for_agent, {"agent": ""}, True, True, None, "", None),
    (DialerTask.for_phone, {"phone": "1001"}, True, True, None, "1001", None),
]


class TestTask:
    """The documented uses of a task."""

    @pytest.mark.parametrize(("build", "own", "bulk", "automatic", "calldate", "agent", "send_by"), USES)
    def test_each_use(self, build, own, bulk, automatic, calldate, agent, send_by):
        """Each constructor gives the documented flags, and only calling now has a deadline."""
        request = build(**TASK, **own, source="web")
        assert sent(Dialers.task, request) == {
            "campaign": "Ventas->",
            "destination": "24001111",
            "calldate": calldate,
            "alternatives": "24002222",
            "agent": agent,
            "data": "id=7",
            "source": "web",
            "bulk": bulk,
            "automatic": automatic,
        }
        assert Dialers.task.prepare(request, RULES).send_by == send_by

    @pytest.mark.parametrize("build", {build.__name__: build for build, *_ in USES}.values())
    def test_positionals_and_strangers(self, build):
        """Keywords only, and only those that the use has."""
        with pytest.raises(TypeError):
            build("Ventas->", "24001111")
        with pytest.raises(TypeError):
            build(**TASK, bulk=True)

    @pytest.mark.parametrize(
        ("build", "missing"),
        [(DialerTask.scheduled, "calldate"), (DialerTask.for_agent, "agent"), (DialerTask.for_phone, "phone")],
    )
    def test_what_a_use_cannot_do_without(self, build, missing):
        """What makes the use is not optional."""
        with pytest.raises(TypeError, match=missing):
            build(**TASK)

    @pytest.mark.parametrize("phone", ["", "ana", "1", "1001&1002"])
    def test_a_phone_is_a_number(self, phone):
        """A name where an extension belongs is refused at once, by the name of the parameter."""
        assert refused(lambda: DialerTask.for_phone(**TASK, phone=phone)).field == "phone"

    def test_a_schedule_without_a_date_is_none(self):
        """``calldate=None`` would mean as soon as possible, so the plain type has to say it."""
        request = DialerTask.scheduled(**TASK, calldate=None)
        assert sent(Dialers.task, request)["calldate"] is None
