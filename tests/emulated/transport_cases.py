"""Every way a transport or a server can misbehave, each with the error it must end in and what the server really read.

A case is one POST that must not be repeated, into a :class:`FaultyServer` script. ``error`` names our class, empty
for success; ``requests`` is how many times the server read that POST whole.
"""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

LOST, FAULT, UNREADABLE, NOT_SENT = "ReplyLost", "ServerFault", "UnreadableReply", "NotSent"
QUICK, SLOW = 1.5, 20.0
HTML = b"<html><body><form action='/Integra/login'>Log in</form></body></html>"
HEAD = b"HTTP/1.1 200 OK\r\n"
ONE = HEAD + b"Content-Length: 1\r\n\r\n1"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """A fault and what must come of it. Where a race in the kernel decides, several errors are right."""

    name: str
    script: Callable
    error: str | tuple = LOST
    requests: int | tuple = 1
    timeout: float = SLOW
    tls: bool | None = None
    """Only over TLS, only without, or both."""
    reused: bool | None = None
    """Only on a connection used before, only on a first one, or both."""
    idle: bool = False
    """The server acts while nothing is asked; the script runs once."""
    busy: bool = False
    """The client's loop does not run meanwhile."""
    body: int = 0
    """Send so many bytes instead of a small call."""
    after: bool = True
    """Another call of the same client, to a server that is well again, must succeed."""
    setting: str = ""
    """What the client or the listener is like: refused, dns, backlog, or its TLS."""


def answer(name, *parts, error=UNREADABLE, end="", pause=0.0, **options):
    """Return the case of a request read whole and answered with ``parts``; ``end`` is what then happens."""

    def script(peer):
        peer.request()
        peer.send(*parts, pause=pause)
        if end:
            getattr(peer, end)()

    if end == "hang":
        options.setdefault("timeout", QUICK)
    return Case(name, script, error, **options)


def head(name, *lines, body=b"1", status=b"HTTP/1.1 200 OK", **options):
    """Return the case of an answer with these header lines."""
    return answer(name, b"\r\n".join([status, *lines, b"", body]), **options)


def body(name, content, error=UNREADABLE, *lines, **options):
    """Return the case of a well-framed answer with this body."""
    length = b"Content-Length: %d" % len(content)
    return head(name, length, *lines, body=content, error=error, **options)


def chunks(name, content, error=UNREADABLE, **options):
    """Return the case of a chunked answer."""
    return answer(name, CHUNKED + content, error=error, **options)


def status(code, error, *lines, content=b"", name="", **options):
    """Return the case of an answer with this status, which says nothing else."""
    first = b"HTTP/1.1 %d Said So" % code
    return body(name or f"status {code}", content, error, *lines, status=first, **options)


def act(name, *steps, error=LOST, **options):
    """Return the case of a script of steps: names of what a peer does, or bytes to send."""

    def script(peer):
        for step in steps:
            peer.send(step) if isinstance(step, bytes) else getattr(peer, step)()

    return Case(name, script, error, **options)


def idle(name, *steps, **options):
    """Return cases of a server that acts on an idle connection: noticed by the loop, and only by the guard."""
    given = {"error": "", "idle": True, "reused": True, **options}
    return [act(f"idle: {name}", *steps, **given), act(f"idle, loop busy: {name}", *steps, busy=True, **given)]


def drip(data):
    """Return ``data`` byte by byte."""
    return [data[place : place + 1] for place in range(len(data))]


def _early(content):
    def script(peer):
        peer.target()
        peer.send(content)
        peer.hang()

    return script


def _some_then(end):
    def script(peer):
        peer.target()
        getattr(peer, end)()

    return script


def _endless(piece, start=b""):
    def script(peer):
        peer.request()
        peer.send(start)
        while not peer.server.over:
            peer.send(piece * 1000)

    return script


