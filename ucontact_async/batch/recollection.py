"""Which row of a journal a row of the input is: the rule, for every journal alike.

A row goes by what it says and by its number among equal ones; its place in the input is only a place. This file asks no
database: what may be the same is given to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from typing import Any

import msgspec

__all__ = ["Entry", "Recalled", "Recollection", "key_of", "new", "recollect"]

# What must not be sent again: the call was made, or may have been.
_DONE = ("succeeded", "unknown", "sent")
_FIRST = {"succeeded": 0, "unknown": 0, "sent": 0, "undone": 1}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row as the journal knows it: digest of the canonical request, what makes it the same call, its position.

    ``endpoint`` and ``request``, a JSON object, are what it says, kept for people and for an undo.
    """

    content: bytes
    identity: int
    position: int
    endpoint: str = ""
    request: str = ""

    def __repr__(self) -> str:
        return f"Entry({self.content.hex()}, {self.position}, {self.endpoint!r})"


class Recalled(msgspec.Struct, frozen=True, gc=False):
    """What the journal remembers of a row: ``status`` is ``new`` or the state an earlier run or undo left it in.

    ``undoing`` is the state of a row whose undo was begun and not ended: its call may be there or not.
    ``duplicate_of`` is the position of another row that is the same call, ``None`` where there is none. ``at`` is when
    the row became what it is, in Unix seconds.
    """

    id: int
    key: str
    status: str
    reason: str
    duplicate_of: int | None
    at: int | None = None


class Recollection(msgspec.Struct):
    """What was ``recalled``, and what of it the journal has to write.

    ``added``: (id, content, occurrence, identity, run, position); ``met``: (run, position, status, id).
    """

    recalled: list[Recalled]
    added: list[tuple[Any, ...]]
    met: list[tuple[Any, ...]]


def recollect(
    entries: Sequence[Entry], alike: dict[int, list[list[Any]]], run: int, ids: Iterator[int]
) -> Recollection:
    """Say which known row each of ``entries`` is; those that are new get the next of ``ids``.

    ``alike`` holds, by identity, the journal's rows that are the same calls, in the order they were entered: id,
    content, occurrence, run, position, status, reason, undoing, at. Unless all is new it is brought up to date. ``run``
    numbers the runs: what was met in this one is another row.
    """
    if len(alike) == len(entries) and not any(alike.values()):
        return _all_new(entries, run, [*islice(ids, len(entries))])
    found = Recollection([], [], [])
    for entry in entries:
        same = alike[entry.identity]
        own, occurrence, duplicate_of = _twin(entry, same, run) if same else (None, 1, None)
        if own is not None:
            known = "undoing" if own[7] else own[5]
            found.recalled.append(Recalled(own[0], key_of(entry.content, own[2]), known, own[6], duplicate_of, own[8]))
            # Whether it is skipped is decided anew: until then it counts as a row that may be sent.
            own[3:6] = run, entry.position, "planned" if own[5] == "skipped" else own[5]
            found.met.append((*own[3:6], own[0]))
            continue
        id_ = next(ids)
        same.append([id_, entry.content, occurrence, run, entry.position, "planned"])
        found.added.append((id_, entry.content, occurrence, entry.identity, run, entry.position))
        found.recalled.append(Recalled(id_, key_of(entry.content, occurrence), "new", "", duplicate_of))
    return found


def _all_new(entries: Sequence[Entry], run: int, ids: Sequence[int]) -> Recollection:
    """Say the same of calls that are all new, as those of nearly every block are."""
    contents = [entry.content for entry in entries]
    identities = [entry.identity for entry in entries]
    positions = [entry.position for entry in entries]
    added = zip(ids, contents, repeat(1), identities, repeat(run), positions)
    return Recollection(new(ids, contents), [*added], [])


def _twin(entry: Entry, same: list[list[Any]], run: int) -> tuple[list[Any] | None, int, int | None]:
    """Return which of the ``same`` calls ``entry`` is, which number it has if none, and of which it is a double."""
    twins = [row for row in same if row[1] == entry.content]
    earlier = [row for row in twins if row[3] < run]
    # What is done counts first: where rows were taken out of the input, what is left over must not be sent.
    own = min(earlier, key=lambda row: _FIRST.get(row[5], len(_FIRST)), default=None)
    duplicate_of = None
    for row in same:
        if row is not own and (row[5] != "skipped" if row[3] == run else row[5] in _DONE):
            duplicate_of = row[4]
            break
    return own, twins[-1][2] + 1 if twins else 1, duplicate_of


def new(ids: Sequence[int], contents: Sequence[bytes]) -> list[Recalled]:
    """Return what is known of rows that are none's doubles: nothing, by the column."""
    return [*map(Recalled, ids, map(bytes.hex, contents), repeat("new"), repeat(""), repeat(None))]


def key_of(content: bytes, occurrence: int) -> str:
    """Return what a row is called: the digest of its request, and its number among equal ones from the second on."""
    digest = bytes.hex(content)  # TypeError for what a damaged journal may hold instead
    return digest if occurrence == 1 else f"{digest}-{occurrence}"
