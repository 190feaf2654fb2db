"""What a server sends: heads and chunks as they arrive, answers by their meaning, dates, times and tokens."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

from ucontact_async.answers import Heads, unchunked
from ucontact_async.api import ENDPOINTS
from ucontact_async.api.campaigns import AverageTime, CampaignStatus, OtherStatus, Statuses, Summaries
from ucontact_async.api.recordings import Found, Recording, parse_calldate
from ucontact_async.api.session import LoginReply
from ucontact_async.attempt import Attempt, Phase
from ucontact_async.errors import (
    OutcomeUnknown,
    Refused,
    Rejected,
    Unauthorized,
    UnreadableReply,
)
from ucontact_async.java_dates import format_java_date, parse_java_date
from ucontact_async.link import ROOM, Link
from ucontact_async.settings import Secret, ServerProfile, Settings
from ucontact_async.wire import Answer, Reply, read_answer, retry_after

from .target import DEEP, Draw, Target, expect, reread, text_of
from .witnessed import MEANINGS, RECORDS, STATUS, SUMMARY, TOKEN

PROFILE = ServerProfile()
REPLIES = [*{type(endpoint.reply): endpoint.reply for endpoint in ENDPOINTS.values()}.values(), Reply.TEXT, Reply.JSON]
STATUSES = (200, 200, 200, 200, 204, 302, 303, 401, 403, 404, 408, 429, 500, 503, 100, 600)
HEADERS = ("", "Retry-After", "location", "Content-Encoding")


def answer(data: bytes) -> None:
    """Any reply, status, header and body."""
    draw = Draw(data)
    reply, status, header = draw.choice(REPLIES), draw.choice(STATUSES), draw.choice(HEADERS)
    headers = {header: draw.text()} if header else {}
    try:
        read_answer(Answer(status, headers, draw.rest()), reply, PROFILE)
    except Rejected:
        expect(status in reply.statuses, "a refusal out of an answer that refuses nothing")
        raise


def _number_of(path: str) -> int:
    return [type(reply) for reply in REPLIES].index(type(ENDPOINTS[path].reply))


def head_and_body(data: bytes) -> None:
    """An answer on a connection, whole, and again in pieces."""
    draw = Draw(data)
    answers, cuts = draw.byte() % 2, [draw.byte() for _ in range(4)]
    raw = draw.rest()[: ROOM + 100]
    whole = _arrive([raw], answers)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(raw[at : at + cut])
        at += cut
    parted = _arrive([piece for piece in (*pieces, raw[at:]) if piece], answers)
    if isinstance(whole, Answer):
        expect(parted == whole, "the same bytes in pieces say something else")
    if isinstance(parted, Answer):
        expect(parted.status == 200, "a status that is left to another parser")
        expect(len(parted.body) <= ROOM, "a body that is longer than what came")


class _Transport(asyncio.Transport):
    """A connection without a socket."""

    protocol = None

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def is_closing(self):
        return False

    def close(self):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


LOOP = asyncio.new_event_loop()


def _arrive(pieces: list[bytes], answers: int) -> Answer | str | None:
    """Return what a link with one request makes of the bytes: the answer, ``waiting``, ``other`` or ``error``."""
    transport, handler = _Transport(), ResponseHandler(LOOP)
    handler.connection_made(transport)
    lane = SimpleNamespace(loop=LOOP, freed=lambda *_, **__: None, desynchronised=lambda _: None)
    link = Link(SimpleNamespace(transport=transport, protocol=handler), lane, Heads(), answers=answers)
    link.attempt = Attempt(phase=Phase.SENT)
    waiter = link.ended()
    for piece in pieces:
        at = 0
        while at < len(piece) and transport.protocol is link and not waiter.done():
            room = link.get_buffer(-1)
            expect(len(room), "no room is left, and nobody else reads")
            taken = piece[at : at + len(room)]
            room[: len(taken)] = taken
            at += len(taken)
            link.buffer_updated(len(taken))
    if not waiter.done():
        return "waiting"
    if waiter.exception() is not None:
        expect(isinstance(waiter.exception(), UnreadableReply), "an error that is not ours")
        return "error"
    if waiter.result() is None and handler.exception() is not None:
        expect(isinstance(handler.exception(), (HttpProcessingError, OSError)), "an error that nobody expects")
    return "other" if waiter.result() is None else waiter.result()


def chunks(data: bytes) -> None:
    """A chunked body, and any bytes as if they were one."""
    draw = Draw(data)
    pieces = [draw.take(draw.byte()) for _ in range(draw.byte() % 6)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
    cut = draw.byte()
    expect(unchunked(coded) == (b"".join(pieces), len(coded)), "a body is not what was written")
    expect(unchunked(coded[: min(cut, len(coded) - 1)]) is None, "a body before it is whole")
    try:
        found = unchunked(draw.rest()[:ROOM])
    except ValueError:
        return
    expect(found is None or len(found[0]) < found[1], "more body than bytes")


def java_date(data: bytes) -> None:
    """A date of Java's, read and written again by three ages of Java."""
    moment = parse_java_date(text_of(data))
    if moment is not None:
        for java in (8, 9, 20):
            expect(parse_java_date(format_java_date(moment, java)) == moment, "a date is not what was written")


