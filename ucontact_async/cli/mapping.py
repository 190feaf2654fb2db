"""``--map``: what the file calls our columns, and the small TOML beside the file in which that is kept when asked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .command import beside

if TYPE_CHECKING:
    from ..batch.operations import Operation, Plan

__all__ = ["REJECTS", "add_map", "mapping_of", "plan_of", "remember"]

T = TypeVar("T")

REJECTS = ".rejects.csv"
_HEADING = (
    "# What this file calls our columns: written by --remember, read by itself on the next run of the same file.\n"
)


def add_map(parser: argparse.ArgumentParser) -> None:
    """Add the options that name columns."""
    add = parser.add_argument
    add("--map", metavar="OUR=THEIRS", action="append", default=[], help="our column name and the file's; repeatable")
    add("--remember", action="store_true", help="keep the names of --map in FILE.columns.toml for the next runs")


def mapping_of(args: argparse.Namespace) -> dict[str, str]:
    """Return the file's column names by ours: what ``--map`` says, before what is remembered of the file.

    The rejects of a file go by what is remembered of the file. Raises :class:`SettingsError` for what is no mapping.
    """
    from ..errors import SettingsError

    mapping = _remembered(args.file)
    for pair in args.map:
        our, equals, their = pair.partition("=")
        if not equals or not our.strip() or not their.strip():
            raise SettingsError(f"--map {pair}: write --map OUR=THEIRS, such as --map destination=Telefono")
        mapping[our.strip()] = their.strip()
    if args.remember and not mapping:
        raise SettingsError("--remember keeps the names that --map gives; give one, or leave it out")
    return mapping


def plan_of(args: argparse.Namespace, columns: Sequence[str], operation: Operation[T]) -> Plan[T]:
    """Return what the file's columns are used for; ``--remember`` keeps the names that it was found to have.

    Raises :class:`SettingsError` for columns that are none of the operation's, or missing.
    """
    from ..batch.operations import plan

    mapping = mapping_of(args)
    planned = plan(columns, operation, campaign=args.campaign, mapping=mapping)
    remember(args, mapping)
    return planned


def remember(args: argparse.Namespace, mapping: dict[str, str]) -> None:
    """Keep ``mapping``, which the file was found to have, where ``--remember`` asks for it."""
    if args.remember:
        _keep(_beside(args.file), mapping)


def _beside(file: Path) -> Path:
    return beside(file, ".columns.toml", without=REJECTS)


def _remembered(file: Path) -> dict[str, str]:
    import tomllib

    from ..errors import SettingsError

    path = _beside(file)
    if not path.is_file():
        return {}
    try:
        columns = tomllib.loads(path.read_text(encoding="utf-8")).get("columns")
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; mend it, or remove it") from None
    if not isinstance(columns, dict) or not all(isinstance(their, str) and their for their in columns.values()):
        raise SettingsError(f'{path} has lines such as destination = "Telefono" under [columns]; mend it, or remove it')
    return columns


def _keep(path: Path, mapping: dict[str, str]) -> None:
    from ..errors import SettingsError

    lines = "".join(f"{_quoted(our)} = {_quoted(their)}\n" for our, their in sorted(mapping.items()))
    try:
        path.write_text(f"{_HEADING}[columns]\n{lines}", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None


def _quoted(text: str) -> str:
    """Return ``text`` as a basic string of TOML."""
    shown = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{shown}"'
