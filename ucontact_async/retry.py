"""Whether and when to send again; pure, and the only import of backoff.

It knows errors and the safety of an endpoint, and nothing of connections or clocks. Only ``backoff``'s wait
generator is used: its decorators log error texts and its jitter cannot be seeded.
"""

from __future__ import annotations

import itertools
import random

import backoff
import msgspec

from .endpoint import Safety
from .errors import Throttled, UContactError, Unauthorized

__all__ = ["RetryPolicy", "RetryRule"]


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long: ``reliability.md`` 1.3, rule 3. Waits are in seconds."""

    attempts: int = 3
    base: float = 0.05
    throttled_base: float = 1.0
    cap: float = 20.0


class RetryRule:
    """A policy with its source of chance."""

    def __init__(self, policy: RetryPolicy | None = None, chance: random.Random | None = None) -> None:
        """``chance`` spreads the waits; give a seeded one to have them repeat."""
        self.policy = policy or RetryPolicy()
        self._chance = chance or random.Random()  # noqa: S311  spreads waits, guards nothing

    def pause(self, error: UContactError, tries: int, safety: Safety) -> float | None:
        """Return how long to wait before try number ``tries + 1``, or ``None`` if there must not be one.

        A refused token is answered by a new login, which the caller decides on, not by waiting.
        """
        if tries >= self.policy.attempts or isinstance(error, Unauthorized) or not safety.allows(error):
            return None
        if isinstance(error, Throttled):
            if error.retry_after is not None:
                return error.retry_after
            return self._chance.uniform(0, self._expo(self.policy.throttled_base, tries))
        return self._chance.uniform(0, self._expo(self.policy.base, tries))

    def _expo(self, factor: float, tries: int) -> float:
        waits = backoff.expo(base=2, factor=factor, max_value=self.policy.cap)
        next(waits)  # the generator starts with a None of its own
        return float(next(itertools.islice(waits, tries - 1, None)))
