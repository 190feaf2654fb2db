"""The library for programs without an event loop: one runs beside them in a thread, and its coroutines are called.

It adds nothing of its own: what is sent, and what is known of it, is the client's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from .client import UContact
from .errors import SettingsError

__all__ = ["Blocking", "run"]

P = ParamSpec("P")
T = TypeVar("T")


def run(work: Callable[[UContact], Awaitable[T]], client: Callable[[], UContact] = UContact.from_env) -> T:
    """Open a client, return what ``work`` of it comes to, and close it: a script in one line.

    ``report = run(lambda uc: uc.bulk(calls, journal="calls.journal"))``

    Args:
        work: a coroutine function of the client.
        client: makes the client; by default of the environment's ``UCONTACT_*`` variables.

    Raises:
        SettingsError: an event loop runs in this thread already; ``await`` the client there.
    """

    async def whole() -> T:
        async with client() as uc:
            return await work(uc)

    _refuse_a_loop()
    return anyio.run(whole)


class Blocking:
    """A client for code that cannot ``await``; of any thread, and of several at once.

    ::

        with Blocking() as door:
            door.call(door.client.dialers.schedule, campaign="Ventas->", destination="090000001", calldate=when)
            report = door.call(door.client.bulk, calls, journal="calls.journal")
            for recording in door.iterate(door.client.recordings.search(since=since, until=until)):
                print(recording.guid)

    Leaving the block finishes what is on the wire and ends the session. What the client is given (an iterable of
    requests, a progress callback) runs in the thread of its event loop. A call costs about 0.2 ms more than in a
    coroutine (ecosystem.md, anyio): many rows belong into one ``bulk``, not into a loop of calls.
    """

    client: UContact
    """The client behind the door; its coroutines are for :meth:`call`."""

    def __init__(self, client: Callable[[], UContact] = UContact.from_env) -> None:
        """``client`` makes the client; by default of the environment's ``UCONTACT_*`` variables."""
        self._make = client
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        """Start the event loop; raises :class:`SettingsError` where one runs in this thread, or settings are bad."""
        _refuse_a_loop()
        with contextlib.ExitStack() as opened:
            portal = opened.enter_context(start_blocking_portal(name="ucontact-async"))
            self.client = portal.call(self._make)
            opened.enter_context(portal.wrap_async_context_manager(self.client))
            self._portal = portal
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal = None
        self._opened.__exit__(kind, error, trace)

    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``await function(*args, **kwargs)`` would, or raise its error.

        A signal that interrupts the waiting does not take back what has left: the client finishes it on closing.
        """
        return self._open.call(functools.partial(function, *args, **kwargs))

    def iterate(self, source: AsyncIterable[T]) -> Iterator[T]:
        """Yield what ``async for`` over ``source`` would; ``uc.stream(...)`` is entered first and left at the end.

        Close the iterator where you leave it early, as ``contextlib.closing`` does.
        """
        portal = self._open
        with contextlib.ExitStack() as opened:
            if isinstance(source, contextlib.AbstractAsyncContextManager):
                source = opened.enter_context(portal.wrap_async_context_manager(source))
            iterator = aiter(source)
            if (close := getattr(iterator, "aclose", None)) is not None:
                opened.callback(portal.call, close)
            with contextlib.suppress(_Ended):
                while True:
                    yield portal.call(_next, iterator)

    @property
    def _open(self) -> BlockingPortal:
        if self._portal is None:
            raise SettingsError("the door is closed: use it in a with block")
        return self._portal


class _Ended(Exception):
    """In the place of StopAsyncIteration, which may not leave the coroutine that a portal runs."""


async def _next(iterator: AsyncIterator[T]) -> T:
    try:
        return await anext(iterator)
    except StopAsyncIteration:
        raise _Ended from None


def _refuse_a_loop() -> None:
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise SettingsError("an event loop runs in this thread: use UContact with await")
