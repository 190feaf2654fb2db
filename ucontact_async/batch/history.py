"""How a run went over time: a bounded series of samples, for a chart afterwards."""

from __future__ import annotations

from statistics import quantiles

import msgspec

from ..limiter import LimiterStats
from .outcome import Outcome, Status
from .report import Report

__all__ = ["History", "Sample"]

# Samples kept; of a longer run two neighbours are made one, so that memory does not grow and a chart stays readable.
KEPT = 600
# Row times kept of one sample: enough for its median and its 95th percentile.
_TIMES = 512


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a run.

    ``seconds`` since its start is where the stretch ends; the counts are of all rows until then. ``in_flight`` is the
    highest seen, ``max_concurrency`` the limit at its end, ``closed`` whether the gate was seen closed. ``median`` and
    ``slow`` (the 95th percentile) are seconds that the rows of the stretch took, waiting included; ``None`` if none.
    """

    seconds: float
    succeeded: int
    failed: int
    unknown: int
    skipped: int
    in_flight: int
    max_concurrency: int
    closed: bool
    median: float | None
    slow: float | None

    @property
    def rows(self) -> int:
        """How many rows had an outcome."""
        return self.succeeded + self.failed + self.unknown + self.skipped


class History:
    """The samples of a run; :meth:`note` takes its outcomes, :meth:`sample` ends a stretch."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._times: list[float] = []
        self._seen = self._in_flight = 0
        self._every = 1
        self._turn = 0

    def note(self, outcome: Outcome, in_flight: int) -> None:
        """Take in what a row took, and how many were on the wire; what was not sent took nothing."""
        self._in_flight = max(self._in_flight, in_flight)
        if outcome.status is Status.SKIPPED or outcome.earlier or outcome.amends is not None:
            return
        self._seen += 1
        if len(self._times) < _TIMES:
            self._times.append(outcome.seconds)
        else:  # every place is taken by a later row in its turn: the sample stays spread over the stretch
            self._times[self._seen % _TIMES] = outcome.seconds

    def sample(self, seconds: float, report: Report, stats: LimiterStats) -> None:
        """End a stretch at ``seconds`` since the start of the run."""
        cuts = quantiles(self._times, n=20, method="inclusive") if len(self._times) > 1 else [*self._times] * 19
        self._times.clear()
        made = Sample(
            seconds=seconds,
            succeeded=report.succeeded,
            failed=report.failed,
            unknown=report.unknown,
            skipped=report.skipped,
            in_flight=max(self._in_flight, stats.in_flight),
            max_concurrency=stats.max_concurrency,
            closed=stats.gate != "open",
            median=cuts[9] if cuts else None,
            slow=cuts[18] if cuts else None,
        )
        self._seen = self._in_flight = 0
        self._turn += 1
        if self.samples and self._turn % self._every:
            self.samples[-1] = _joined(self.samples[-1], made)
        else:
            self.samples.append(made)
        if len(self.samples) > KEPT:
            pairs = zip(self.samples[::2], self.samples[1::2], strict=False)
            self.samples = [_joined(*pair) for pair in pairs] + self.samples[len(self.samples) & ~1 :]
            self._every *= 2


def _joined(first: Sample, second: Sample) -> Sample:
    """Make one stretch of two neighbours."""
    medians = [time for time in (first.median, second.median) if time is not None]
    slow = [time for time in (first.slow, second.slow) if time is not None]
    return msgspec.structs.replace(
        second,
        in_flight=max(first.in_flight, second.in_flight),
        closed=first.closed or second.closed,
        median=sum(medians) / len(medians) if medians else None,
        slow=max(slow, default=None),
    )
