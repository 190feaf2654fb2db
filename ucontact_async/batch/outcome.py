"""What became of one row: four statuses, and no fifth."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from ..endpoint import Request
from ..errors import OutcomeUnknown, UContactError
from .sources import Row

__all__ = ["DESYNC", "SUCCEEDED", "Outcome", "Status", "doubtful", "kept", "status_of"]

DESYNC = "desync"
"""The reason of a row whose answer may be that of another: its connection gave one answer too many."""


class Status(enum.StrEnum):
    """``failed`` means surely not applied; ``unknown`` that it may have been; ``skipped`` that nothing was sent now."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


# Up to Python 3.11 an attribute of an enum takes 900 instructions, a name of a module 50.
SUCCEEDED = Status.SUCCEEDED
"""What nearly every row comes to: :attr:`Status.SUCCEEDED`."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one row.

    ``index`` counts the input from 0; ``key`` names the row in the journal (empty where it was not valid);
    ``request`` is ``None`` where none could be built. ``reason`` is a word for people and programs: ``invalid``,
    ``duplicate``, ``late``, ``expired``, ``done before``, ``undone``, ``undoing``, ``stopped``, ``dry run``,
    ``desync``, ``blocked:`` and a rule of the dial, or the name of the error's class; in an undo also ``no removal``
    and ``no request``.
    ``detail`` says it in a sentence. ``earlier`` marks what an earlier run found out; ``settled``
    what was unknown and then made certain. ``seconds`` includes waiting.
    ``amends`` is the outcome of this run that this one takes back, ``None`` for nearly all: a row said to have
    ``succeeded`` or ``failed`` becomes ``unknown`` for ``desync`` when the connection that its answer came over gives
    one answer too many. A row comes twice only so.
    """

    index: int
    status: Status
    key: str = ""
    request: Request[Any] | None = None
    row: Row | None = None
    reply: Any = None
    error: UContactError | None = None
    reason: str = ""
    detail: str = ""
    attempts: int = 0
    seconds: float = 0.0
    earlier: bool = False
    settled: bool = False
    amends: Outcome | None = None

    @property
    def position(self) -> str:
        """Where the row stands, for people: its line in the file, or its place in the input."""
        return f"row {self.row.number}" if self.row is not None else f"request {self.index}"


def kept(error: UContactError) -> UContactError:
    """Return ``error`` without the frames it came through.

    They hold the connection with its buffer, and the run, whose report holds outcomes in turn: a circle that nobody
    collects, for outcomes are not tracked.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def doubtful(outcome: Outcome) -> Outcome:
    """Return what ``outcome`` is once its answer may be that of another call: unknown, if it was not before."""
    if outcome.status is Status.UNKNOWN:
        return outcome
    return msgspec.structs.replace(
        outcome,
        status=Status.UNKNOWN,
        reply=None,
        error=None,
        reason=DESYNC,
        detail="its connection gave an answer too many: the one it got may be that of another call",
    )


def status_of(error: UContactError) -> Status:
    """Return the status that ``error`` stands for."""
    return Status.UNKNOWN if isinstance(error, OutcomeUnknown) else Status.FAILED


# What a resumed run sends again only when it is asked to, by the name of the error; all else that failed it sends by
# itself (design.md section 4).
REFUSED: frozenset[str] = frozenset({"Refused", "Rejected", "Forbidden", "NotFound"})
