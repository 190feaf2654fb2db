"""How many requests a server does best with: a limit that finds the knee and follows it, without being told anything.

Pure: it is given seconds and moments and answers with a limit. What a request is, who waits and when to stop
everything is the limiter's business.

Below the knee latency does not depend on the limit and more requests mean more throughput; above it they only wait in
the server's queue, and what waits there becomes unknown when the server slows. By Little's law the throughput is
``in flight / latency``, so the knee is ``throughput * latency without a queue``; all depends on knowing the latter.
"""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["CAP", "START", "AdaptiveLimit", "LimitPhase"]

LimitPhase = Literal["fixed", "start", "steady", "probe"]

START = 4
CAP = 64
# So much above the knee: enough to see that there is a knee, and to keep every slot of the server busy.
GAIN = 1.15
# The same where two windows in a row were so near the base that there is no queue at all.
FAST, FREE = 1.5, 1.05
# A doubled limit that brings less than this has passed the knee.
WORTH = 1.3
# Latency above so many times the base is a queue and no chance: the limit falls at once, by a third at most.
QUEUE, CUT = 1.6, 0.7
# A mean is taken for the base only with so many standard errors on top: the least of many means is a lucky one.
DOUBT = 2.0
# The base is measured anew every so many seconds and windows, with the limit lowered by so much for a window.
EPOCH, WINDOWS, LOWERED = 10.0, 12, 0.75
# A lower limit has shortened a queue if it left at most so much of the latency.
HELPED = 0.85
# A limit counts as used from this share of it on; of one that nobody uses nothing can be learnt.
IN_USE = 0.75
# A window is as long as this many seconds and samples, and two rounds; while the limit doubles, few samples will do.
SECONDS, SAMPLES, FEW = 0.1, 64, 16
# One slow report must not look like a queue: a sample counts for at most so many times the mean before it.
CLIP = 8.0


