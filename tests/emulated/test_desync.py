"""A connection that gives one answer too many: what was said of the calls answered over it is taken back."""

import asyncio
import csv
import os
import sqlite3
import ssl
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scripted_server import ANSWER, Scripted

from ucontact_async import Doubted, OutcomeUnknown, Rejected, ScheduledCall, UContact
from ucontact_async.attempt import Attempt, Outgoing
from ucontact_async.desync import STRAYS, AnswerLog
from ucontact_async.endpoint import Flight
from ucontact_async.lane import CommandLane
from ucontact_async.pool import SessionLane
from ucontact_async.settings import Secret, Settings
from ucontact_async.wire import Answer

REFUSAL = ANSWER[:-1] + b"0"
THROTTLED = b"HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n"
TOO_LATE = b"HTTP/1.1 408 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TURN = 0.3  # seconds: long enough for what is sent a few milliseconds after an answer


def call(number):
    return ScheduledCall(campaign="Ventas->", destination=f"09{number:07d}", calldate=datetime(2099, 5, 5, 10))


def one_behind(surplus=ANSWER):
    """Answer the second request with what nobody asked for, and the third with what was the second's."""

    def script(connection, number, request):
        if number == 2:
            connection.sendall(REFUSAL)
            time.sleep(0.01)
            connection.sendall(surplus)
        else:
            connection.sendall(ANSWER)

    return script


@pytest.fixture(params=["plain", "TLS"])
def speaks(request, tmp_path):
    """Return what a server and a client need to speak plainly, or TLS."""
    if request.param == "plain":
        return None, {}
    trustme = pytest.importorskip("trustme", reason="trustme is not installed: python -m pip install trustme")
    authority, path = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context, {"ca": path}


def client_of(server, **options):
    return UContact(server.url, token="x", timezone="America/Montevideo", **options)


async def with_a_pause(told):
    """Yield three calls, and a fourth when it was ``told`` what is taken back of them, or never will be."""
    for number in range(3):
        yield call(number)
    for _ in range(1000):
        if told():
            break
        await asyncio.sleep(0.01)
    yield call(3)


def rows_of(journal):
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        return db.execute("SELECT status, reason FROM rows ORDER BY id").fetchall()


@pytest.mark.parametrize("lane", ["command", "session"])
async def test_rows_are_taken_back(speaks, tmp_path, lane):
    """A row said to have succeeded and one said to be refused become unknown, durably, and are never sent again."""
    context, trust = speaks
    journal = tmp_path / "run.db"
    requests = [call(number) for number in range(4)]
    with Scripted(one_behind(), context) as server:
        async with client_of(server, lane=lane, **trust) as uc:
            options = {"journal": journal, "retry_refused": True}
            feed = with_a_pause(lambda: run.report.unknown == 2)
            async with uc.stream(feed, max_concurrency=1, **options) as run:
                said = [(each.index, each.status, each.amends and each.amends.status) async for each in run]
            report = run.report
            again = await uc.bulk(requests, **options)
    assert sorted(said[:3]) == [(0, "succeeded", None), (1, "succeeded", None), (2, "failed", None)]
    assert sorted(said[3:]) == [(1, "unknown", "succeeded"), (2, "unknown", "failed"), (3, "succeeded", None)]
    assert (report.rows, report.succeeded, report.failed, report.unknown) == (4, 2, 0, 2)
    assert report.reasons == {("unknown", "desync"): 2}
    assert [(outcome.index, outcome.request) for outcome in report.problems] == [(1, requests[1]), (2, requests[2])]
    assert (report.judged.rows, report.judged.failed, report.judged.unknown) == (4, 0, 2)
    expected = [("succeeded", ""), ("unknown", "desync"), ("unknown", "desync"), ("succeeded", "")]
    assert rows_of(journal) == expected
    assert (again.succeeded, again.unknown, again.skipped) == (0, 2, 2)
    assert (len(server.requests), server.connections) == (4, 2)


@pytest.mark.parametrize("ordered", [False, True])
async def test_without_a_journal_they_are_taken_back_too(ordered):
    """The report and whoever reads the outcomes learn it, in whatever order; the fuse counts it."""
    with Scripted(one_behind()) as server:
        async with client_of(server) as uc:
            feed = with_a_pause(lambda: run.report.unknown == 2)
            async with uc.stream(feed, max_concurrency=1, ordered=ordered, max_unknown=1) as run:
                said = [(outcome.index, str(outcome.status)) async for outcome in run]
    assert said[:3] == [(0, "succeeded"), (1, "succeeded"), (2, "failed")]
    assert sorted(said[3:]) in ([(1, "unknown"), (2, "unknown")], [(1, "unknown"), (2, "unknown"), (3, "skipped")])
    assert "max_unknown" in str(run.report.stopped)
    assert len(server.requests) == 3


async def test_an_idle_connection_that_is_told_to_end_takes_nothing_back():
    """A 408 that nobody asked for says of itself that it answers nothing."""
    with Scripted(one_behind(TOO_LATE)) as server:
        async with client_of(server) as uc:
            report = await uc.bulk([call(number) for number in range(4)], max_concurrency=1, max_per_second=1 / TURN)
    assert (report.succeeded, report.failed, report.unknown) == (3, 1, 0)


