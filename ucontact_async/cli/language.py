"""In which language a person is spoken to: English, as it stands in the source, or Spanish, from ``es.po``.

A text is translated on its way out, by its shape: so the sentences of the library's errors need no second form. What
programs read (columns, JSON, exit codes, rejects) does not come through here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

from ..environment import variables

__all__ = ["LANGUAGES", "Catalogue", "Parser", "chosen", "language", "spoken", "translated"]

LANGUAGES = ("en", "es")
VARIABLE = "UCONTACT_LANG"
_DEPTH = 6
_PLACE = re.compile(r"{(\w+)(\*?)}")
_PAIR = re.compile(r'^msgid ((?:".*"\n)+)msgstr ((?:".*"(?:\n|\Z))+)', re.MULTILINE)


class _Shape:
    """A sentence with places in it: what stands in ``{1}`` is taken over, what stands in ``{1*}`` is translated too."""

    def __init__(self, english: str, told: str) -> None:
        parts = _PLACE.split(english)
        self.told = told
        self.literals = parts[::3]
        self.weight = sum(map(len, self.literals))
        self._names = parts[1::3]
        self._pattern: re.Pattern[str] | None = None

    def match(self, text: str) -> dict[str, str] | None:
        if not all(literal in text for literal in self.literals):  # of hundreds, few get any further
            return None
        if self._pattern is None:
            self._pattern = re.compile("(.*?)".join(map(re.escape, self.literals)), re.DOTALL)
        found = self._pattern.fullmatch(text)
        return None if found is None else dict(zip(self._names, found.groups(), strict=True))


class Catalogue:
    """The sentences of one language, by the English ones."""

    def __init__(self, text: str) -> None:
        """``text`` is that of a ``.po`` file, the format that translators' tools read."""
        pairs = [(_joined(english), _joined(told)) for english, told in _PAIR.findall(text)]
        self.sentences = {english: told for english, told in pairs if english}
        shapes = (_Shape(english, told) for english, told in self.sentences.items() if _PLACE.search(english))
        # Where several fit, the one that says most is meant.
        self._shapes = sorted(shapes, key=lambda shape: -shape.weight)

    def find(self, text: str, depth: int = _DEPTH) -> str | None:
        """Return ``text`` in this language; ``None`` where nothing of it is known.

        Phrases are looked for in it ``depth`` deep: what it quotes of a file may be a colon a thousand times.
        """
        if not depth:
            return None
        if (told := self.sentences.get(text)) is not None:
            return told
        half: str | None = None
        for shape in self._shapes:
            if (found := shape.match(text)) is None:
                continue
            filled, whole = self._fill(shape.told, found, depth - 1)
            if whole:
                return filled
            half = half or filled
        return half

    def _fill(self, told: str, found: dict[str, str], depth: int) -> tuple[str, bool]:
        """Return ``told`` with its places filled, and whether every phrase in them is known."""
        whole = True

        def value(place: re.Match[str]) -> str:
            nonlocal whole
            name, phrase = place.groups()
            if not phrase:
                return found[name]
            known = self.find(found[name], depth)
            whole = whole and (known is not None or not re.search("[a-z]", found[name]))
            return found[name] if known is None else known

        return _PLACE.sub(value, told), whole


_SPOKEN: ContextVar[tuple[str, Catalogue | None]] = ContextVar("language", default=("en", None))


def language() -> str:
    """Return the code of the language that is spoken, such as ``es``."""
    return _SPOKEN.get()[0]


def translated(text: str) -> str:
    """Return ``text`` in the language that is spoken, as far as its catalogue knows it."""
    catalogue = _SPOKEN.get()[1]
    return text if catalogue is None else catalogue.find(text) or text


@contextlib.contextmanager
def spoken(code: str) -> Iterator[None]:
    """Speak the language ``code``, one of ``LANGUAGES``."""
    catalogue = None
    if code != "en":
        catalogue = Catalogue(Path(__file__).with_name(f"{code}.po").read_text(encoding="utf-8"))
    token = _SPOKEN.set((code, catalogue))
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def chosen(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the language that ``--lang`` asks for, or the environment, and the other arguments.

    Before everything else, because ``--help`` and complaints about arguments are to be told in it. Other locales of the
    environment do not count: what a script prints must not depend on the machine.
    """
    parser = argparse.ArgumentParser(prog="ucontact-async", add_help=False, allow_abbrev=False)
    default = re.split(r"[-_.@]", variables().get(VARIABLE) or "en")[0].lower()
    parser.add_argument("--lang", choices=LANGUAGES, default=default)
    known, others = parser.parse_known_args(argv)
    if known.lang not in LANGUAGES:
        parser.error(f"{VARIABLE} is one of {', '.join(LANGUAGES)}, not {known.lang!r}")
    return known.lang, others


class Parser(argparse.ArgumentParser):
    """A parser whose help and complaints are told in the language that is spoken."""

    def _get_formatter(self) -> argparse.HelpFormatter:
        return _Formatter(prog=self.prog)

    def error(self, message: str) -> NoReturn:
        """Tell how the command is used and what is wrong, and exit with 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"{self.prog}: error: {translated(message)}\n")


class _Formatter(argparse.HelpFormatter):
    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        super().add_usage(usage, actions, groups, translated("usage: ") if prefix is None else prefix)

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading and translated(heading))

    def add_text(self, text: str | None) -> None:
        super().add_text(text and translated(text))

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help and translated(action.help)


def _joined(lines: str) -> str:
    return "".join(json.loads(line) for line in lines.splitlines())
