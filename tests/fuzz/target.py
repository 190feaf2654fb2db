"""What is fuzzed is one function of bytes; what it may raise is said beside it, and everything else is a crash."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ucontact_async.errors import UContactError

# CPU seconds of one input of a few kilobytes: a hundred times what the slowest takes.
LONGEST = 2.0


# Deeper than Python's stack, and not longer than what is fuzzed.
DEEP = tuple(opening * (4000 // len(opening)) for opening in (b"[", b'{"a":', b'[{"a":'))


# A size from here on is none, and takes one of the sound texts.
_SOUND = 192


class Crash(Exception):
    """A property does not hold; the message says which."""


class Target(NamedTuple):
    """One decoder or encoder: its name, what is done with the bytes, good ``seeds``, and the documented ``errors``.

    A ``slow`` one opens files, or a server: of a number of executions it gets a small share.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = ()
    slow: bool = False

    def check(self, data: bytes) -> None:
        """Run one input; whatever this raises is a crash."""
        began = time.thread_time()
        try:
            self.run(data)
        except self.errors as error:
            expect(not isinstance(error, UContactError) or str(error).isprintable(), "a message that forges a line")
        expect(time.thread_time() - began < LONGEST, f"more than {LONGEST:g} s of CPU")


def expect(holds: object, what: str) -> None:
    """Raise :class:`Crash` unless the property ``holds``: a plain assert goes away with ``-O``."""
    if not holds:
        raise Crash(what)


def reread(read: Callable[..., Any], *written: Any) -> Any:
    """Return what ``read`` makes of what we wrote ourselves: to refuse that is no documented error."""
    try:
        return read(*written)
    except (UContactError, ValueError) as error:
        raise Crash(f"what was written is refused: {error}") from error


class Draw:
    """Values out of bytes, the same ones for the same bytes; at their end everything is zero or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """Return the next byte."""
        return int.from_bytes(self.take(1), "big")

    def take(self, size: int) -> bytes:
        """Return so many bytes, or what is left."""
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))

    def choice(self, values):
        """Return one of ``values``."""
        return values[self.byte() % len(values)]

    def number(self) -> int:
        """Return a whole number, most often a small one."""
        size = self.byte()
        return size - 16 if size < 240 else int.from_bytes(self.take(size - 239), "big", signed=True)

    def text(self, sound=("",)) -> str:
        """Return any text, with halves of characters too, or one of the ``sound`` ones."""
        size = self.byte()
        return sound[size % len(sound)] if size >= _SOUND else self.take(size).decode("utf-8", "surrogateescape")


def pick(place: int, sound) -> int:
    """Return the byte by which :meth:`Draw.text` takes the sound text at this place."""
    return next(byte for byte in range(_SOUND, 256) if byte % len(sound) == place)


def text_of(data: bytes) -> str:
    """Return ``data`` as text; what is no UTF-8 becomes halves of characters."""
    return data.decode("utf-8", "surrogateescape")
