"""The journal, the only memory of earlier runs: what a run asks of it, and one in a file that survives being killed.

A row is marked ``sent``, durably, before its first byte leaves; what was marked and never settled is an unknown
outcome for ever after. One writer, many changes to a commit (``reliability.md`` section 3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

from ..endpoint import Request
from ..errors import JournalError, NotSent, bare
from ..events import JournalLag
from .journal_file import DOUBTED, Change, Header, JournalFile
from .journal_removals import doubted, overtaken, refuse_removals
from .recollection import Entry, Recalled

__all__ = [
    "DOUBTED",
    "Change",
    "Commits",
    "Entry",
    "FileJournal",
    "Header",
    "Journal",
    "Memory",
    "OpenJournal",
    "Recalled",
]

# Settled marks ride with the next commit of sent marks, and wait no longer than this for one.
_LINGER = 0.05


class Memory(Protocol):
    """What is asked about rows before any is sent."""

    async def recall(self, entries: Sequence[Entry]) -> list[Recalled]:
        """Return what is known of each of ``entries``, entering those that are new."""
        ...

    async def overtaken(self, endpoints: Sequence[str]) -> frozenset[int]:
        """Return the rows not done that a later row took over: removals (``endpoints``) by calls, and calls by them."""
        ...

    def settled(self, row: int, status: str, reason: str, attempts: int, outcome: Any) -> None:
        """Note how ``row`` ended; ``outcome``, if there is one, is delivered after the commit."""


class Journal(Memory, Protocol):
    """What a run asks of the memory of its rows; nothing in a run knows which one it has."""

    def calls(self) -> Iterable[tuple[Request[Any], datetime]] | None:
        """Return the calls of other runs that have become known since this was last asked, and when they were sent.

        Caps count them. ``None`` where a file tells them all (``journal_calls``).
        """

    @property
    def durable(self) -> bool:
        """Whether marks outlive this process; where they do not, only duplicates are found."""
        ...

    @property
    def may_leave(self) -> Callable[[], bool] | None:
        """Asked just before a first byte, on no clock but a monotonic one: whether it may leave. ``None`` always."""
        ...

    async def doubted(self, endpoints: Sequence[str], since: int) -> list[tuple[str, str, int]]:
        """Return endpoint, request and moment of what was sent since then to ``endpoints`` and may still arrive."""
        ...

    async def sent(self, row: int, step: str = "") -> None:
        """Mark ``row`` as sent, in a ``step`` of its settling; returns when that would survive a power cut.

        :class:`NotSent` if the row is not ours to send, :class:`JournalError` if none is any more.
        """

    def mark(self, row: int, tell: Callable[[Exception | None], None], step: str = "") -> None:
        """Do as :meth:`sent` does and ``tell`` what it would raise, or ``None``."""

    def planned(self, row: int, reason: str = "") -> None:
        """Take the mark of ``row`` back: it surely did not happen."""

    async def amend(self, rows: Sequence[int]) -> Collection[int]:
        """Mark ``rows`` that this run called succeeded or failed as unknown (``desync``), and return which it were.

        It returns when that would survive a power cut and all that was settled before it was delivered.
        """
        ...

    def lag(self) -> JournalLag:
        """Return how far what is written is behind."""
        ...

    async def aclose(self) -> None:
        """Write what is left and let go."""


OpenJournal = Callable[[Header, Callable[[list[Any]], None]], Awaitable[Journal]]
"""Opens the journal of a run, which is to deliver what was settled, after the commit that holds it."""


class Commits:
    """Gathers marks into commits: what queued up during the last one makes the next."""

    durable: bool = True
    may_leave: Callable[[], bool] | None = None

    def calls(self) -> Iterable[tuple[Request[Any], datetime]] | None:
        """Return what a cap counts beside a file; see :class:`Journal`."""
        return None

    def __init__(self, name: str, deliver: Callable[[list[Any]], None], linger: float = _LINGER) -> None:
        """Settled marks wait up to ``linger`` seconds for a mark of sent to ride with; ``name`` is for errors."""
        self._name = name
        self._deliver = deliver
        self._linger = linger
        self._loop = asyncio.get_running_loop()
        self._changes: list[Change] = []
        self._commit: asyncio.Future[Collection[int]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._broken: JournalError | None = None
        self._writing, self._since = 0, 0.0

    def _apply(self, changes: list[Change]) -> asyncio.Future[Collection[int]]:
        """Begin to write ``changes`` durably; the result is the rows whose change was refused."""
        raise NotImplementedError

    async def sent(self, row: int, step: str = "") -> None:
        """Mark ``row`` as sent; see :class:`Journal`."""
        durable: asyncio.Future[None] = self._loop.create_future()

        def tell(error: Exception | None) -> None:
            if not durable.done():
                durable.set_result(None) if error is None else durable.set_exception(error)

        self.mark(row, tell, step)
        await durable

    def mark(self, row: int, tell: Callable[[Exception | None], None], step: str = "") -> None:
        """Mark ``row`` as sent, and ``tell`` when that is durable; see :class:`Journal`."""
        if self._broken is not None:
            tell(self._broken)
            return
        self._changes.append(Change(row, "sent", step, 0, tell, None))
        self._write_now()

    def planned(self, row: int, reason: str = "") -> None:
        """Take the mark of ``row`` back: it surely did not happen."""
        self._settle(Change(row, "planned", reason, 0, None, None))

    def settled(self, row: int, status: str, reason: str, attempts: int, outcome: Any) -> None:
        """Note how ``row`` ended; ``outcome``, if there is one, is delivered after the commit."""
        self._settle(Change(row, status, reason, attempts, None, outcome))

    def _settle(self, change: Change) -> None:
        self._changes.append(change)
        self._write_soon()

    def _write_soon(self) -> None:
        if self._commit is None and self._timer is None:
            self._timer = self._loop.call_later(self._linger, self._write_now)

    def _write_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._commit is not None or not self._changes:
            return
        changes, self._changes = self._changes, []
        self._writing, self._since = len(changes), self._loop.time()
        self._commit = self._apply(changes)
        self._commit.add_done_callback(lambda commit: self._written(commit, changes))

    def _written(self, commit: asyncio.Future[Collection[int]], changes: list[Change]) -> None:
        self._commit = None
        failed = asyncio.CancelledError() if commit.cancelled() else commit.exception()
        error = None if failed is None else self._break(failed)
        refused = commit.result() if failed is None else ()
        if outcomes := [change.settled for change in changes if change.settled is not None]:
            self._deliver(outcomes)
        for change in changes:
            if change.tell is None:
                continue
            if error is None and change.id in refused:
                change.tell(self._broken or NotSent("its row is in other hands", transient=False))
            else:
                change.tell(error)
        if any(change.tell is not None for change in self._changes):
            self._write_now()
        elif self._changes:
            self._write_soon()

    def lag(self) -> JournalLag:
        """Return how many changes are not written yet, and since when the oldest of them waits for the disk."""
        pending = len(self._changes) + (0 if self._commit is None else self._writing)
        since = self._timer.when() - self._linger if self._timer is not None else self._since
        return JournalLag(pending=pending, seconds=max(0.0, self._loop.time() - since) if pending else 0.0)

    def _break(self, cause: BaseException) -> JournalError:
        if self._broken is None:
            named = JournalError(f"{self._name} cannot be written: {cause!r}")
            self._broken = cause if isinstance(cause, JournalError) else named
        return self._broken

    async def _written_before(self) -> None:
        """Return when everything that was settled by now has been written and delivered."""
        for _ in range(2):  # what is being written, and what queued up meanwhile
            self._write_now()
            if self._commit is not None:
                await asyncio.wait([self._commit])
                await asyncio.sleep(0)  # the callback that delivers runs in the next turn

    async def flush(self) -> None:
        """Return when everything that was settled has been written and delivered."""
        while self._changes or self._commit is not None:
            self._write_now()
            commit = self._commit
            if commit is not None:
                await asyncio.wait([commit])
                await asyncio.sleep(0)  # the callback that delivers runs in the next turn


class FileJournal(Commits):
    """The journal of one run at a time, in one file; one thread reads and writes it."""

    def __init__(
        self, file: JournalFile, executor: Executor, deliver: Callable[[list[Any]], None], linger: float
    ) -> None:
        """Use :meth:`open`."""
        super().__init__(str(file.path), deliver, linger)
        self._file = file
        self._executor = executor

    @classmethod
    async def open(
        cls,
        path: Path | None,
        header: Header,
        *,
        deliver: Callable[[list[Any]], None],
        amended: bool = False,
        executor: Executor | None = None,
        linger: float = _LINGER,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Open the journal at ``path``; ``deliver`` gets what was settled, after the commit that holds it.

        Without a path it is only to be asked for duplicates: what it is told does not outlive it (``transient.py``).
        Raises :class:`JournalBusy` while another run holds it, :class:`JournalMismatch` if it belongs to another
        server, operation or (unless ``amended``) input, :class:`JournalError` if it cannot be used.
        """
        executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="ucontact-journal")
        loop = asyncio.get_running_loop()
        try:
            file = await loop.run_in_executor(executor, lambda: JournalFile(path, header, amended=amended, now=now))
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(file, executor, deliver, linger)

    async def recall(self, entries: Sequence[Entry]) -> list[Recalled]:
        """Return what is known of each of ``entries``, entering those that are new."""
        if self._file.keys_only:
            refuse_removals(entries)
        try:
            return await self._loop.run_in_executor(self._executor, self._file.recall, entries)
        except JournalError as error:  # its frames hold what the rows say
            raise bare(error) from None

    async def doubted(self, endpoints: Sequence[str], since: int) -> list[tuple[str, str, int]]:
        """Return endpoint, request and moment of what was sent since then to ``endpoints`` and may still arrive."""
        return await self._loop.run_in_executor(self._executor, doubted, self._file, endpoints, since)

    async def overtaken(self, endpoints: Sequence[str]) -> frozenset[int]:
        """Return the rows that are not done while a later call of their number is, or for a call a later removal."""
        return await self._loop.run_in_executor(self._executor, overtaken, self._file, endpoints)

    async def amend(self, rows: Sequence[int]) -> Collection[int]:
        """Mark rows as unknown that this run called succeeded or failed; see :class:`Journal`."""
        await self._written_before()
        return await self._loop.run_in_executor(self._executor, self._file.amend, rows)

    def _apply(self, changes: list[Change]) -> asyncio.Future[Collection[int]]:
        return self._loop.run_in_executor(self._executor, self._file.apply, changes)

    async def aclose(self) -> None:
        """Write what is left and let go of the file; raise :class:`JournalError` if not all could be written."""
        await self.flush()
        await self._loop.run_in_executor(self._executor, self._file.close)
        self._executor.shutdown(wait=False)
        if self._broken is not None:
            raise self._broken