CONNECTIONS = [
    act("refused", error=NOT_SENT, requests=0, setting="refused", reused=False, after=False),
    act(
        "refused after the server left an idle connection",
        "close",
        error=NOT_SENT,
        requests=0,
        setting="refused",
        reused=True,
        idle=True,
        after=False,
    ),
    act("unknown host", error=NOT_SENT, requests=0, setting="dns", reused=False, after=False),
    act("backlog full", error=NOT_SENT, requests=0, setting="backlog", reused=False, after=False, timeout=QUICK),
    # Whether the end comes before the bytes were written, or after, is the kernel's to decide; both are true words.
    act("closed before reading", "close", error=(LOST, NOT_SENT), requests=0),
    act("reset before reading", "reset", error=(LOST, NOT_SENT), requests=0),
    act("head read, closed", "head", "close", requests=0),
    act("head read, reset", "head", "reset", requests=0),
    act("head read, end of stream", "head", "fin", requests=0),
    act("nothing read, hang", "hang", requests=0, timeout=QUICK),
    act("read, closed", "request", "close"),
    act("read, closed with close_notify", "request", "close_notify"),
    act("read, reset", "request", "reset"),
    act("read, half-closed", "request", "half_close", "hang"),
    act("read, hang", "request", "hang", timeout=QUICK),
    act("answered, then closed", "request", ONE, "close", error=""),
    act("answered, then close_notify", "request", ONE, "close_notify", error=""),
    act("answered, then half-closed", "request", ONE, "half_close", "hang", error=""),
    # A reset may overtake the answer that is on its way.
    act("answered, then reset", "request", ONE, "reset", error=("", LOST)),
]