def calldate(data: bytes) -> None:
    """The date of a call, and a Retry-After."""
    text = text_of(data)
    moment = parse_calldate(text)
    expect(moment is None or moment.tzinfo is None, "a zone that nobody asked for")
    seconds = retry_after(text)
    expect(seconds is None or 0 <= seconds <= 300, "seconds out of bounds")


def average_time(data: bytes) -> None:
    """``HH:MM:SS-N``, and back."""
    found = AverageTime.parse(text_of(data))
    expect(timedelta(0) <= found.time, "a time below zero")
    expect(reread(AverageTime.parse, str(found)) == found, f"{found!r} is not what was written")


def login(data: bytes) -> None:
    """A token in any shape goes into a header as it is; what comes back for a header is what went in."""
    try:
        token = LoginReply().decode(data)
    except Unauthorized:
        return
    reread(lambda: Settings(url="https://acme.example", token=Secret(token)))
    expect(reread(LoginReply().decode, LoginReply().encode(token)) == token, "a token is not what was written")


def summaries(data: bytes) -> None:
    """What queues are doing."""
    try:
        found = Summaries().decode(data)
    except Rejected:
        return
    for queue in found:
        repr(queue)


def statuses(data: bytes) -> None:
    """What campaigns are doing."""
    try:
        found = Statuses().decode(data)
    except Rejected:
        return
    for name, status in found.items():
        repr(status)
        is_campaign = isinstance(status, CampaignStatus) and status.campaign == name
        expect(is_campaign or isinstance(status, OtherStatus), "a campaign of another name")


def recordings(data: bytes) -> None:
    """Calls that were found."""
    for recording in Found().decode(data):
        repr(recording)
        expect(recording.day == "" or (len(recording.day) == 8 and recording.day.isdecimal()), "a folder of no day")


def recordings_written(data: bytes) -> None:
    """Calls as the emulator writes them are read as they were."""
    draw = Draw(data)
    names = ("guid", "source", "destination", "campaign", "agent", "disposition", "direction")
    texts = {name: draw.text(("5f3a1c9e", "0")) for name in names}
    numbers = {name: draw.number() for name in ("duration", "billed", "rating")}
    recording = Recording(**texts, **numbers, calldate=parse_calldate(draw.text(("2027-05-05 10:00:00.0",))))
    try:
        body = Found().encode((recording,))
    except UnicodeEncodeError:  # half a character, which no server of ours was asked to hold
        return
    expect(Found().decode(body) == (recording,), "a call is not what was written")


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_PIECES = b"\x01\x05\x11\x20\x03"
_BODY = ValueError, RecursionError

TARGETS = (
    Target(
        "answer",
        answer,
        tuple(bytes([_number_of(path), 0, 0]) + body for path, body in MEANINGS)
        + tuple(b"\x00" + bytes([STATUSES.index(status), 1, 3]) + b"120" for status in (429, 503))
        + tuple(bytes([len(REPLIES) - 1, 0, 0]) + deep for deep in DEEP)
        + (b"\x00\x0c\x01\x1dSun, 06 Nov 1994 08:49:37 GMT", b"\x00\x05\x02\x0e/Integra/login"),
        (Refused, OutcomeUnknown),
    ),
    Target(
        "head and body",
        head_and_body,
        (
            *(_PIECES + _HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for _, body in MEANINGS[:8]),
            _PIECES + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
            _PIECES + _HEAD + b"Connection: close\r\n\r\n1",
            _PIECES + b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            _PIECES + b"HTTP/1.1 100 Continue\r\n\r\n" + _HEAD + b"Content-Length: 1\r\n\r\n1",
        ),
    ),
    Target("chunks", chunks, (b"\x021\x031234\x01" + b"1\r\n1\r\n0\r\n\r\n", b"\x00\x00a\r\n")),
    Target("java date", java_date, (b"Nov 2, 2018 11:31:42 AM", "Nov 2, 2018, 11:31:42\u202fPM".encode())),
    Target("date of a call", calldate, (b"2027-05-05 10:00:00.0", b"2027-05-05T10:00Z", b"120", b"Sun, 06 Nov 1994")),
    Target(
        "average time", average_time, (b"00:01:35-0", b"12:00:59-1.5", b"00:00:00-0.00001", b"00:00:00"), (ValueError,)
    ),
    Target(
        "login answer", login, (TOKEN.encode(), b'[{},{},"%b"]' % TOKEN.encode(), b'{"md5secret":"x"}', *DEEP), _BODY
    ),
    Target("queue summary", summaries, (SUMMARY, b"[]", b'[{"queue":"a","holdTime":"1.0"}]', *DEEP), _BODY),
    Target("campaign status", statuses, (STATUS, b"{}", b'{"a":{"campaign":"a","talked":"00:00:01-2"}}', *DEEP), _BODY),
    Target(
        "recordings found", recordings, (RECORDS, b'[{"GUID":"x","calldate":"Nov 2, 2018 1:31:42 AM"}]', *DEEP), _BODY
    ),
    Target("recordings written", recordings_written, (b"\xc0" * 12, b"\x02ab" * 7 + b"\x20" * 4)),
)
