"""What a probe found out, and the server profile it makes; text only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

import msgspec

from ..errors import SettingsError
from ..text import printable

__all__ = ["QUESTIONS", "Finding", "profile_text", "write_new"]

QUESTIONS: Mapping[int, str] = {
    1: "Does a removal of scheduled calls with from = to take off a call of that second? What if there is none?",
    2: "Does it take off dialer tasks with a date (mode 3), and those for an agent (mode 4)?",
    3: "Does a second login end the first token? What is a token that has ended answered?",
    4: "Are 429, 503 and Retry-After ever sent, and by whom?",
    5: "How late may the server do what it was sent (the lateness)?",
    6: "After how long is an idle connection closed? Is 100-continue answered? Are cookies needed?",
    7: "Does the form data of a call show in its record?",
    8: "Does a second addblack make a second row, a second upload a second contact?",
    9: "Which bytes and which content type are 1 and 0?",
}
"""The nine questions (``reliability.md`` section 7)."""


class Finding(msgspec.Struct, frozen=True):
    """The answer to one question; ``settings`` is what of it a :class:`ServerProfile` holds."""

    number: int
    answer: str
    settings: Mapping[str, bool | float | str] = {}


def profile_text(url: str, day: date, findings: Iterable[Finding]) -> str:
    """Return the profile as TOML: every question with its answer, and the settings that follow from it."""
    found: dict[int, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.number, []).append(finding)
    lines = [f"# {url}, asked on {day} by `ucontact-async probe`. What is not set here is the careful answer."]
    for number, question in QUESTIONS.items():
        lines += ["", f"# {number}. {question}"]
        for finding in found.get(number, [Finding(number, "not asked")]):
            lines.append(f"#    {printable(finding.answer)}")
            lines += [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in finding.settings.items()]
    return "\n".join(lines) + "\n"


def write_new(path: Path, text: str) -> None:
    """Write ``text`` to a file that is not there yet."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        raise SettingsError(f"{path} is there already; give another --output, or remove it") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
