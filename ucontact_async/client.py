"""``UContact``: settings in, groups of endpoints mounted on one caller, the lifetime of it all.

Siblings below do not know each other; they are introduced here. Nothing is opened before the first call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from weakref import WeakSet
from zoneinfo import ZoneInfo

import msgspec

from .aftermath import Abandoned, Doubted
from .api import endpoint_of
from .api.calls import Calls
from .api.campaigns import Campaigns
from .api.dialers import Dialers
from .api.watch import Watch
from .assembly import assemble
from .caller import HttpCaller
from .downloads import Downloads
from .endpoint import Flight, Request, Safety, unlisted
from .errors import SettingsError
from .events import Event, EventBus, tell
from .limiter import Limiter, Priority
from .observed import Observer
from .pace import Pace
from .recordings.group import Recordings
from .recordings.places import Places
from .settings import Secret, ServerProfile, Settings, Tls, read_environment
from .text import Rules
from .tokens import TokenStore
from .wire import Reply

if TYPE_CHECKING:
    from .batch.intake import Source
    from .batch.journal import OpenJournal
    from .batch.options import BulkOptions
    from .batch.preparing import Planner
    from .batch.report import Report
    from .batch.rules.rules import DialRules
    from .batch.runner import Bulk
    from .batch.settle import ReplaceSchedule

__all__ = ["UContact"]

R = TypeVar("R")
T = TypeVar("T")

_log = logging.getLogger(__name__)
# How long close waits for calls whose callers were cancelled; the answer usually takes a fraction of it.
CLOSE_GRACE = 10.0


class UContact:
    """A client of one uContact server, for one event loop: ``async with UContact(url, user=..., password=...) as uc``.

    ``timezone`` is the server's (a name such as ``America/Montevideo``); without it no date can be sent. A ``token``
    that was given is never ended and never replaced. ``limiter`` may be shared by several clients, ``token_store`` by
    the processes of one machine. ``connection="fresh"`` uses each connection once. ``lane="session"`` sends all by
    aiohttp's own client, ``"auto"`` uploads and what may be answered at length, ``"command"`` uploads only. ``ca`` is
    a file of trusted certificates, ``tls`` the rest about TLS. ``records`` and ``backup_records`` are the hosts of
    recordings, by default the server itself and none. ``profile`` is what is known of the server, or the file that
    ``ucontact-async probe`` wrote it to. ``rules`` say when, whom and how often may be called, in every way but
    :meth:`request`: a call that they forbid raises :class:`Blocked`, a row of a run without rules of its own is
    skipped. ``observers`` are told of every call: see :mod:`ucontact_async.telemetry`. Raises :class:`SettingsError`
    for what cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | Secret | None = None,
        token: str | Secret | None = None,
        token_scheme: Literal["Basic", "Bearer"] = "Basic",  # noqa: S107  a scheme, no secret
        timezone: str | ZoneInfo | None = None,
        records: str | None = None,
        backup_records: str | None = None,
        token_store: TokenStore | None = None,
        limiter: Limiter | None = None,
        connection: Literal["keep", "fresh"] = "keep",
        lane: Literal["auto", "session", "command"] = "auto",
        profile: ServerProfile | str | Path | None = None,
        ca: str | Path | None = None,
        tls: Tls | None = None,
        rules: DialRules | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        try:
            settings = Settings.of(
                url=url,
                login=(user, password, token, token_scheme),
                timezone=timezone,
                recordings=(records, backup_records),
                way=(connection, lane),
                ca=ca,
                tls=tls,
                profile=profile,
            )
        finally:
            del url, password, token, records, backup_records  # what a traceback with locals would show
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: list[tuple[Callable[[Any], None], tuple[type, ...]]] = []
        self._watches: WeakSet[Watch[Any]] = WeakSet()
        self._runs: WeakSet[Bulk] = WeakSet()
        self._events = EventBus()
        limiter = limiter or Limiter()
        self._leave = [bus.subscribe(self._tell) for bus in (self._events, limiter.events)]
        caller, leave = assemble(
            settings,
            limiter=limiter,
            token_store=token_store,
            spawn=self._spawn,
            notify=self._notify,
            rules=rules,
            events=self._events,
            observers=tuple(observers),
            runs=self._runs,
        )
        self._leave += leave
        self._dial_rules = rules
        self._places, self._downloads = Places(settings.hosts_of_recordings), Downloads(settings)
        self._mount(caller)

    def _mount(self, caller: HttpCaller) -> None:
        self._caller = caller
        self.dialers = Dialers(caller)
        self.calls = Calls(caller)
        self.campaigns = Campaigns(caller, opened=self._watches.add)
        self.recordings = Recordings(caller, downloads=self._downloads, places=self._places)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, observers: Iterable[Observer] = ()) -> Self:
        """Build a client from the ``UCONTACT_*`` variables of the environment."""
        found = read_environment(environ)
        if "url" not in found:
            raise SettingsError("UCONTACT_URL is not set; give the server's address")
        environ = None
        return cls(found.pop("url"), observers=observers, **found)

    @property
    def settings(self) -> Settings:
        """The settings in force; their ``repr`` shows no secret."""
        return self._caller.settings

    @property
    def rules(self) -> Rules:
        """What the text formats need to know of this server."""
        return self._caller.rules

    @property
    def limiter(self) -> Limiter:
        """The limiter in force: ``limiter.stats`` to look at, ``max_concurrency`` and ``max_per_second`` to change."""
        return self._caller.limiter

    def with_options(self, *, timeout: float | None = None, priority: Priority | None = None) -> Self:
        """Return a client that shares everything with this one but ``timeout`` (seconds an attempt) or ``priority``.

        Close the original, not the copy.
        """
        settings = self._caller.settings
        if timeout is not None:
            settings = msgspec.structs.replace(settings, timeout=float(timeout))
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._mount(self._caller.with_options(settings, priority or self._caller.priority))
        return twin

    def listen(self, listener: Callable[[Any], None], *kinds: type[Abandoned | Doubted | Event]) -> None:
        """Have ``listener`` called with every :class:`Abandoned` and :class:`Doubted` event, or those of ``kinds``.

        :class:`GateClosed`, :class:`GateOpened`, :class:`LoggedIn` and :class:`LoginFailed` are told as they happen.
        """
        self._listeners.append((listener, kinds or (Abandoned, Doubted)))

    async def send(self, request: Request[R]) -> R:
        """Perform ``request`` and return its reply: the same as the coroutine of its endpoint."""
        return await self._caller.call(endpoint_of(request), request)

    async def request(self, path: str, form: Mapping[str, str], *, reply: Reply[R], safety: Safety) -> R:
        """Call an endpoint that the vendor's page does not list.

        ``path`` follows ``/Integra/resources/``; one that starts with ``/`` reaches another root such as
        ``/IntegraChannels/resources/...``. ``reply`` is one of ``Reply.DONE``, ``Reply.TEXT`` and ``Reply.JSON``.
        """
        try:
            prepared = unlisted(path, form, reply=reply, safety=safety, rules=self.rules)
        finally:
            del form
        return await self._caller.perform(prepared, Flight(), wait=self.settings.wait)

    def stream(
        self,
        requests: Iterable[Any] | AsyncIterable[Any],
        *,
        journal: str | Path | None = None,
        journal_mode: Literal["requests", "keys"] = "requests",
        max_concurrency: int | Literal["auto"] = "auto",
        max_per_second: float | None = None,
        max_failures: int | str | None = None,
        max_unknown: int | None = 20,
        max_unknown_jump: float | None = 5.0,
        on_unknown: Literal["hold"] | ReplaceSchedule = "hold",
        on_duplicate: Literal["refuse", "skip", "allow"] = "refuse",
        not_after: datetime | Callable[[Request[Any]], datetime | None] | None = None,
        rules: DialRules | None = None,
        dry_run: bool = False,
        ordered: bool = False,
        amended: bool = False,
        retry_refused: bool = False,
        retry_undone: bool = False,
        allow_past: bool = False,
        progress: Callable[[Report], None] | None = None,
    ) -> Bulk:
        """Send many requests, bounded and lazily, and get their outcomes as they complete.

        ``async with uc.stream(requests, journal="run.db") as outcomes: async for outcome in outcomes: ...``

        Args:
            requests: any iterable or async iterable of requests, kinds mixed as you like; read as fast as sent.
            journal: a file that remembers what was sent; the same path again resumes. Without one a second run
                sends everything again.
            journal_mode: ``"keys"`` keeps no number and nothing else that rows say, and cannot be undone.
            max_concurrency: how many calls on the wire at most; ``"auto"`` leaves it to the client's limiter.
            max_per_second: how many calls may start in a second.
            max_failures: stop after more failures than this (a number, or a share such as ``"1%"``).
            max_unknown: stop after more unknown outcomes than this; ``None`` never.
            max_unknown_jump: stop once at least 10 of the last 100 rows are unknown and that is so many times their
                share before, of 100 rows at least; ``None`` never, and so where ``max_unknown`` is.
            on_unknown: ``"hold"``: an unknown outcome is reported and never sent again. ``ReplaceSchedule()``: a
                scheduled call is removed and inserted again after a quarantine, which the end of the run waits for.
            on_duplicate: ``"refuse"`` and ``"skip"`` leave out the second of two rows that are the same call,
                ``"allow"`` sends it.
            not_after: a moment, or a function of the request that gives one, after which a row is not sent.
            rules: when, whom and how often to call; what they forbid is skipped as ``blocked: NAME``. Without them
                those of the client hold.
            dry_run: check, compare and encode everything; send nothing and write no journal.
            ordered: yield outcomes in the order of the input.
            amended: take a journal of another version of the input: known rows are not sent again.
            retry_refused: send again what the server refused in an earlier run.
            retry_undone: send again what was taken back by an undo.
            allow_past: send calls whose ``calldate`` has passed; they ring at once.
            progress: called with the report as it grows, once an outcome.

        Raises:
            SettingsError: an option makes no sense.
            JournalError: on entering, if the journal is busy, foreign or unusable; while running, if it fails.
        """
        from .batch.options import BulkOptions

        options = BulkOptions(
            journal=None if journal is None else Path(journal),
            journal_mode=journal_mode,
            max_concurrency=max_concurrency,
            max_per_second=max_per_second,
            max_failures=max_failures,
            max_unknown=max_unknown,
            max_unknown_jump=max_unknown_jump,
            on_unknown=on_unknown,
            on_duplicate=on_duplicate,
            not_after=not_after,
            rules=rules,
            dry_run=dry_run,
            ordered=ordered,
            amended=amended,
            retry_refused=retry_refused,
            retry_undone=retry_undone,
            allow_past=allow_past,
            progress=progress,
        )
        from .batch.table import Table

        return self.run(requests, options, planner=requests if isinstance(requests, Table) else None)

    def run(
        self,
        items: Iterable[Any] | AsyncIterable[Any] | Source,
        options: BulkOptions,
        *,
        planner: Planner | None = None,
        open_journal: OpenJournal | None = None,
    ) -> Bulk:
        """Open a run over ``items``: what :meth:`stream`, :meth:`bulk`, the command line and the fleet stand on.

        With a ``planner`` (see ``batch.operations.plan``) the items may be rows of a file.
        """
        from .batch.runner import Bulk

        options = msgspec.structs.replace(options, rules=options.rules or self._dial_rules)
        pace = None if options.max_per_second is None else Pace(options.max_per_second)
        bulk = Bulk(
            items,
            caller=self._caller.with_options(self.settings, "bulk", pace),
            limiter=self.limiter,
            server=self.settings.url,
            options=options,
            spawn=self._spawn,
            planner=planner,
            pace=pace,
            open_journal=open_journal,
            lane=lambda: self._caller.lane.name,
            profile=self.settings.profile,
            events=self._events,
        )
        self._runs.add(bulk)
        return bulk

    def preview(self, request: Request[Any]) -> tuple[str, str]:
        """Return path and body that ``request`` would be sent with, numbers and form data hidden.

        The hidden characters aside it is what goes out, byte for byte. Raises :class:`InvalidRequest`.
        """
        return self._caller.preview(request)

    async def bulk(
        self,
        requests: Iterable[Any] | AsyncIterable[Any],
        *,
        journal: str | Path | None = None,
        journal_mode: Literal["requests", "keys"] = "requests",
        max_concurrency: int | Literal["auto"] = "auto",
        max_per_second: float | None = None,
        max_failures: int | str | None = None,
        max_unknown: int | None = 20,
        max_unknown_jump: float | None = 5.0,
        on_unknown: Literal["hold"] | ReplaceSchedule = "hold",
        on_duplicate: Literal["refuse", "skip", "allow"] = "refuse",
        not_after: datetime | Callable[[Request[Any]], datetime | None] | None = None,
        rules: DialRules | None = None,
        dry_run: bool = False,
        ordered: bool = False,
        amended: bool = False,
        retry_refused: bool = False,
        retry_undone: bool = False,
        allow_past: bool = False,
        progress: Callable[[Report], None] | None = None,
    ) -> Report:
        """Send many requests and return the report: :meth:`stream` to its end, with the same options and errors.

        It raises nothing for rows that fail: ``report.raise_for_status()`` does.
        """
        run = self.stream(
            requests,
            journal=journal,
            journal_mode=journal_mode,
            max_concurrency=max_concurrency,
            max_per_second=max_per_second,
            max_failures=max_failures,
            max_unknown=max_unknown,
            max_unknown_jump=max_unknown_jump,
            on_unknown=on_unknown,
            on_duplicate=on_duplicate,
            not_after=not_after,
            rules=rules,
            dry_run=dry_run,
            ordered=ordered,
            amended=amended,
            retry_refused=retry_refused,
            retry_undone=retry_undone,
            allow_past=allow_past,
            progress=progress,
        )
        async with run:
            return await run.finish()

    async def login(self) -> None:
        """Log in now instead of at the first call."""
        await self._caller.login()

    async def aclose(self) -> None:
        """Finish what is on the wire, end the session if this client began it, and close all connections."""
        tokens = self._caller.tokens
        assert tokens is not None
        for watch in tuple(self._watches):
            await watch.aclose()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_GRACE)
        await tokens.aclose()
        for task in self._tasks:
            task.cancel()
        await self._downloads.aclose()
        await self._caller.lane.aclose()
        while self._leave:
            self._leave.pop()()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        import anyio

        with anyio.move_on_after(CLOSE_GRACE + 10.0, shield=True):
            await self.aclose()

    def __repr__(self) -> str:
        built = "_caller" in vars(self)  # a traceback shows what is not built yet
        return f"UContact({self.settings.url!r}, user={self.settings.user!r})" if built else "UContact(...)"

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _notify(self, event: Abandoned | Doubted) -> None:
        ended = {"ucontact_outcome": event.outcome} if isinstance(event, Abandoned) else {}
        extra = {"ucontact_event": type(event).__name__, "ucontact_request": type(event.request).__name__, **ended}
        _log.warning("%s", event, extra=extra)
        self._tell(event)

    def _tell(self, event: Abandoned | Doubted | Event) -> None:
        for listener, kinds in self._listeners:
            if isinstance(event, kinds):
                tell(listener, event)
