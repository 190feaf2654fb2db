"""The faults: which rule strikes, and what the server got, applied and said when each kind did."""

import asyncio
import contextlib
import json
from time import monotonic
from urllib.parse import quote

import pytest
from waiting import until

from ucontact_async.emulator import Emulator, Faults, Rule
from ucontact_async.emulator.faults import NO_FAULT
from ucontact_async.errors import SettingsError

PATH = "Dialers/RemoveContact"
BODY = b"campaign=V-%3E&number=098344484"


def rules(*given, seed=1):
    return Faults.read({"rules": list(given), "seed": seed})


def struck(faults, requests, endpoint=PATH, fields=None):
    """Return which of so many equal requests are struck."""
    return [n for n in range(requests) if faults.choose(endpoint, fields or {}) is not NO_FAULT]


def test_a_rule_strikes_what_its_patterns_match():
    """Endpoint and fields are matched by pattern, fields by their wire names and wire text."""
    match = {"destination": "09*", "retries": "[0-3]", "bulk": "true", "calldate": "null"}
    faults = rules({"endpoint": "Dialers/*", "match": match, "fault": "hang_before_apply"})
    fields = {"destination": "098344484", "retries": 3, "bulk": True, "calldate": None}
    assert struck(faults, 1, fields=fields) == [0]
    assert struck(faults, 1, "auth/UserLogin", fields) == []
    for change in ({"destination": "24001234"}, {"retries": 4}, {"bulk": False}, {"calldate": ""}):
        assert struck(faults, 1, fields=fields | change) == []
    del fields["bulk"]
    assert struck(faults, 1, fields=fields) == []


def test_after_and_count_bound_a_rule():
    """The first so many are left alone, at most so many are struck."""
    assert struck(rules({"fault": "status", "after": 2, "count": 3}), 10) == [2, 3, 4]
    assert struck(rules({"fault": "status", "count": 0}), 3) == []


def test_a_request_that_another_rule_took_counts_as_matching():
    """``after`` counts requests, not chances."""
    faults = rules({"fault": "body", "count": 1}, {"fault": "status", "after": 1})
    assert [faults.choose(PATH, {}).rule.fault for _ in range(3)] == ["body", "status", "status"]


def test_chances_come_from_the_seed_and_not_from_other_rules():
    """The same seed strikes the same requests, whatever rules stand behind."""
    rule = {"fault": "status", "probability": 0.3}
    first = struck(rules(rule), 200)
    assert first == struck(rules(rule, {"endpoint": "none", "fault": "body", "probability": 0.5}), 200)
    assert first != struck(rules(rule, seed=2), 200)
    assert 30 < len(first) < 90
    assert struck(rules(rule | {"probability": 0}), 50) == []


def test_all_latencies_add_up_and_one_other_fault_follows():
    """Latency combines; of the others the first one counts, wherever the latencies stand."""
    slow = {"fault": "latency", "seconds": 0.5}
    chosen = rules(slow, {"fault": "truncated"}, {"fault": "body"}, slow).choose(PATH, {})
    assert (chosen.latency, chosen.rule.fault) == (1.0, "truncated")
    assert rules(slow).choose(PATH, {}).rule is None


def test_what_is_applied_is_stated_by_the_rule():
    """A status applies only if told to; a body does unless it is 0 or told not to."""
    assert not Rule(fault="status").applies
    assert Rule(fault="status", apply=True).applies
    assert Rule(fault="body").applies
    assert Rule(fault="body", body="").applies
    assert not Rule(fault="body", body="0\n").applies
    assert Rule(fault="body", body="0", apply=True).applies
    assert not Rule(fault="body", apply=False).applies


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"", "faults: "),
        (b"\xff", "faults: "),
        (b"[" * 100_000, "faults: "),
        (b"[]", "object"),
        (b"{}", "rules"),
        (b'{"rules": [], "sed": 1}', "sed"),
        (b'{"rules": [1]}', "rule 0"),
        (b'{"rules": [{}]}', "rule 0.*fault"),
        (b'{"rules": [{"fault": "body"}, {"fault": "explode"}]}', "rule 1.*explode"),
        (b'{"rules": [{"fault": "body", "chance": 1}]}', "rule 0.*chance"),
        (b'{"rules": [{"fault": "body", "seconds": -1}]}', "rule 0.*seconds"),
        (b'{"rules": [{"fault": "body", "probability": 2}]}', "rule 0.*probability"),
        (b'{"rules": [{"fault": "body", "count": -1}]}', "rule 0.*count"),
        (b'{"rules": [{"fault": "body", "after": 1.5}]}', "rule 0.*after"),
        (b'{"rules": [{"fault": "status", "status": 99}]}', "rule 0.*status"),
        (b'{"rules": [{"fault": "status", "headers": {"A": "b\\r\\nC: d"}}]}', "rule 0.*headers"),
        (b'{"rules": [{"fault": "body", "match": {"a": 1}}]}', "rule 0.*match"),
    ],
)
def test_a_bad_rule_file_names_the_rule_and_the_key(source, complaint):
    """Whoever wrote the file finds the place."""
    with pytest.raises(SettingsError, match=complaint):
        Faults.read(source)


