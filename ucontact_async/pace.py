"""How fast: starts that are never closer together than the pace says.

It knows moments, and neither slots nor requests. A quiet time saves nothing up: after an hour without a start the
next two are an interval apart all the same.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from .errors import SettingsError

__all__ = ["Pace"]

# So many seconds ahead of its start a row may be ready: writing its mark takes that long on a slow disk.
READY = 0.05


class Pace:
    """A number of starts in a second, kept to the start."""

    def __init__(self, per_second: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``per_second`` is greater than 0, or ``None`` for no limit; ``clock`` runs as the event loop's does.

        ``interval`` is how many seconds lie between two starts, 0 without a limit: a look at it is cheap.
        """
        self.per_second = per_second
        self.waiting = 0  # how many stand at the start: kept by whoever starts them
        self._clock = clock
        self._last_turn = -math.inf
        self._last_start = -math.inf

    @property
    def per_second(self) -> float | None:
        """How many may start in a second; may be set while running."""
        return self._per_second

    @per_second.setter
    def per_second(self, value: float | None) -> None:
        if value is not None and not value > 0:
            raise SettingsError(f"max_per_second is greater than 0, not {value!r}")
        self._per_second = value
        self.interval = 0.0 if value is None else 1 / value

    async def turn(self) -> None:
        """Wait until it is worth while to get ready: the start is near, and few stand there already."""
        while self.interval:
            turn = max(self._clock(), self._last_turn + self.interval)
            self._last_turn = turn  # before the wait: whoever comes meanwhile gets the next one
            if (seconds := turn - self._clock()) > 0:
                await asyncio.sleep(seconds)
            # Where starts are held up, by a slow server or a gate, those who are ready must not pile up.
            if self.interval == 0.0 or self.waiting <= 1 + READY / self.interval:
                return

    @property
    def due(self) -> float:
        """The moment from which the next may start."""
        return self._last_start + self.interval

    def start(self, moment: float) -> None:
        """Note a start."""
        self._last_start = moment
