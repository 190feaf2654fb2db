"""The one answer that a command expects, read strictly out of a buffer: 200 and a short body whose length is known.

It decides nothing and repairs nothing: whatever is not exactly that is left to aiohttp's own parser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.http import HttpProcessingError, HttpResponseParser

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

    from .wire import Answer

__all__ = ["Head", "Heads", "unchunked"]

_BLANK_LINE = b"\r\n\r\n"
_BEGINNING = b"HTTP/1.1 200"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")


class Head:
    """The head of an expected answer: its bytes, its headers, and how its body ends."""

    __slots__ = ("closes", "headers", "length", "raw", "size")

    def __init__(self, raw: bytes, headers: Mapping[str, str], length: int | None, *, closes: bool) -> None:
        """``length`` is the body's; ``None`` for a chunked one. ``closes`` says that no other answer will follow."""
        self.raw = raw
        self.size = len(raw)
        self.headers = headers
        self.length = length
        self.closes = closes


class Heads:
    """Reads heads, by aiohttp's parser; one that repeats, as a server's do within a second, only once."""

    def __init__(self) -> None:
        """Know none yet."""
        self._latest: Head | None = None
        self.size, self.raw = -1, b""
        self.answer: Answer | None = None
        """The answer that was remembered; ``raw`` are the ``size`` bytes, head and body, that it came as."""

    def remember(self, raw: bytes, answer: Answer) -> None:
        """Keep a whole ``answer`` as it came, after which a connection goes on: most say ``1`` like the one before."""
        self.size, self.raw, self.answer = len(raw), raw, answer

    def find(self, buffer: bytearray, filled: int, handler: ResponseHandler) -> Head | None:
        """Return the head that the first ``filled`` bytes begin with, ``None`` while it is not whole.

        Raises ``ValueError`` for any head but the expected.
        """
        head = self._latest
        # What lies behind the filled part is an earlier answer: often the same, and not this one's.
        if head is not None and filled >= head.size and buffer.startswith(head.raw):
            return head
        # Before the parser, which passes over line breaks: they may be the end of another answer.
        if not _BEGINNING.startswith(buffer[: min(filled, len(_BEGINNING))]):
            raise ValueError
        end = buffer.find(_BLANK_LINE, 0, filled)
        if end >= 0:
            self._latest = found = _parsed(bytes(buffer[: end + 4]), handler)
            return found
        if filled == len(buffer):
            raise ValueError
        return None


def _parsed(raw: bytes, handler: ResponseHandler) -> Head:
    loop = handler._loop  # noqa: SLF001  as aiohttp's own handler does
    parser = HttpResponseParser(
        handler, loop, 65_536, payload_exception=aiohttp.ClientPayloadError, read_until_eof=True, auto_decompress=False
    )
    try:
        messages, upgraded, _ = parser.feed_data(raw)
    except HttpProcessingError:
        raise ValueError from None
    if len(messages) != 1 or upgraded:
        raise ValueError
    message: Any = messages[0][0]
    headers = message.headers
    lengths, codings = headers.getall("Content-Length", ()), headers.getall("Transfer-Encoding", ())
    if message.code != 200 or message.version != (1, 1) or len(lengths) + len(codings) != 1:
        raise ValueError
    if codings and codings[0].strip().lower() != "chunked":
        raise ValueError
    length = None if codings else int(lengths[0])
    return Head(raw, headers, length, closes=message.should_close)


def unchunked(data: bytes) -> tuple[bytes, int] | None:
    """Return the body that ``data`` carries in chunks, and how many bytes it took; ``None`` while it is not whole.

    Raises ``ValueError`` for anything but plain chunks: extensions, trailers, wrong sizes.
    """
    body, at = b"", 0
    while size := _SIZE.match(data, at):
        begin = size.end()
        at = begin + int(size[1], 16)
        ends = data[at : at + 2]
        if not b"\r\n".startswith(ends):
            raise ValueError
        if len(ends) < 2:
            return None
        body += data[begin:at]
        at += 2
        if at - begin == 2:
            return body, at
    if b"\n" in data[at:] or len(data) - at > 9:
        raise ValueError
    return None
