"""The samples of a run over time."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.batch.history import KEPT, History
from ucontact_async.batch.outcome import Outcome, Status
from ucontact_async.batch.report import Report
from ucontact_async.limiter import LimiterStats

STATS = LimiterStats(
    in_flight=1,
    waiting=0,
    max_concurrency=8,
    gate_seconds=0.0,
    gate="open",
    phase="steady",
    base_latency=None,
    rate=None,
)


def outcome(seconds=0.0, status=Status.SUCCEEDED, **fields):
    return Outcome(index=0, status=status, seconds=seconds, **fields)


def test_a_stretch_says_what_its_rows_took():
    """Median and 95th percentile are of the rows since the last sample; the most that were on the wire is kept."""
    history, report = History(), Report(succeeded=101)
    for hundredth in range(101):
        history.note(outcome(hundredth / 100), 5 if hundredth == 50 else 2)
    history.sample(1.0, report, STATS)
    history.sample(2.0, report, msgspec.structs.replace(STATS, gate="probing"))
    first, second = history.samples
    assert (first.median, first.slow) == (pytest.approx(0.5), pytest.approx(0.95))
    assert (first.in_flight, first.closed, first.rows) == (5, False, 101)
    assert (second.median, second.slow, second.in_flight, second.closed) == (None, None, 1, True)


def test_what_was_not_sent_took_nothing():
    """Skipped rows and what an earlier run found out leave the times alone."""
    history = History()
    history.note(outcome(9.0, Status.SKIPPED), 1)
    history.note(outcome(9.0, Status.UNKNOWN, earlier=True), 1)
    history.note(outcome(2.0, Status.FAILED), 1)
    history.sample(1.0, Report(), STATS)
    assert (history.samples[0].median, history.samples[0].slow) == (2.0, 2.0)


def test_a_long_run_is_told_in_as_many_samples():
    """However long, no more samples are kept; the first and the last moment, each peak and the last counts stay."""
    history, report = History(), Report()
    for second in range(1, 10_001):
        report.succeeded += 1
        history.note(outcome(3.0 if second == 5000 else 1.0), 7 if second == 4000 else 2)
        history.sample(float(second), report, STATS)
    samples = history.samples
    assert KEPT / 2 <= len(samples) <= KEPT
    assert samples[-1].seconds == samples[-1].succeeded == 10_000
    assert all(a.seconds < b.seconds and a.rows <= b.rows for a, b in pairwise(samples))
    assert (max(sample.in_flight for sample in samples), max(sample.slow for sample in samples)) == (7, 3.0)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=2000))
def test_times_stay_within_what_was_seen(times):
    """Whatever rows took and however many they were, a median is between the fastest and the slowest."""
    history = History()
    for seconds in times:
        history.note(outcome(seconds), 1)
    history.sample(1.0, Report(), STATS)
    (sample,) = history.samples
    assert min(times) - 1e-9 <= sample.median <= sample.slow + 1e-9 <= max(times) + 2e-9
