"""Summaries, status and watches over real sockets, against an emulator that fails on demand and one poisoned server."""

import asyncio
import math
import re
import time
from random import Random

import pytest
from scripted_server import Scripted

from ucontact_async import (
    CampaignStatus,
    GetCampaignStatus,
    GetQueueSummary,
    QueueSummary,
    ReplyLost,
    UContact,
    Unauthorized,
    UnreadableReply,
)
from ucontact_async.api.campaigns import Campaigns
from ucontact_async.emulator import Emulator, Queue, Switches
from ucontact_async.retry import RetryPolicy, RetryRule

SUMMARY, STATUS = "Supervisor/queuesummary", "Supervisor/campaignstatus"
BOTH = ["Soporte<-", "Ventas->"]


def client_of(emulator, **options):
    return UContact(emulator.url, **{"user": "api", "password": "secret", **options})


def names(snapshot):
    return [queue.queue for queue in snapshot.data]


def strike(emulator, fault, *, endpoint=SUMMARY, **rule):
    emulator.set_faults({"rules": [{"endpoint": endpoint, "fault": fault, **rule}]})


@pytest.mark.parametrize("java", [8, 9, 20])
@pytest.mark.parametrize("newline", [False, True])
async def test_a_summary_and_a_status(java, newline):
    """Both are read from whatever Java writes, as coroutines and as values, without a time zone being known."""
    async with Emulator(switches=Switches(java=java, trailing_newline=newline)) as emulator, client_of(emulator) as uc:
        emulator.state.status.queues["Ventas->"] = Queue(waiting=3, completed=8, abandoned=2, level=80.5, talk=61)
        _, sales = await uc.campaigns.summary()
        assert isinstance(sales, QueueSummary)
        assert (sales.queue, sales.callers, sales.extra) == ("Ventas->", 3, {})
        assert sales.received is not None
        assert await uc.send(GetQueueSummary()) != []
        found = await uc.campaigns.status()
        assert list(found) == BOTH
        status = found["Ventas->"]
        assert isinstance(status, CampaignStatus)
        assert (status.waiting, status.total_calls, status.abandoned_level, status.service_level) == (3, 10, 20.0, 80.5)
        assert str(status.talked) == "00:01:01-8"
        assert await uc.campaigns.status(queue="Ventas->") == {"Ventas->": status}
        assert await uc.send(GetCampaignStatus(queue="Otra->")) == {}
    assert len(emulator.ledger) == 0


@pytest.mark.parametrize("fault", ["close_after_read", "reset_before_read", "truncated", "body", "status"])
async def test_a_read_is_repeated(emulator, fault):
    """A read that was lost, cut, garbled or failed is asked again, up to three times, and then says what happened."""
    async with client_of(emulator) as uc:
        strike(emulator, fault, count=2)
        assert [summary.queue for summary in await uc.campaigns.summary()] == BOTH
        strike(emulator, "body", body='{"a":1}', endpoint="Supervisor/*")
        with pytest.raises(UnreadableReply) as raised:
            await uc.campaigns.summary()
        assert raised.value.attempts == 3


async def test_too_large_an_answer_is_not_kept(emulator):
    """What is longer than 16 MiB is given up."""
    strike(emulator, "body", body="[" + " " * 16_777_216 + "]")
    async with client_of(emulator) as uc:
        with pytest.raises(UnreadableReply, match="16777216"):
            await uc.campaigns.summary()


def _answer(queue):
    body = f'[{{"queue":"{queue}"}},{{"internalActionId":"1_2"}}]'.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize("ends", [False, True], ids=["answers again", "closes"])
async def test_a_poisoned_connection_is_not_used_for_a_request_without_a_body(ends):
    """The guard holds for it too: 30 requests get their own 30 answers, each at the first try."""
    answered = []

    def answer(peer, _, __):
        peer.sendall(_answer(f"q{len(server.requests)}"))
        if not ends:
            peer.sendall(_answer("stale"))
        answered.append(peer)
        return ends

    with Scripted(answer) as server:
        async with UContact(server.url, token="x") as uc:
            uc._caller.retry = RetryRule(RetryPolicy(attempts=1))
            for number in range(1, 31):
                (queue,) = await uc.campaigns.summary()
                assert queue.queue == f"q{number}"
                while len(answered) < number:
                    time.sleep(0.005)  # noqa: ASYNC251  a busy loop: it has not seen yet what came meanwhile
        assert len(server.requests) == 30
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b""
    assert head.startswith(b"POST /Integra/resources/Supervisor/queuesummary HTTP/1.1\r\n")
    assert re.search(rb"\r\nContent-Length: 0\b", head)
    assert re.search(rb"\r\nContent-Type: application/x-www-form-urlencoded; charset=UTF-8\b", head)


