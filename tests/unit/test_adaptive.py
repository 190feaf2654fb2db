"""The limit that nobody chose, over the real limiter, against servers of known capacity, in virtual time."""

import pytest
from simulated_server import LAWS, simulate

from ucontact_async.adaptive import CAP, SAMPLES, START, AdaptiveLimit

SLOTS, SECONDS = 20, 0.05
CAPACITY = SLOTS / SECONDS
SERVER = {"slots": SLOTS, "seconds": SECONDS}


def brown_out(**options):
    """Ten good seconds, thirty with a tenth of the capacity, ten good ones again."""
    return simulate(
        50,
        **SERVER,
        room=400,
        patience=2.0,
        events=[(10, lambda server: server.resize(SLOTS // 10)), (40, lambda server: server.resize(SLOTS))],
        **options,
    )


@pytest.mark.parametrize("law", LAWS)
def test_it_finds_the_knee(law):
    """Within ten seconds it is as fast as the best fixed limit but for a tenth, at twice its p99 at most."""
    best = simulate(14, limit=SLOTS, law=law, **SERVER)
    found = simulate(14, law=law, **SERVER)
    assert found.limits[0] == (0.0, START)
    assert found.rate(2, 14) >= 0.9 * best.rate(2, 14)
    assert found.rate(10, 14) >= 0.9 * best.rate(10, 14)
    assert found.p99(since=10) <= 2 * best.p99(since=10) + 1e-9


@pytest.mark.parametrize(
    ("law", "seed"), [("deterministic", 1), ("exponential", 1), ("exponential", 2), ("exponential", 3)]
)
def test_a_brown_out_makes_nothing_unknown(law, seed):
    """A tenth of the capacity is used to the full without a time-out, and five seconds later all is well again."""
    run = brown_out(law=law, seed=seed)
    assert run.unknown <= 5
    assert run.rate(10, 40) >= 0.9 * CAPACITY / 10
    assert run.rate(45, 50) >= 0.9 * run.rate(2, 10)
    assert run.requests_per_success <= 1.05


def test_the_same_brown_out_with_a_fixed_limit():
    """The test above means something: a hundred in flight leave hundreds of unknown rows."""
    assert brown_out(limit=100, users=100, law="exponential").unknown >= 500


@pytest.mark.parametrize(("slots", "p99"), [(10, 0.24), (40, 0.24)])
def test_it_follows_the_server(slots, p99):
    """Half or twice the capacity is used to nine tenths after two seconds, and there is no longer queue than before."""
    run = simulate(12, law="exponential", events=[(5, lambda server: server.resize(slots))], **SERVER)
    assert run.rate(7, 12) >= 0.9 * slots / SECONDS
    assert run.p99(since=8) <= 2 * p99  # 0.24 s without a queue


@pytest.mark.parametrize("law", ["deterministic", "exponential"])
def test_a_server_that_becomes_slower_is_no_fuller_one(law):
    """Where every answer takes three times as long, a smaller limit would not help: the limit comes back."""

    def slow_down(server):
        server.seconds *= 3

    run = simulate(35, law=law, events=[(5, slow_down)], **SERVER)
    assert run.rate(20, 35) >= 0.85 * CAPACITY / 3


def test_without_a_knee_it_does_not_collapse():
    """A server that is never full is used up to the cap."""
    run = simulate(15, law="exponential", slots=10_000, seconds=0.2)
    assert run.rate(5, 15) >= 0.85 * CAP / 0.2


def test_no_more_than_the_cap():
    """However much a server could do."""
    run = simulate(5, cap=10, slots=10_000, seconds=SECONDS)
    assert max(limit for _, limit in run.limits) == 10


def test_an_unused_limit_does_not_grow():
    """Three users of a fast server teach nothing about thirty."""
    run = simulate(10, users=2, slots=10_000, seconds=SECONDS)
    assert {limit for _, limit in run.limits} == {START}


@pytest.mark.parametrize("room", [0, 5])
def test_a_server_that_refuses_what_is_too_much(room):
    """Few refusals: the limit stays below what was too much, and comes back to it now and then only."""
    run = simulate(20, law="exponential", room=room, **SERVER)
    assert run.rate(5, 20) >= 0.75 * CAPACITY
    assert run.throttled <= 0.01 * len(run.answers)
    assert run.unknown == 0


def test_a_server_that_hangs():
    """Nothing is answered for ten seconds: what was on the wire is unknown, nothing else is sent, and it recovers."""
    run = simulate(
        25,
        law="exponential",
        patience=2.0,
        events=[(5, lambda server: server.resize(0)), (15, lambda server: server.resize(SLOTS))],
        **SERVER,
    )
    in_flight = max(limit for moment, limit in run.limits if 3 < moment <= 5)
    assert 0 < run.unknown <= 1.5 * in_flight
    assert run.rate(20, 25) >= 0.8 * CAPACITY


def test_a_queue_is_seen_before_the_window_is_full():
    """Of answers that take ten times as long, a fifth of a window is enough to lower the limit."""
    law, now = AdaptiveLimit(cap=20, now=0.0), 0.0

    def answer(seconds):
        nonlocal now
        now += seconds / law.limit
        if law.sample(seconds, law.limit):
            law.decide(now)

    while law.phase == "start" or now < 5.0:
        answer(0.05)
    assert law.limit == 20
    for _ in range(SAMPLES // 5 + 20):  # and those that were sent before
        answer(0.5)
    assert law.limit < 20


def test_one_at_a_time_is_no_trap():
    """A server that is slower by now, while the limit is 1, has no queue of ours: the limit rises again."""
    law, now = AdaptiveLimit(cap=CAP, now=0.0), 0.0

    def answers(count, seconds):
        nonlocal now
        for _ in range(count):
            now += seconds / law.limit
            if law.sample(seconds, law.limit):
                law.decide(now)

    answers(10_000, 0.0005)
    for _ in range(20):
        now += 0.6
        law.cut(now, refused=True)
    assert law.limit == 1
    answers(20_000, 0.02)
    assert law.limit == CAP