class Line:
    """One connection, spoken to by hand."""

    def __init__(self, emulator):
        self.emulator = emulator
        self.token = emulator.state.sessions.open("api")

    async def __aenter__(self):
        port = int(self.emulator.url.rpartition(":")[2])
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, body=BODY, path=PATH, headers="", announced=None):
        """Send one POST, of whose body more may be announced than there is."""
        head = f"POST /Integra/resources/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {self.token}\r\n{headers}"
        length = len(body) if announced is None else announced
        self.writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)

    async def hear(self, *until, seconds=10):
        """Return what is heard up to ``until``, or all of it, and how it ended: open, closed or reset."""
        heard = b""
        try:
            async with asyncio.timeout(seconds):
                while piece := await self.reader.read(65536):
                    heard += piece
                    if heard.endswith(until):
                        return heard, "open"
        except TimeoutError:
            return heard, "open"
        except ConnectionResetError:
            return heard, "reset"
        return heard, "closed"


ONE = b"\r\n\r\n1"
KINDS = [  # rule, end of what is heard, how the connection ended, requests read, effects, answered
    ({"fault": "latency", "seconds": 0.03}, ONE, "open", 1, 1, True),
    ({"fault": "close_before_read"}, b"", "closed", 0, 0, None),
    ({"fault": "reset_before_read"}, b"", "reset", 0, 0, None),
    ({"fault": "refuse", "seconds": 0.01}, b"", "reset", 0, 0, None),
    ({"fault": "close_after_read"}, b"", "closed", 1, 0, None),
    ({"fault": "reset_after_read"}, b"", "reset", 1, 0, None),
    ({"fault": "close_after_apply"}, b"", "closed", 1, 1, False),
    ({"fault": "reset_after_apply"}, b"", "reset", 1, 1, False),
    ({"fault": "hang_before_apply"}, b"", "open", 1, 0, None),
    ({"fault": "hang_after_apply"}, b"", "open", 1, 1, False),
    ({"fault": "status"}, b"\r\n\r\n", "open", 1, 0, None),
    ({"fault": "status", "status": 429, "body": "slow", "headers": {"Retry-After": "3"}}, b"slow", "open", 1, 0, None),
    ({"fault": "status", "status": 502, "body": "bad", "apply": True}, b"bad", "open", 1, 1, False),
    ({"fault": "body"}, b"</html>", "open", 1, 1, False),
    ({"fault": "body", "body": ""}, b"\r\n\r\n", "open", 1, 1, False),
    ({"fault": "body", "body": "0"}, b"\r\n\r\n0", "open", 1, 0, None),
    ({"fault": "truncated"}, ONE, "closed", 1, 1, False),
    ({"fault": "unsolicited"}, ONE, "open", 1, 1, True),
    ({"fault": "late_apply", "seconds": 0.1}, b"", "closed", 1, 1, False),
    ({"fault": "late_apply", "seconds": 0.01, "hold": True}, b"", "closed", 1, 1, False),
]


def name_of(kind):
    return "-".join(str(value) for value in kind[0].values())


def test_every_kind_of_fault_is_tried():
    """No fault without a witness."""
    from typing import get_args

    from ucontact_async.emulator import FaultKind

    assert {kind[0]["fault"] for kind in KINDS} == set(get_args(FaultKind))


