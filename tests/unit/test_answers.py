import asyncio

import pytest
from aiohttp.client_proto import ResponseHandler
from hypothesis import given
from hypothesis import strategies as st

from ucontact_async.answers import Heads, unchunked


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.binary(max_size=5))
def test_chunks_are_joined(pieces, behind):
    """Plain chunks give their body and their size, whatever follows them, and nothing while a byte is missing."""
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    assert unchunked(data + behind) == (b"".join(pieces), len(data))
    assert all(unchunked(data[:cut]) is None for cut in range(len(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"1;x=y\r\n1\r\n0\r\n\r\n",
        b"1\n1\r\n0\r\n\r\n",
        b"2\r\n1\r\n0\r\n\r\n",
        b"1\r\n1\r\n0\r\nX: y\r\n\r\n",
        b"-1\r\n1\r\n0\r\n\r\n",
        b"\r\n1\r\n",
        b"0x1\r\n1\r\n0\r\n\r\n",
        b"123456789a\r\n",
    ],
)
def test_chunks_that_are_not_plain_are_refused(data):
    """Extensions, trailers and sizes that are none are not guessed at."""
    with pytest.raises(ValueError, match="^$"):
        unchunked(data)


def found(text, filled=None):
    async def find():
        handler = ResponseHandler(asyncio.get_running_loop())
        buffer = bytearray(text.replace("\n", "\r\n").encode() + bytes(500))
        return Heads().find(buffer, len(buffer) - 500 if filled is None else filled, handler)

    return asyncio.run(find())


@pytest.mark.parametrize(
    ("text", "length", "closes"),
    [
        ("HTTP/1.1 200 OK\nContent-Length: 12\n\n", 12, False),
        ("HTTP/1.1 200 \ncontent-length: 0\nX: y\n\nbody", 0, False),
        ("HTTP/1.1 200 OK\nContent-Length: 1\nConnection: close\n\n1", 1, True),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: Chunked\n\n", None, False),
    ],
)
def test_the_expected_heads(text, length, closes):
    """A 200 whose body has a known end is read."""
    head = found(text)
    assert (head.length, head.closes) == (length, closes)


@pytest.mark.parametrize(
    "text",
    [
        "HTTP/1.1 201 Created\nContent-Length: 1\n\n1",
        "HTTP/1.0 200 OK\nContent-Length: 1\n\n1",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 1\n\n1",
        "HTTP/1.1 200 OK\nContent-Length: 1\nTransfer-Encoding: chunked\n\n1",
        "HTTP/1.1 200 OK\nContent-Length: +1\n\n1",
        "HTTP/1.1 200 OK\nContent-Length: 1, 1\n\n1",
        "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n\n1",
        "HTTP/1.1 200 OK\nno header\n\n",
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 1\n\n1",
        "\nHTTP/1.1 200 OK\nContent-Length: 1\n\n1",
        "\n\rHTTP/1.1 200 OK\nContent-Length: 1\n\n1",
        "\n\n1\n1\n0\n\n",
        "<html>",
        "1",
    ],
)
def test_other_heads_are_not_read_here(text):
    """Any other status, version or framing, and what is no head at all, is left to aiohttp."""
    with pytest.raises(ValueError, match="^$"):
        found(text)


def test_the_rest_of_an_earlier_answer_is_not_read_as_this_one():
    """A head that is whole only with bytes of the answer before it is not whole."""

    async def find():
        handler, heads = ResponseHandler(asyncio.get_running_loop()), Heads()
        text = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
        buffer = bytearray(text + bytes(100))
        assert heads.find(buffer, len(text), handler).length == 1
        return [heads.find(buffer, filled, handler) for filled in range(1, len(text) - 1)]

    assert set(asyncio.run(find())) == {None}