class AdaptiveLimit:
    """The law; see ``performance.md`` section 5 for those that failed."""

    def __init__(self, cap: int, now: float) -> None:
        """``cap`` bounds the limit, ``now`` is the present moment."""
        self.cap = cap
        self._count = self._due = self._load = self._used = 0
        self._sum = self._squares = self._enough = self._most = self._began = 0.0
        self.restart(now)

    def restart(self, now: float) -> None:
        """Forget everything."""
        self.rate: float | None = None
        self.limit = min(START, self.cap)
        self.phase: LimitPhase = "start"
        self._aim = float(self.limit)
        self._bases = (math.inf, math.inf)
        self._reference = (0.0, 0.0)
        self._earlier_rate = 0.0
        self._epoch_began = now
        self._windows = 0
        self._doubtful = False
        self._last_cut = -math.inf
        self._ceiling, self._lifted = float(self.cap), 0.0
        self._unhurt = 0.0
        self._mean = math.inf
        self._free = 0
        self._open(now, 0)

    @property
    def base(self) -> float:
        """The latency without a queue, in seconds; infinite until the first window is over."""
        return min(self._bases)

    @property
    def base_latency(self) -> float | None:
        """The same, ``None`` until the first window is over."""
        return None if self.base == math.inf else self.base

    def bound(self, cap: int, now: float) -> None:
        """Go no higher than ``cap`` from now on: what is allowed has changed, and not the server."""
        self.cap = cap
        if self._aim > cap or self._ceiling > cap:
            self._ceiling = min(self._ceiling, float(cap))
            self._apply(now)

    def pause(self, now: float) -> None:
        """Begin a window anew: what was counted so far was sent under a limit that is not ours."""
        self._open(now, 0)

    def sample(self, seconds: float, in_flight: int, ready: int = 0) -> bool:
        """Count one answer, with how many were in flight when it came; say whether :meth:`decide` is due.

        So many more were getting ``ready``: they use the limit too, and ask nothing of the server yet.
        """
        self._count += 1
        if self._count <= 0:
            return False  # it was sent under an earlier limit
        if seconds > self._most:  # noqa: PLR1730  min() costs three times as much
            seconds = self._most
        self._sum += seconds
        self._squares += seconds * seconds
        self._load += in_flight
        self._used += in_flight + ready
        return self._count >= self._due or self._sum > self._enough

    def decide(self, now: float) -> None:
        """Draw the conclusion from the window, unless it is too short yet."""
        if now - self._began < SECONDS:
            self._due = self._count + max(4, self.limit // 4)
            self._enough = math.inf
            return
        count = self._count
        mean = max(self._sum / count, 1e-9)
        sure = mean + DOUBT * math.sqrt(max(0.0, self._squares / count - mean * mean) / count)
        used = self._used / count
        self.rate = self._load / count / mean
        if self.phase == "start" and not self._doubtful:
            self._bases = (self._bases[1], sure)  # larger than all windows before: only the last two count
        else:
            self._bases = (self._bases[0], min(self._bases[1], sure))
        if self.phase == "start":
            self._double(self.rate, mean, used)
        elif self.phase == "probe":
            self._descend(now, mean)
        else:
            self._steer(now, mean, sure, used)
        self._mean = mean
        self._apply(now)

    def _target(self, mean: float, gain: float = GAIN) -> float:
        """Return the limit for a server that takes ``mean`` seconds under the present one."""
        return gain * self.limit * self.base / mean + 1.0

    def _double(self, rate: float, mean: float, used: float) -> None:
        """Go on for as long as it pays."""
        if used < IN_USE * self.limit:
            return
        if rate < WORTH * self._earlier_rate:
            if self._doubtful:
                # What is known of the base rests on few samples, lucky ones if the end was a false one.
                self._bases = (math.inf, math.inf)
                self._lower(mean)
            self._doubtful = True  # of a few samples one window in five lies: ask a second one
        else:
            self._doubtful = False
            self._earlier_rate = rate
            self._aim = 2.0 * self.limit
            if self._aim >= self.cap:
                self.phase = "steady"

    def _steer(self, now: float, mean: float, sure: float, used: float) -> None:
        """Follow the knee: a little above it, where there is no doubt that it is there."""
        if self.limit == 1 and mean > QUEUE * self.base:
            # A single request waits behind none of ours, and the limit cannot fall to find that out.
            self._bases = (sure, sure)
        in_use = used >= IN_USE * self.limit
        self._free = self._free + 1 if in_use and mean <= FREE * self.base else 0
        aim = self._aim
        if mean > QUEUE * self.base:
            aim = max(self._target(mean), CUT * aim)
        elif in_use:
            aim = self._target(mean, GAIN if self._free < 2 else FAST)
        if self._in_vain(mean, aim):
            # A smaller limit did not help: the server did not become fuller but slower, and the base is longer now.
            self._bases = (sure, sure)
            self._aim = self._reference[0]
            return
        self._aim = aim
        if mean <= QUEUE * self.base and now - self._epoch_began >= EPOCH and self._windows >= WINDOWS:
            self._lower(mean)
        self._windows += 1

    def _in_vain(self, mean: float, aim: float) -> bool:
        """Say whether latency stayed although the limit has fallen: then it was no queue of ours."""
        if mean > QUEUE * self.base and self._mean <= QUEUE * self.base:
            self._reference = (0.0, 0.0)  # this window has seen the old times too: the next one is compared with
        elif aim >= self._aim or not self._reference[0]:
            self._reference = (self._aim, mean)
        elif self._aim <= CUT * self._reference[0]:
            if mean > HELPED * self._reference[1]:
                return True
            self._reference = (self._aim, mean)
        return False

    def _lower(self, mean: float) -> None:
        self.phase = "probe"
        self._unhurt = self.limit / mean
        self._aim = LOWERED * self.limit

    def _descend(self, now: float, mean: float) -> None:
        """Lower the limit for as long as that costs no throughput: what is left then is the latency without a queue."""
        if mean < HELPED * self._mean and self._aim > 1.0:
            self._lower(mean)
            return
        self._aim = GAIN * self._unhurt * self.base + 1.0
        self._bases = (self._bases[1], math.inf)
        self._epoch_began, self._windows = now, 0
        self.phase = "steady"

    def cut(self, now: float, *, refused: bool) -> None:
        """Lower the limit for a sign of overload, at most every half second.

        For a while it stays below what was ``refused``; an answer that did not come says nothing of how many are too
        many.
        """
        if now - self._last_cut < 0.5:
            return
        self._last_cut = now
        if refused:
            self._ceiling, self._lifted = max(1.0, 0.9 * self.limit), now + EPOCH
        self._aim = CUT * min(self._aim, float(self.limit))
        self.phase = "steady"
        self._apply(now)

    def _apply(self, now: float) -> None:
        if now >= self._lifted:
            self._ceiling = float(self.cap)
        self._aim = min(max(self._aim, 1.0), self._ceiling)
        before, self.limit = self.limit, int(self._aim + 0.5)
        self._open(now, before if before != self.limit else 0)

    def _open(self, now: float, earlier: int) -> None:
        """Begin a window, after the ``earlier`` requests that were sent under another limit."""
        self._count = -earlier
        self._due = max(FEW, 2 * self.limit)
        if self.phase != "start":
            self._due = max(self._due, min(SAMPLES, 8 * self.limit))
        self._sum = self._squares = 0.0
        self._load = self._used = 0
        self._most = CLIP * self._mean
        # The window is over before its time when what it has already is a queue whatever the rest will be.
        self._enough = math.inf if self.phase == "start" else QUEUE * self.base * self._due
        self._began = now
