"""Rules of the dial in a fleet: what of a row's cells goes into the database with it, and who may send it.

The cells that rules read are kept by the names of the rules' own fields: the columns of the file are gone by then.
"""

from __future__ import annotations

import msgspec

from ..batch.rules.rules import LIMITS, DialRules
from ..batch.sources import Row

__all__ = ["cells_of", "demanding", "for_worker"]


def cells_of(rules: DialRules, row: Row) -> dict[str, str]:
    """Return the cells of ``row``, of a file, that ``rules`` read and that are not empty."""
    cells = ((name, row.fields.get(column, "").strip()) for name, column in rules.columns.items())
    return {name: cell for name, cell in cells if cell}


def demanding(rules: DialRules) -> bool:
    """Return whether ``rules`` ask for more than that the limits of the rows themselves are kept."""
    columns = {name: getattr(LIMITS, name) for name in rules.columns}
    return msgspec.structs.replace(rules, **columns) != LIMITS


def for_worker(rules: DialRules | None) -> DialRules:
    """Return what a worker goes by that was given ``rules``; the limits of the rows are kept in any case."""
    rules = rules or LIMITS
    return msgspec.structs.replace(rules, **{name: name for name in rules.columns})
