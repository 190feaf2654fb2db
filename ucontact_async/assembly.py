"""The engine of a client, put together of parts that do not know each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .aftermath import Abandoned, Doubted
from .attempt import Lane
from .caller import HttpCaller, Spawn
from .endpoint import Guard
from .events import EventBus, JournalLag
from .lane import CommandLane
from .limiter import Limiter
from .login import Login
from .observed import Observer, observe
from .pool import SessionLane
from .retry import RetryRule
from .settings import Settings
from .tokens import TokenManager, TokenStore

if TYPE_CHECKING:
    from .batch.rules.rules import DialRules
    from .batch.watching import Watchable

__all__ = ["assemble"]


def assemble(
    settings: Settings,
    *,
    limiter: Limiter,
    token_store: TokenStore | None,
    spawn: Spawn,
    notify: Callable[[Abandoned | Doubted], None],
    events: EventBus,
    rules: DialRules | None,
    observers: tuple[Observer, ...],
    runs: Iterable[Watchable],
) -> tuple[HttpCaller, list[Callable[[], None]]]:
    """Return the caller of a client and what ends the watch of its observers; nothing is opened before a call."""
    caller, leave = observe(
        HttpCaller(
            settings=settings,
            lane=_lane_of(settings),
            limiter=limiter,
            retry=RetryRule(),
            spawn=spawn,
            notify=notify,
            guard=_guard_of(rules, settings),
        ),
        observers,
        buses=(events, limiter.events),
        lag=_lag_of(runs),
    )
    login = Login(settings, caller)
    caller.tokens = TokenManager(
        login=login.login,
        logout=login.logout,
        spawn=spawn,
        given=settings.token,
        store=token_store,
        owner="" if token_store is None else f"{settings.url} {settings.user}",
        events=events,
    )
    return caller, leave


def _lag_of(runs: Iterable[Watchable]) -> Callable[[], JournalLag]:
    def lag() -> JournalLag:
        from .batch.watching import lag_of

        return lag_of(runs)

    return lag


def _guard_of(rules: DialRules | None, settings: Settings) -> Guard | None:
    if rules is None:
        return None
    from .batch.rules.guard import DialGuard

    return DialGuard(rules, zone=settings.timezone)


def _lane_of(settings: Settings) -> Lane:
    session = SessionLane(settings)
    if settings.lane == "session":
        return session
    return CommandLane(session, fresh=settings.connection == "fresh", reads=settings.lane == "command")
