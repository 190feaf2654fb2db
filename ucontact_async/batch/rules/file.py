"""Rules of the dial written down: a TOML file into :class:`DialRules`."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

from ...errors import SettingsError
from .caps import Cap
from .do_not_call import DoNotCall
from .rules import DialRules
from .windows import Window

__all__ = ["read_rules"]


class _List(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    max_age_days: float | None = 31.0
    name: str = "do not call"


class _Cap(msgspec.Struct, forbid_unknown_fields=True):
    calls: int
    hours: float
    name: str = "cap"


class _Window(msgspec.Struct, forbid_unknown_fields=True):
    begin: str
    end: str
    days: str = "mon-sun"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    windows: list[_Window] = []
    holidays: list[date] = []
    zone: str | None = None
    zone_column: str | None = None
    not_before: str = "not_before"
    not_after: str = "not_after"
    do_not_call: list[_List] = []
    caps: list[_Cap] = []
    journals: list[str] = []
    dialable: list[str] = []
    regions: list[str] = []
    premium: list[str] = []
    costly: Literal["refuse", "allow"] = "refuse"


def read_rules(path: str | Path) -> DialRules:
    """Read the TOML file at ``path``: the fields of :class:`DialRules`, tables for windows, lists and caps.

    Files named in it are looked for beside it. Raises :class:`SettingsError` saying what is wrong where.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        said = msgspec.convert(document, _File)
    except msgspec.ValidationError as error:
        raise SettingsError(f"the rules {path}: {error}") from None
    except OSError as error:
        raise SettingsError(f"the rules {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # what tomllib raises, and text that is not UTF-8
        raise SettingsError(f"the rules {path} are no TOML: {error}") from None
    beside = path.parent
    lists = [DoNotCall(beside / listed.file, listed.max_age_days, None, listed.name) for listed in said.do_not_call]
    try:
        return DialRules(
            windows=tuple(Window(window.begin, window.end, window.days) for window in said.windows),
            holidays=frozenset(said.holidays),
            zone=said.zone,
            zone_column=said.zone_column,
            not_before=said.not_before,
            not_after=said.not_after,
            do_not_call=tuple(lists),
            caps=tuple(Cap(cap.calls, cap.hours, cap.name) for cap in said.caps),
            journals=tuple(beside / journal for journal in said.journals),
            dialable=tuple(said.dialable),
            regions=tuple(said.regions),
            premium=tuple(said.premium),
            costly=said.costly,
        )
    except SettingsError as error:
        raise SettingsError(f"the rules {path}: {error}") from None
