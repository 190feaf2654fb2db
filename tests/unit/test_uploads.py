"""A large body in pieces: what counts as handed over when, and nothing but the pieces."""

import asyncio

import pytest

from ucontact_async.attempt import Attempt
from ucontact_async.uploads import PIECE, LargeBody


class Writer:
    """Keeps what it is given, and what the body says of itself at that moment."""

    def __init__(self, body):
        self.body = body
        self.transport = self
        self.limits = []
        self.turn = 0
        self.turns = []
        self.seen = []
        self.drained = []

    async def write(self, chunk):
        """Take a piece."""
        self.seen.append((bytes(chunk), self.body.unwritten))
        self.turns.append(self.turn)
        asyncio.get_running_loop().call_soon(self.next_turn)

    def next_turn(self):
        """Count the turns of the loop after a piece."""
        self.turn += 1

    def set_write_buffer_limits(self, **limits):
        """Note the limits, and how many pieces were taken before."""
        self.limits.append((len(self.seen), limits))

    async def drain(self):
        """Note how many pieces were taken before."""
        self.drained.append(len(self.seen))


@pytest.mark.parametrize(("size", "pieces"), [(PIECE + 1, 2), (2 * PIECE, 2), (2 * PIECE + 1, 3), (5 * PIECE - 1, 5)])
async def test_only_the_last_piece_makes_it_whole(size, pieces):
    """Until the very last piece is handed over the body is unwritten, from just before that on it is not."""
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    body = LargeBody(content)
    assert (body.size, body.unwritten, body.gone) == (size, True, False)
    writer = Writer(body)
    await body.write_with_length(writer, size)
    assert b"".join(piece for piece, _ in writer.seen) == content
    assert [unwritten for _, unwritten in writer.seen] == [True] * (pieces - 1) + [False]
    assert writer.drained == list(range(1, pieces + 1))
    assert writer.turns == list(range(pieces))
    assert body.gone
    assert writer.limits == [(0, {"high": 1, "low": 0}), (pieces, {})]


async def test_a_piece_that_fails_leaves_it_unwritten():
    """A connection that breaks under a piece but the last has not got the whole."""
    body = LargeBody(b"x" * 3 * PIECE)

    class Broken(Writer):
        async def write(self, chunk):
            await super().write(chunk)
            if len(self.seen) == 2:
                raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await body.write(Broken(body))
    assert body.unwritten


async def test_nothing_leaves_by_another_way():
    """Read instead of written, bytes would leave without being counted."""
    with pytest.raises(RuntimeError, match="only be written"):
        await LargeBody(b"x").as_bytes()


@pytest.mark.parametrize(("size", "taken", "incomplete"), [(0, 0, False), (5, 0, True), (5, 5, False), (6, 5, True)])
def test_what_the_system_has_taken_may_have_left(size, taken, incomplete):
    """Windows' transport counts what it has handed to the system as well; only what is beyond that is still here."""

    class Transport:
        _pending_write = taken
        aborted = False

        def get_write_buffer_size(self):
            return size

        def get_extra_info(self, name):
            return None

        def abort(self):
            self.aborted = True

    transport, attempt = Transport(), Attempt()
    attempt.connected(transport, reused=False)
    attempt.abort()
    assert (attempt.incomplete, transport.aborted) == (incomplete, True)
