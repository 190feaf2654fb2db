"""Many requests to bytes at once: the same bytes as one by one, and none where one of them is refused."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_requests import RULES, sound

from ucontact_async import DialerTask, Respool, ScheduledCall
from ucontact_async.api import ENDPOINTS, endpoint_of
from ucontact_async.errors import InvalidRequest
from ucontact_async.text import Rules

WITH_DOCUMENT = [endpoint for endpoint in ENDPOINTS.values() if endpoint.codec.argument and not endpoint.codec.beside]
# Its clock is set back on 2026-04-05 at midnight.
SANTIAGO = Rules(ZoneInfo("America/Santiago"))
NOON = datetime(2099, 5, 5, 12, tzinfo=UTC)


def call(number, **changes):
    """Return one of many plain calls."""
    plain = {
        "campaign": "Ventas->",
        "destination": f"0991{number:05}",
        "calldate": NOON + timedelta(seconds=number),
        "alternatives": (f"2{number:07}", "24001234"),
        "data": {"id": str(number), "name": "Iñaki & 100 % +1", "city": ""},
    }
    return ScheduledCall(**plain | changes)


def one_by_one(requests, rules=RULES):
    """Return what the requests are encoded to, each for itself."""
    return [endpoint_of(request).prepare(request, rules) for request in requests]


def at_once(requests, rules=RULES):
    """Return the same, all at once, or ``None``."""
    found = endpoint_of(requests[0]).prepare_all(requests, rules)
    return None if found is None else found[0]


PLAIN = {
    "calls": [call(number) for number in range(300)],
    "calls without anything": [call(number, data={}, alternatives=()) for number in range(3)],
    "calls with letters of all sorts": [
        call(number, data={"Имя": f"Ж{number}", "x": "\u00e9 ñ"}) for number in range(3)
    ],
    "calls with various data": [call(number, data={f"n{number}": "7"}) for number in range(3)],
    "numbers with signs": [call(number, destination=f"+5989{number}-#*") for number in range(3)],
    "respools": [
        Respool(campaign="Ventas->", destination=f"099{number:05}", dialerbase="a b", contact=number)
        for number in range(300)
    ],
    "tasks": [DialerTask(campaign="Ventas->", destination=f"099{number:05}") for number in range(3)],
    "tasks with a date": [
        DialerTask(campaign="Ventas->", destination=f"099{number:05}", calldate=NOON, bulk=True, source='a "b" \\ %')
        for number in range(3)
    ],
}


@pytest.mark.parametrize("requests", PLAIN.values(), ids=PLAIN)
def test_plain_requests_are_encoded_at_once(requests):
    """What a run is made of is not left to be encoded one by one, and comes out the same."""
    assert at_once(requests) == one_by_one(requests)
    assert at_once(requests[::-1]) == one_by_one(requests[::-1])


@pytest.mark.parametrize("endpoint", WITH_DOCUMENT, ids=[endpoint.path for endpoint in WITH_DOCUMENT])
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_encoded_at_once_is_the_same(endpoint, data):
    """Bytes, document and all else that is prepared do not depend on who else is in the block."""
    requests = data.draw(st.lists(sound(endpoint.request_type), min_size=1, max_size=4))
    found = at_once(requests)
    assert found is None or found == one_by_one(requests)


REFUSED = {
    "campaign": "Ventas",
    "destination": "",
    "calldate": datetime(2026, 4, 4, 23, 30),
    "alternatives": ("24001234", "24001234"),
    "agentphone": "1",
    "data": {"": "7"},
}
ALSO_REFUSED = [
    {"destination": "0" * 25},
    {"destination": 99123456},
    {"destination": "٠٩٩١٢٣٤٥"},
    {"alternatives": ("2400:1234",)},
    {"alternatives": ("2",)},
    {"calldate": "2099-05-05 12:00:00"},
    {"calldate": None},
    {"data": {"id": "7:x=1"}},
    {"data": {"id": "7;"}},
    {"data": {"id": "7\n"}},
    {"data": {"id": "\ud800"}},
    {"data": {"a=b": "7"}},
    {"data": {"id": 7}},
    {"data": {7: "id"}},
    {"data": {"id": "7\x85"}},
    {"data": {"id": "Ж\n"}},
    {"data": {"id": "Ж;"}},
    {"campaign": 7},
]


@pytest.mark.parametrize("changes", [*({name: value} for name, value in REFUSED.items()), *ALSO_REFUSED], ids=str)
def test_a_request_that_is_refused_is_refused_in_a_block_too(changes):
    """One wrong request among many has them taken one by one, where it is named."""
    zone = RULES if "calldate" not in changes or changes["calldate"] != REFUSED["calldate"] else SANTIAGO
    wrong = call(1, **changes)
    with pytest.raises(InvalidRequest):
        one_by_one([wrong], zone)
    assert at_once([call(0), wrong, call(2)], zone) is None
    assert at_once([wrong] * 3, zone) is None


def test_a_flag_is_not_taken_for_the_number_that_it_equals():
    """A value that was accepted once does not let another type pass."""
    task = {"campaign": "Ventas->", "destination": "099123456"}
    assert at_once([DialerTask(bulk=True, **task)] * 2) is not None
    assert at_once([DialerTask(bulk=1, **task)] * 2) is None
    assert at_once([DialerTask(bulk=True, **task), DialerTask(bulk=1, **task)]) is None


def test_the_rules_of_another_server_are_asked_anew():
    """What one server accepts another may refuse, and its clock is another."""
    requests = [call(number, campaign="Ventas") for number in range(3)]
    assert at_once(requests, Rules(RULES.zone, campaign_arrows=False)) is not None
    assert at_once(requests) is None
    requests = [call(number) for number in range(3)]
    assert at_once(requests, SANTIAGO) == one_by_one(requests, SANTIAGO) != at_once(requests)
