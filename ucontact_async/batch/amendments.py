"""What a run takes back: outcomes of rows whose answers turn out to be, perhaps, those of others.

It decides nothing about a connection; it sees to it that the journal, the consumer and the run's own counts say the
same, in this order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from .journal import Journal
from .outcome import Outcome, doubtful
from .preparing import Job

__all__ = ["Amendments"]

_log = logging.getLogger(__name__)

# For how many seconds at most the end of a run waits for an answer too many; for a short run no longer than it took.
_LAST_LOOK = 0.05


class Amendments:
    """Takes rows in doubt, marks them unknown in the journal, and delivers a second outcome of each.

    Nothing is taken back that is not this run's word any more: a row that is under way again, or that was settled
    meanwhile, stays what it is. What turns out to be in doubt after the end of the run is only logged.
    """

    def __init__(
        self,
        *,
        deliver: Callable[[list[Outcome]], None],
        judge: Callable[[Outcome], None],
        fail: Callable[[BaseException], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        """``judge`` is told of each second outcome, ``fail`` of the error of a journal that cannot be written."""
        self._deliver = deliver
        self._judge = judge
        self._fail = fail
        self._spawn = spawn
        self._journal: Journal | None = None
        self._rows: dict[int, tuple[Job, Outcome]] = {}
        self._writing: asyncio.Task[None] | None = None

    def open(self, journal: Journal) -> None:
        """Write to ``journal`` from now on."""
        self._journal = journal

    def add(self, job: Job, outcome: Outcome) -> None:
        """Take back the ``outcome`` of a row."""
        if self._journal is None:
            extra = {"ucontact_event": "DoubtTooLate", "ucontact_outcome": outcome.status.value}
            told = "%s of a run that has ended is in doubt: it was %s"
            _log.warning(told, outcome.position, outcome.status, extra=extra)
            return
        self._rows[job.id] = job, outcome
        if self._writing is None:
            self._writing = self._spawn(self._write(self._journal))

    async def aclose(self, seconds: float) -> None:
        """Wait a moment for an answer too many, write what there is, and take nothing more.

        The run took so many ``seconds``.
        """
        await asyncio.sleep(min(seconds, _LAST_LOOK))
        while self._writing is not None:
            await asyncio.wait([self._writing])
        self._journal = None
        # The last calls of a connection are remembered for as long as it is idle, and hold us: not the run as well.
        del self._deliver, self._judge, self._fail, self._spawn

    async def _write(self, journal: Journal) -> None:
        try:
            while self._rows:
                rows, self._rows = self._rows, {}
                for id_ in await journal.amend([*rows]):
                    self._take_back(*rows[id_])
        except Exception as error:  # noqa: BLE001  kept for the consumer
            self._fail(error)
        finally:
            self._writing = None

    def _take_back(self, job: Job, outcome: Outcome) -> None:
        amended = msgspec.structs.replace(doubtful(outcome), settled=False, amends=outcome)
        self._deliver([amended])
        self._judge(amended)