BIG = 8 * 2**20
BODIES = [
    # The system took it all and gave it to nobody; a larger one would do, but its time-out grows by 1 s for 64 KiB.
    Case("128 KiB, hang after the head", _some_then("hang"), LOST, 0, timeout=QUICK, body=2**17),
    Case("8 MiB, reset after the head", _some_then("reset"), (LOST, NOT_SENT), 0, body=BIG),
    Case("8 MiB, closed after the head", _some_then("close"), (LOST, NOT_SENT), 0, body=BIG),
    Case(
        "8 MiB, 413 after the head",
        _early(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
        "Refused",
        0,
        body=BIG,
    ),
    Case(
        "8 MiB, 503 after the head",
        _early(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        FAULT,
        0,
        body=BIG,
    ),
    # It cannot have done what it has not read; and yet it says so.
    Case("8 MiB, done after the head", _early(ONE), UNREADABLE, 0, body=BIG),
    act("8 MiB, read whole", "request", ONE, error="", body=BIG),
    act("8 MiB, read whole, closed", "request", "close", body=BIG),
]

# Cut after each part of a whole answer: by an end of the stream, by a reset, and by silence.
CUTS = [
    answer(f"{what} in {where}", part, error=LOST, end=end)
    for where, part in {
        "the status line": HEAD[:11],
        "the headers": ONE[:30],
        "the line before the body": ONE[:-3],
        "the empty body": ONE[:-1],
        "the chunk size": CHUNKED + b"1",
        "the chunk": CHUNKED + b"2\r\n1",
        "the last chunk": CHUNKED + b"1\r\n1\r\n",
        "the end of the last chunk": CHUNKED + b"1\r\n1\r\n0\r\n",
    }.items()
    for what, end in (("closed", "close"), ("reset", "reset"), ("hang", "hang"))
]

FRAMINGS = [
    answer("as documented", ONE, error=""),
    answer("a byte at a time", *drip(ONE), pause=0.002, error=""),
    answer("a byte at a time, too slowly", *drip(ONE), pause=0.1, error=LOST, timeout=QUICK),
    answer(
        "closed by the server's word", HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\n1", end="close", error=""
    ),
    answer("delimited by the end", HEAD + b"Connection: close\r\n\r\n1", end="close_notify", error=""),
    answer("delimited by the end, without close_notify", HEAD + b"Connection: close\r\n\r\n1", end="close", error=""),
    # Where only the end of the connection ends the answer, nothing tells 1 from the beginning of something longer.
    answer("delimited by a reset", HEAD + b"Connection: close\r\n\r\n1", end="reset", error=("", LOST)),
    answer("delimited by the end, cut", HEAD + b"Connection: close\r\n\r\n", end="close"),
    answer("delimited by an end that never comes", HEAD + b"Connection: close\r\n\r\n1", end="hang", error=LOST),
    answer("HTTP/1.0, kept", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1", error=""),
    answer("HTTP/1.0, closed", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1", end="close", error=""),
    answer("HTTP/1.0, delimited by the end", b"HTTP/1.0 200 OK\r\n\r\n1", end="close", error=""),
    answer("HTTP/0.9", b"1", end="close", error=(UNREADABLE, LOST)),
    chunks("chunked", b"1\r\n1\r\n0\r\n\r\n", ""),
    chunks("chunk extension", b'1;a="b;c"\r\n1\r\n0;d\r\n\r\n', ""),
    chunks("chunk trailers", b"1\r\n1\r\n0\r\nX-Sum: 1\r\n\r\n", ""),
    chunks("chunk of nothing", b"0\r\n\r\n"),
    chunks("chunk size no number", b"zz\r\n1\r\n0\r\n\r\n"),
    chunks("chunk size negative", b"-1\r\n1\r\n0\r\n\r\n"),
    chunks("chunk size absurd", b"FFFFFFFFFFFFFFFFF\r\n1\r\n0\r\n\r\n", end="close", error=(UNREADABLE, LOST)),
    chunks("chunk longer than its size", b"1\r\n12\r\n0\r\n\r\n"),
    chunks("two chunks", b"1\r\n1\r\n1\r\n1\r\n0\r\n\r\n"),
    head("two equal lengths", b"Content-Length: 1", b"Content-Length: 1"),
    head("two lengths", b"Content-Length: 1", b"Content-Length: 2"),
    head("two lengths in one line", b"Content-Length: 1, 1"),
    head("length and chunked", b"Content-Length: 1", b"Transfer-Encoding: chunked", body=b"1\r\n1\r\n0\r\n\r\n"),
    head("length absurd", b"Content-Length: 99999999999999999999999999", end="close", error=(UNREADABLE, LOST)),
    head("length negative", b"Content-Length: -1"),
    head("length with a plus", b"Content-Length: +1"),
    head("length hexadecimal", b"Content-Length: 0x1"),
    head("length empty", b"Content-Length:"),
    head("length no number", b"Content-Length: one"),
    head("length 0 and a body", b"Content-Length: 0"),
    # The answer that was promised came; what follows it belongs to nobody, and must not answer the next request.
    head("more than the length", b"Content-Length: 1", body=b"1<!-- -->", error=("", UNREADABLE)),
    head("two answers", b"Content-Length: 1", body=ONE[-1:] + ONE, error=("", UNREADABLE)),
    # A parser may overlook what else was done to the chunks: what it finds in them is still 1.
    head("gzip transfer", b"Transfer-Encoding: gzip, chunked", body=b"1\r\n1\r\n0\r\n\r\n", error=("", UNREADABLE)),
    head(
        "gzip transfer of gzip",
        b"Transfer-Encoding: gzip, chunked",
        body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(gzip.compress(b"1")), gzip.compress(b"1")),
    ),
    head("chunked not last", b"Transfer-Encoding: chunked, gzip", body=b"1\r\n1\r\n0\r\n\r\n", end="close"),
    Case("endless body", _endless(b"1", HEAD + b"\r\n"), UNREADABLE),
    Case("endless chunks", _endless(b"1\r\n1\r\n", CHUNKED), UNREADABLE),
    Case("endless headers", _endless(b"X-More: 1\r\n", HEAD), UNREADABLE),
    Case("endless line", _endless(b"x", HEAD + b"X-More: "), UNREADABLE),
    Case("endless status line", _endless(b"x", b"HTTP/1.1 200 "), UNREADABLE),
    Case("endless 100 Continue", _endless(b"HTTP/1.1 100 Continue\r\n\r\n"), LOST, timeout=QUICK),
]

HEADS = [
    answer("garbage", b"\x16\x03\x01 not HTTP at all\r\n\r\n", end="close"),
    answer("binary garbage", bytes(range(256)) * 4, end="close"),
    answer("lower-case protocol", b"http/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"),
    answer("another protocol", b"ICY 200 OK\r\nContent-Length: 1\r\n\r\n1"),
    answer("HTTP/2 in text", b"HTTP/2 200 OK\r\nContent-Length: 1\r\n\r\n1"),
    answer("preface of HTTP/2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18), end="close"),
    answer("status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\n1"),
    answer("status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\n1"),
    answer("status with letters", b"HTTP/1.1 2OO OK\r\nContent-Length: 1\r\n\r\n1"),
    answer("status 099", b"HTTP/1.1 099 Odd\r\nContent-Length: 1\r\n\r\n1"),
    answer("no reason", b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n1", error=""),
    answer("a reason in Latin-1", b"HTTP/1.1 200 \xd3k\xe9\r\nContent-Length: 1\r\n\r\n1", error=""),
    head("lower-case headers", b"content-length: 1", error=""),
    head("blanks around a value", b"Content-Length:   1  ", error=""),
    head("header of 20 KB", b"Content-Length: 1", b"X-Long: " + b"x" * 20_000),
    # The next three: old ways that a parser may read or refuse; nothing in them is in doubt.
    head("folded header", b"Content-Length: 1", b"X-Folded: a", b" b", error=("", UNREADABLE)),
    head("blank before the colon", b"Content-Length : 1", error=("", UNREADABLE)),
    head("header without a colon", b"Content-Length: 1", b"Nothing"),
    head("NUL in a header", b"Content-Length: 1", b"X-Nul: a\x00b"),
    answer("line feeds alone", b"HTTP/1.1 200 OK\nContent-Length: 1\n\n1", error=("", UNREADABLE, LOST), end="close"),
    answer("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + ONE, error=""),
    answer("102 and 103 first", b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: </a>\r\n\r\n" + ONE, error=""),
    answer("100 alone", b"HTTP/1.1 100 Continue\r\n\r\n", end="close", error=LOST),
    answer(
        "101",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        end="close",
        error=(UNREADABLE, LOST),
    ),
]

TEXTS = [
    *(body(f"body {text!r}", text, "") for text in (b"1", b"1\n", b"1\r\n", b" 1 ", b"\t1\t")),
    *(body(f"body {text!r}", text, "Rejected") for text in (b"0", b"0\n", b" 0")),
    *(
        body(f"body {text!r}", text)
        for text in (
            b"",
            b" ",
            b'"1"',
            b"01",
            b"1.0",
            b"+1",
            b"11",
            b"1 1",
            b"1\x00",
            b"\x0b1",
            b"\xc2\xa01",
            b"\xef\xbb\xbf1",
            b"\xef\xbc\x91",
            b"\xff\xfe1\x00",
            b"true",
            b"OK",
            b"00",
            b"-0",
            b"null",
            b"[1]",
            b"1<!-- -->",
            b"\xff",
            HTML,
        )
    ),
    body("body of 64 KiB and one", b"1" * 65_537),
    body("gzip", gzip.compress(b"1"), UNREADABLE, b"Content-Encoding: gzip"),
    body("gzip, cut", gzip.compress(b"1")[:-6], UNREADABLE, b"Content-Encoding: gzip"),
    body("gzip bomb", gzip.compress(bytes(2**22)), UNREADABLE, b"Content-Encoding: gzip"),
    body("deflate", zlib.compress(b"1"), UNREADABLE, b"Content-Encoding: deflate"),
    body("1 said to be gzip", b"1", UNREADABLE, b"Content-Encoding: gzip"),
    body("identity", b"1", "", b"Content-Encoding: identity"),
    body("an unknown charset", b"1", "", b"Content-Type: text/plain; charset=klingon"),
]

LOGIN = b"Location: /Integra/login.jsp;jsessionid=1"
PAST = formatdate(946684800, usegmt=True).encode()
STATUSES = [
    *(status(code, UNREADABLE, content=b"1") for code in (201, 202, 203, 206, 299)),
    *(status(code, UNREADABLE, reused=reused) for code in (204, 205, 304) for reused in (False, True)),
    *(status(code, UNREADABLE, b"Location: /elsewhere") for code in (300, 301, 302, 303, 307, 308)),
    *(status(code, "Unauthorized", LOGIN, name=f"status {code} to the login") for code in (302, 303)),
    status(307, UNREADABLE, LOGIN, name="status 307 to the login"),
    status(302, UNREADABLE, name="status 302 to nowhere"),
    status(302, UNREADABLE, b"Location: http://[", name="status 302 to no address"),
    *(status(code, "Refused") for code in (400, 402, 405, 409, 411, 413, 415, 417, 421, 422, 425, 426, 431, 451, 499)),
    status(401, "Unauthorized", b'WWW-Authenticate: Basic realm="x"'),
    status(403, "Forbidden"),
    status(404, "NotFound", content=b"<h1>404</h1>"),
    *(
        status(code, FAULT, content=b"<h1>sorry</h1>")
        for code in (408, 500, 501, 502, 503, 504, 505, 507, 511, 520, 599)
    ),
    status(600, UNREADABLE),
    status(999, UNREADABLE),
    status(429, "Throttled", b"Retry-After: 0", requests=3, name="status 429, Retry-After 0"),
    status(429, "Throttled", requests=3, name="status 429 without Retry-After"),
    status(429, "Throttled", b"Retry-After: 3600", after=False, name="status 429, Retry-After an hour"),
    status(429, "Throttled", b"Retry-After: soon", requests=3, name="status 429, Retry-After garbage"),
    status(503, "Throttled", b"Retry-After: 0", requests=3, name="status 503, Retry-After 0"),
    status(503, "Throttled", b"Retry-After: " + PAST, requests=3, name="status 503, Retry-After a past date"),
    status(503, "Throttled", b"Retry-After: 86400", after=False, name="status 503, Retry-After a day"),
    status(503, FAULT, b"Retry-After: soon", name="status 503, Retry-After garbage"),
    status(503, FAULT, b"Retry-After: -1", name="status 503, Retry-After negative"),
    status(500, FAULT, b"Retry-After: 0", name="status 500, Retry-After 0"),
]

IDLE = [
    *idle("200 unasked", ONE),
    *idle("200 unasked, then closed", ONE, "close"),
    *idle(
        "408 unasked, then closed", b"HTTP/1.1 408 Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "close"
    ),
    *idle("400 unasked, then closed", b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", "close"),
    *idle("half an answer unasked", ONE[:20]),
    *idle("garbage", b"\x00\xff\x00garbage"),
    *idle("closed", "close"),
    *idle("closed with close_notify", "close_notify", tls=True),
    *idle("half-closed", "half_close"),
    *idle("reset", "reset"),
]

PROTOCOL_VERSION = bytes([21, 3, 1, 0, 2, 2, 70])  # a record of an alert: no version of TLS that we both speak
HANDSHAKES = [
    act(name, *steps, error=NOT_SENT, requests=0, tls=True, reused=False, setting="bare", after=False)
    for name, *steps in (
        ("no TLS on that port", "hello", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "close"),
        ("no common version of TLS", "hello", PROTOCOL_VERSION, "close"),
        ("garbage for a handshake", "hello", bytes(200), "close"),
        ("closed in the handshake", "hello", "close"),
        ("reset in the handshake", "hello", "reset"),
    )
]
HANDSHAKES += [
    act(
        "hang in the handshake",
        "hello",
        "hang",
        error=NOT_SENT,
        requests=0,
        tls=True,
        reused=False,
        setting="bare",
        after=False,
        timeout=QUICK,
    ),
    *(
        act(
            f"certificate {what}",
            "request",
            ONE,
            error=NOT_SENT,
            requests=0,
            tls=True,
            reused=False,
            setting=setting,
            after=False,
        )
        for what, setting in (
            ("of an unknown authority", "unknown"),
            ("of another host", "host"),
            ("past its time", "expired"),
        )
    ),
    # TLS 1.3: the client has shaken hands, and sent, before it hears that its certificate is missing; if it hears it
    # while bytes are still its own, it knows that they stayed.
    act(
        "certificate of the client wanted",
        "request",
        ONE,
        error=(LOST, NOT_SENT),
        requests=0,
        tls=True,
        reused=False,
        setting="mutual",
        after=False,
    ),
]


def _bare(data, *, read):
    def script(peer):
        if read:
            peer.request()
        peer.bare(data)
        peer.hang()

    return script


# A record of an alert, fatal, internal error; below TLS 1.3's own encryption it is one more thing that cannot be.
ALERT = bytes([21, 3, 3, 0, 2, 2, 80])
TLS = [
    Case("alert instead of an answer", _bare(ALERT, read=True), LOST, tls=True),
    Case("no TLS instead of an answer", _bare(ONE, read=True), LOST, tls=True),
    Case("alert before reading", _bare(ALERT, read=False), (LOST, NOT_SENT), 0, tls=True),
    *(
        Case(
            f"idle{', loop busy' if busy else ''}: alert",
            lambda peer: peer.bare(ALERT),
            "",
            tls=True,
            reused=True,
            idle=True,
            busy=busy,
        )
        for busy in (False, True)
    ),
]

CASES = [
    *CONNECTIONS, *BODIES, *CUTS, *FRAMINGS, *HEADS, *TEXTS, *STATUSES, *IDLE, *HANDSHAKES, *TLS,
]  # fmt: skip