@pytest.mark.parametrize("match", [{}, {"number": "09*"}], ids=["by endpoint", "by field"])
@pytest.mark.parametrize("kind", KINDS, ids=name_of)
async def test_what_is_heard_read_and_applied(emulator, kind, match):
    """For each kind: what the client hears, how it ends, what the server read, did and believes to have said."""
    rule, heard, end, read, applied, answered = kind
    emulator.set_faults({"rules": [rule | {"endpoint": PATH, "match": match}]})
    async with Line(emulator) as line:
        line.send()
        if end == "open":
            said, ended = await (line.hear(heard) if heard else line.hear(seconds=0.15))
        else:
            said, ended = await line.hear()
    assert (said.endswith(heard) if heard else said == b"", ended) == (True, end)
    assert emulator.ledger.requests[PATH] == read
    if rule["fault"] == "late_apply":
        assert len(emulator.ledger) == (applied if "hold" in rule else 0)
        await asyncio.sleep(rule["seconds"] + 0.05)
    assert len(emulator.ledger) == applied
    assert [entry.answered for entry in emulator.ledger] == ([] if answered is None else [answered])


async def test_a_status_comes_with_its_headers(emulator):
    """Status line and headers are those of the rule."""
    rule = {"fault": "status", "status": 302, "headers": {"Location": "/login", "Content-Type": "text/html"}}
    emulator.set_faults({"rules": [rule]})
    async with Line(emulator) as line:
        line.send()
        said, _ = await line.hear(b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Type: text/html\r\n")


async def test_a_truncated_answer_announces_more_than_it_holds(emulator):
    """The 1 is there, and sixteen bytes are missing."""
    emulator.set_faults({"rules": [{"fault": "truncated"}]})
    async with Line(emulator) as line:
        line.send()
        said, _ = await line.hear()
    assert b"Content-Length: 17\r\n" in said


async def test_an_unsolicited_answer_follows_the_real_one(emulator):
    """So many seconds later, on the idle connection, with the body of the rule."""
    emulator.set_faults({"rules": [{"fault": "unsolicited", "seconds": 0.1, "body": "2", "count": 1}]})
    async with Line(emulator) as line:
        line.send()
        first, _ = await line.hear(ONE)
        second, _ = await line.hear(b"\r\n\r\n2")
        line.send()
        third, _ = await line.hear(ONE)
    assert (first[-5:], second[-5:], third[-5:]) == (ONE, b"\r\n\r\n2", ONE)
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_refused_connections_come_back(emulator):
    """The port refuses for the time of the rule, is nobody else's meanwhile, and then serves again."""
    emulator.set_faults({"rules": [{"fault": "refuse", "seconds": 0.6, "count": 1}]})
    async with Line(emulator) as other:
        other.send(path="auth/UserLogin", body=b"user=x")
        assert (await other.hear())[1] == "reset"
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await Line(emulator).__aenter__()
            await asyncio.sleep(0.02)
    line = None
    async with asyncio.timeout(10):
        while line is None:
            await asyncio.sleep(0.02)
            with contextlib.suppress(ConnectionRefusedError):
                line = await Line(emulator).__aenter__()
    line.send()
    assert (await line.hear(ONE))[0].endswith(ONE)
    await line.__aexit__()


async def test_connections_that_are_open_survive_a_refusal(emulator):
    """Only new ones are refused."""
    emulator.set_faults({"rules": [{"endpoint": PATH, "fault": "refuse", "seconds": 0.1}]})
    async with Line(emulator) as first, Line(emulator) as second:
        second.send(path="auth/UserLogin", body=b"user=x")
        await second.hear(b"\r\n\r\n0")
        first.send()
        assert (await first.hear())[1] == "reset"
        second.send(path="auth/UserLogin", body=b"user=x")
        assert (await second.hear(b"\r\n\r\n0"))[0].endswith(b"\r\n\r\n0")


@pytest.mark.parametrize("fault", ["close_before_read", "reset_before_read"])
async def test_a_body_is_not_awaited_by_what_strikes_before_it(emulator, fault):
    """The connection ends though the body has not been sent."""
    emulator.set_faults({"rules": [{"fault": fault}]})
    async with Line(emulator) as line:
        line.send(b"campaign=", announced=5000)
        assert (await line.hear()) == (b"", "closed" if fault.startswith("close") else "reset")
    assert emulator.ledger.requests.total() == 0


@pytest.mark.parametrize("fault", ["close_before_read", None])
async def test_a_client_that_expects_100_hears_it_only_if_the_body_is_wanted(emulator, fault):
    """``Expect: 100-continue`` is answered when the body is read, not when the head is."""
    if fault:
        emulator.set_faults({"rules": [{"fault": fault}]})
    async with Line(emulator) as line:
        line.send(b"", headers="Expect: 100-continue\r\n", announced=len(BODY))
        heard, end = await line.hear(b"\r\n\r\n")
        assert (heard, end) == ((b"", "closed") if fault else (b"HTTP/1.1 100 Continue\r\n\r\n", "open"))
        if not fault:
            line.writer.write(BODY)
            assert (await line.hear(ONE))[0].endswith(ONE)


@pytest.mark.parametrize(("also", "applied"), [(None, 1), ("close_after_apply", 1), ("close_after_read", 0)])
async def test_a_server_finishes_what_it_has_read_though_the_client_left(emulator, also, applied):
    """A client that gives up during a latency has not undone its request."""
    given = [{"fault": "latency", "seconds": 0.3}, *([{"fault": also}] if also else [])]
    emulator.set_faults({"rules": given})
    async with Line(emulator) as line:
        line.send()
        await until(lambda: emulator.ledger.in_flight)
    assert len(emulator.ledger) == 0
    await until(lambda: len(emulator.ledger) == applied)
    if not applied:
        await asyncio.sleep(0.5)
    assert [entry.answered for entry in emulator.ledger] == [False] * applied


async def test_a_refused_request_is_not_applied_by_a_fault(emulator):
    """A dead token or a bad form stays refused, now or late."""
    emulator.set_faults({"rules": [{"fault": "close_after_apply", "count": 1}, {"fault": "late_apply", "seconds": 0}]})
    for _ in range(2):
        async with Line(emulator) as line:
            line.token = "dead"
            line.send()
            assert (await line.hear())[1] == "closed"
    assert (len(emulator.ledger), emulator.ledger.requests[PATH]) == (0, 2)


async def test_a_late_effect_is_dropped_by_a_reset(emulator):
    """After a reset nothing of before arrives."""
    emulator.set_faults({"rules": [{"fault": "late_apply", "seconds": 0.05}]})
    async with Line(emulator) as line:
        line.send()
        await line.hear()
    emulator.reset()
    await asyncio.sleep(0.1)
    assert len(emulator.ledger) == 0


async def test_only_the_fields_of_the_rule_are_struck(emulator):
    """A match on a JSON argument strikes that row and no other."""
    emulator.set_faults({"rules": [{"endpoint": "Dialers/*", "match": {"destination": "*7"}, "fault": "body"}]})
    bodies = []
    async with Line(emulator) as line:
        for destination in ("1006", "1007", "1008"):
            row = {"campaign": "V->", "destination": destination, "calldate": "2027-05-05 10:00:00"}
            line.send(b"callschedule=" + quote(json.dumps(row)).encode(), "Dialers/ScheduleDialerCall")
            bodies.append((await line.hear(b"\r\n\r\n1", b"</html>"))[0].rpartition(b"\r\n\r\n")[2])
    assert [body[:1] for body in bodies] == [b"1", b"<", b"1"]
    assert [entry.answered for entry in emulator.ledger] == [True, False, True]


async def test_hanging_requests_do_not_hold_up_the_end():
    """The emulator ends within a second, whatever hangs in it."""
    hanging = [{"fault": "latency", "seconds": 60, "count": 1}, {"fault": "refuse", "seconds": 60, "after": 5}]
    lines = []
    async with Emulator(faults={"rules": [*hanging, {"fault": "hang_after_apply"}]}) as emulator:
        for _ in range(6):
            line = await Line(emulator).__aenter__()
            line.send()
            lines.append(line)
            await until(lambda: emulator.ledger.in_flight >= min(len(lines), 5))
        assert (await line.hear())[1] == "reset"
        assert emulator.ledger.in_flight == 5
        started = monotonic()
    assert monotonic() - started < 1
    for line in lines:
        await line.__aexit__()
    assert emulator.ledger.in_flight == 0
