"""The columns that a file may have: what each holds, and how the text of a cell becomes a value.

This file knows no file, no operation and no request; which values the API can carry is the encoder's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ..errors import InvalidRequest
from ..text import parse_timestamp, printable

__all__ = ["COLUMNS", "PAIR", "Column"]

PAIR = "data."
"""What the name of a column begins with that becomes one pair of ``data``."""

_SPREADSHEET = re.compile(r"\d+[.,](?:0+|\d*[eE][+-]?\d+)|\d+[eE]\+?\d+")


def _number(text: str, column: str) -> str:
    if not text.isdigit() and _SPREADSHEET.fullmatch(text):
        raise InvalidRequest(
            column, "is no longer the number: a spreadsheet made it a quantity; format the column as text, export again"
        )
    return text


def _numbers(text: str, column: str) -> Sequence[str]:
    return tuple([_number(part, column) for number in text.split(":") if (part := number.strip())])


def _moment(text: str, column: str) -> datetime:
    if (moment := parse_timestamp(text)) is None:
        # A wrongly mapped column may hold a telephone number: digits are not shown.
        shape = re.sub(r"\d", "0", printable(text, 32))
        raise InvalidRequest(column, f"{shape!r} (0 for any digit) is not YYYY-MM-DD HH:MM[:SS] or not a real date")
    return moment


def _whole(text: str, column: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(column, "is not a whole number in digits")
    return int(text)


class Column(msgspec.Struct, frozen=True):
    """What one of our columns holds, how its cell is read, and what else people call it."""

    help: str
    read: Callable[[str, str], Any] | None = None
    also: tuple[str, ...] = ()

    @property
    def dialled(self) -> bool:
        """Whether it holds numbers to dial, of which a leading zero counts."""
        return self.read in (_number, _numbers)


COLUMNS: dict[str, Column] = {
    "destination": Column("the number to dial", _number, ("telefono", "celular", "numero", "phone", "number")),
    "calldate": Column("YYYY-MM-DD HH:MM[:SS], the server's local time or with an offset", _moment, ("fecha", "date")),
    "since": Column("the first moment of a range, as calldate", _moment, ("desde", "from")),
    "until": Column("its last moment", _moment, ("hasta", "to")),
    "alternatives": Column("further numbers, ':' between them", _numbers, ("alternativos", "telefonos")),
    "campaign": Column("the campaign with its arrow", None, ("campana", "campaña", "dialer")),
    "agentphone": Column("the extension of the agent", _number, ("interno", "extension", "anexo")),
    "agent": Column("the user name of the agent", None, ("agente", "usuario")),
    "dialerbase": Column("the dialer's list", None, ("base", "lista", "list")),
    "contact": Column("the contact's id in that list", _whole, ("contacto", "contactid")),
    "priority": Column("2 (first) to 9999 (last)", _whole, ("prioridad",)),
    "retries": Column("how often this number was tried", _whole, ("reintentos", "intentos")),
    "name": Column("the name of the person", None, ("nombre",)),
    "company": Column("where the person works", None, ("empresa",)),
    "job_title": Column("what the person is there", None, ("cargo",)),
    "username": Column("who asked for it", None, ()),
    "source": Column("a note on where the task comes from", None, ("origen",)),
}
