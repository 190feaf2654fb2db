"""What is told of a call that nobody waits for any more: how it ended, or that its answer came to be in doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .endpoint import Flight, Request
from .errors import UContactError

__all__ = ["Abandoned", "Doubted", "SingleFlight"]


class Abandoned(msgspec.Struct, frozen=True):
    """An event: a call whose caller was cancelled after the first byte had left, and how it ended.

    ``error`` is ``None`` where it succeeded with ``reply``.
    """

    request: Request[Any]
    reply: Any = None
    error: UContactError | None = None

    @property
    def outcome(self) -> str:
        """``succeeded``, or the name of the error's class."""
        return "succeeded" if self.error is None else type(self.error).__name__

    def __str__(self) -> str:
        return f"a cancelled call was finished all the same: {type(self.request).__name__}, {self.outcome}"


class Doubted(msgspec.Struct, frozen=True):
    """An event: a call that was answered, over a connection that gave one answer too many later.

    Its reply, or that it was refused, may be that of another call: nobody knows whether it happened.
    """

    request: Request[Any]

    def __str__(self) -> str:
        return f"the answer to a call may be that of another: {type(self.request).__name__}"


class SingleFlight(Flight):
    """The flight of a call of its own, of no run; ``notify`` is told if its answer comes to be in doubt."""

    def __init__(self, request: Request[Any], notify: Callable[[Abandoned | Doubted], None] | None) -> None:
        self._request = request
        self._notify = notify

    def doubt(self) -> None:
        """Tell it."""
        super().doubt()
        if self._notify is not None:
            self._notify(Doubted(self._request))