async def test_a_call_of_its_own_is_told_by_an_event():
    """Whoever made a single call has its answer already, and learns that it is in doubt by listening."""
    events = []
    with Scripted(one_behind()) as server:
        async with client_of(server) as uc:
            uc.listen(events.append)
            await uc.send(call(0))
            await uc.send(call(1))
            with pytest.raises(Rejected):
                await uc.send(call(2))
            while len(events) < 2:
                await asyncio.sleep(0.001)
    assert events == [Doubted(call(1)), Doubted(call(2))]


async def test_an_answer_in_doubt_allows_no_other_try():
    """What a refusal for now would send again is not sent when that refusal may have been another call's."""

    def script(connection, number, request):
        throttled = len(server.requests) == 2
        connection.sendall(THROTTLED if throttled else ANSWER)
        if throttled:
            time.sleep(0.01)
            connection.sendall(ANSWER)

    with Scripted(script) as server:
        async with client_of(server) as uc:
            await uc.send(call(0))
            with pytest.raises(OutcomeUnknown, match="answer too many"):
                await uc.send(call(1))
            report = await uc.bulk([call(2)])
    assert report.succeeded == 1
    assert sum(b"090000001" in request for request in server.requests) == 1


class _Call(Flight):
    """One that tells which it is."""

    def __init__(self, number, told):
        self.number = number
        self._told = told

    def doubt(self):
        self._told.append(self.number)


def answer_of(body, status=200):
    return Answer(status, {}, body)


@pytest.mark.parametrize(
    ("answers", "doubted"),
    [
        ("1" * 5, range(5)),
        ("1" * STRAYS, range(STRAYS)),
        ("1" * 100, range(100 - STRAYS, 100)),
        ("1" * 50 + "0" + "1" * 49, [*range(50 - STRAYS, 51), *range(100 - STRAYS, 100)]),
        ("0" + "1" * STRAYS, [*range(STRAYS + 1)]),
        ("01" * 20, range(40)),
        ("", []),
    ],
)
def test_which_calls_are_in_doubt(answers, doubted):
    """A call whose answer is that of the eight that followed is right whichever of them was its own."""
    told = []
    log = AnswerLog()
    for number, body in enumerate(answers):
        log.enter(_Call(number, told), answer_of(body.encode()))
    log.doubt()
    log.doubt()
    assert told == [*doubted]


def test_a_log_is_bounded():
    """Of answers that differ all calls are held, and the connection is used no more soon; of like ones, eight are."""
    log = AnswerLog()
    for _ in range(10_000):
        log.enter(None, answer_of(b"1"))
    assert not log.full
    entered = 0
    while not log.full:
        log.enter(None, answer_of(b"%d" % entered))
        entered += 1
    assert entered < 100


async def test_a_connection_whose_answers_differ_is_renewed():
    """Connections do not hold more and more calls: one that may owe too many an amends is replaced."""

    def script(connection, number, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%04d" % number)

    for kind in ("command", "session"):
        with Scripted(script) as server:
            session = SessionLane(Settings(url=server.url, token=Secret("x")))
            lane = session if kind == "session" else CommandLane(session)
            for _ in range(150):
                await lane.exchange(Outgoing("/x", b"a=b", None, 5.0, 1000), Attempt())
            await lane.aclose()
        assert server.connections == 3, kind


async def test_what_waits_on_a_connection_is_read_before_it_is_closed():
    """A connection that is not used again, for something waits on it, still tells what that was."""
    told = []

    def script(connection, number, request):
        connection.sendall(ANSWER)
        if number == 1:
            time.sleep(0.03)
            connection.sendall(ANSWER)

    with Scripted(script) as server:
        lane = CommandLane(SessionLane(Settings(url=server.url, token=Secret("x"))))
        for number in range(3):
            attempt = Attempt(flight=_Call(number, told))
            await lane.exchange(Outgoing("/x", b"a=b", None, 5.0, 1000), attempt)
            if number == 1:
                time.sleep(0.1)  # noqa: ASYNC251  the loop is busy: only the system has it
        while not told:
            await asyncio.sleep(0.001)
        await lane.aclose()
    assert told == [1]
    assert server.connections == 2


def test_the_command_goes_by_the_last_word(tmp_path):
    """The counts, the file of rejects and the exit code are those of the amended outcomes."""
    contacts = tmp_path / "contacts.csv"
    lines = [f"09000000{number};2099-05-05 10:00" for number in range(4)]
    contacts.write_text("\n".join(["destination;calldate", *lines, ""]))
    with Scripted(one_behind()) as server:
        options = ["--campaign", "Ventas->", "--max-concurrency", "1", "--max-per-second", str(1 / TURN)]
        environment = {"UCONTACT_URL": server.url, "UCONTACT_TOKEN": "x", "UCONTACT_TIMEZONE": "UTC"}
        found = subprocess.run(
            [sys.executable, "-m", "ucontact_async", "schedule", str(contacts), *options],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (found.returncode, "2 succeeded, 0 failed, 2 unknown" in found.stdout) == (3, True), found
    with (tmp_path / "contacts.csv.rejects.csv").open(encoding="utf-8-sig") as file:
        rejects = list(csv.DictReader(file, delimiter=";"))
    assert [(row["row"], row["outcome"]) for row in rejects] == [("3", "unknown"), ("4", "unknown")]