async def test_a_watch_yields_what_changes(emulator):
    """Every round asks the server anew, one request at a time, and shows what is there then."""
    seen = []
    async with client_of(emulator) as uc:
        async for snapshot in uc.campaigns.watch(every=0.02):
            seen.append(snapshot)
            emulator.state.status.queue("Ventas->").waiting += 1
            if len(seen) == 5:
                break
    assert [snapshot.data[1].callers for snapshot in seen] == [0, 1, 2, 3, 4]
    assert not any(snapshot.stale for snapshot in seen)
    assert emulator.ledger.requests[SUMMARY] == 5
    assert emulator.ledger.max_in_flight == 1


@pytest.mark.parametrize("fault", ["close_after_read", "reset_after_read", "truncated", "body", "status", "unread"])
async def test_a_watch_survives_failures(emulator, fault):
    """Rounds that fail show the last queues marked stale, and the first that succeeds shows new ones."""
    async with client_of(emulator) as uc:
        watch = uc.campaigns.watch(every=0.01)
        good = await anext(watch)
        strike(emulator, "close_before_read" if fault == "unread" else fault)
        first, second = await anext(watch), await anext(watch)
        emulator.set_faults(None)
        last = await anext(watch)
    assert [snapshot.stale for snapshot in (good, first, second, last)] == [False, True, True, False]
    assert names(good) == names(first) == names(second) == names(last) == BOTH
    assert 0 < first.age < second.age
    assert (good.age, last.age) == (0, 0)
    assert good.at == first.at == second.at < last.at
    assert first.error.endpoint == SUMMARY


async def test_a_watch_survives_a_server_that_restarts(emulator):
    """A session that the server forgot costs a login and no round."""
    async with client_of(emulator) as uc:
        watch = uc.campaigns.watch_status(every=0.01)
        await anext(watch)
        emulator.state.sessions.end_all()
        assert list((await anext(watch)).data) == BOTH
    assert emulator.ledger.logins == 2


async def test_a_watch_that_never_saw_anything(emulator):
    """A password that is refused is an error in every snapshot; the data are empty and of no time."""
    async with client_of(emulator, password="wrong") as uc:
        snapshot = await anext(uc.campaigns.watch())
    assert (snapshot.data, snapshot.at, snapshot.age, snapshot.stale) == ([], None, math.inf, True)
    assert isinstance(snapshot.error, Unauthorized)


async def test_a_server_that_hangs_makes_the_data_stale(emulator):
    """The time-out of the client bounds a round."""
    async with client_of(emulator) as uc:
        uc._caller.retry = RetryRule(RetryPolicy(attempts=1))
        watch = uc.with_options(timeout=0.05).campaigns.watch(every=0.01)
        await anext(watch)
        strike(emulator, "hang_after_apply")
        snapshot = await anext(watch)
    assert isinstance(snapshot.error, ReplyLost)
    assert names(snapshot) == BOTH


async def test_cancelled_in_the_middle_of_a_read(emulator):
    """Nothing of it goes on: no task, no request; the next round is as good as any."""
    async with client_of(emulator) as uc:
        watch = uc.campaigns.watch(every=0.01)
        await anext(watch)
        strike(emulator, "hang_before_apply")
        task = asyncio.ensure_future(anext(watch))
        while emulator.ledger.requests[SUMMARY] < 2:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        emulator.set_faults(None)
        assert names(await anext(watch)) == BOTH
        while emulator.ledger.in_flight:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("hangs", [False, True], ids=["between rounds", "during a read"])
async def test_the_client_ends_its_watches(emulator, hangs):
    """A loop over a watch ends, without an error, when another task closes the client; watches of a copy too."""
    rounds = []

    async def board(uc):
        async for snapshot in uc.with_options(timeout=20).campaigns.watch(every=0.05 if hangs else 3600):
            rounds.append(snapshot)
            if hangs:
                strike(emulator, "hang_before_apply")

    async with client_of(emulator) as uc:
        task = asyncio.ensure_future(board(uc))
        while emulator.ledger.requests[SUMMARY] < (2 if hangs else 1) or not rounds:
            await asyncio.sleep(0.005)
        started = time.monotonic()
    await asyncio.wait_for(task, 5)
    assert time.monotonic() - started < 2
    assert len(rounds) == 1


async def test_jitter_with_a_chance_of_our_own(emulator):
    """The pauses are the interval times what the given chance says."""
    slept, now = [], 0.0

    async def sleep(seconds):
        nonlocal now
        slept.append(seconds)
        now += seconds
        await asyncio.sleep(0)

    async with client_of(emulator) as uc:
        group = Campaigns(uc._caller, clock=lambda: now, sleep=sleep, chance=Random(11))
        watch = group.watch(every=5)
        for _ in range(4):
            await anext(watch)
        strike(emulator, "status", status=500)
        await anext(watch)
        emulator.set_faults(None)
        await anext(watch)
    chance = Random(11)
    assert slept == pytest.approx([seconds * chance.uniform(0.9, 1.1) for seconds in (5, 5, 5, 5, 10)])
