"""Everything that can go wrong, by name, and when it does: the rows of ``reliability.md`` 1.2 and a few more.

A kind either ends a request in a way that tells its sender what became of it, or leaves it in doubt; the server keeps
book of the doubts. Which requests are struck, and how often, is drawn from the scenario's seed.
"""

import gzip
import socket

from ucontact_async.serving import answer_bytes
from ucontact_async.wire import Answer

LOGIN_PAGE = b"<html><form action=login></form></html>"


def raw(status, body=b"", *headers):
    """Return an answer as bytes, with exactly these headers."""
    lines = [f"HTTP/1.1 {status} Made Up", *headers]
    if not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


# What is said instead of the endpoint's own answer; whether the connection then ends; whether its sender can know.
DOUBT, SURE = True, False
ANSWERS = {
    "status_400": (raw(400), "", SURE),
    "status_403": (raw(403), "", SURE),
    "status_404": (raw(404), "", SURE),
    "status_408": (raw(408, b"", "Connection: close"), "fin", DOUBT),
    "status_429": (raw(429), "", SURE),
    "status_429_later": (raw(429, b"", "Retry-After: 2"), "", SURE),
    "status_500": (raw(500, b"<html>oops</html>"), "", DOUBT),
    "status_502_page": (raw(502, b"<html>bad gateway</html>", "Connection: close"), "fin", DOUBT),
    "status_503": (raw(503), "", DOUBT),
    "status_503_later": (raw(503, b"", "Retry-After: 1"), "", SURE),
    "status_504": (raw(504), "", DOUBT),
    "redirect_to_login": (raw(302, b"", "Location: /Integra/login.jsp"), "", SURE),
    "redirect_307": (raw(307, b"", "Location: {path}"), "", DOUBT),
    "redirect_303": (raw(303, b"", "Location: {path}"), "", DOUBT),
    "redirect_302_elsewhere": (raw(302, b"", "Location: /elsewhere"), "", DOUBT),
    "refusal": (raw(200, b"0"), "", SURE),
    "page_of_login": (raw(200, LOGIN_PAGE, "Content-Type: text/html"), "", DOUBT),
    "empty_body": (raw(200), "", DOUBT),
    "no_content": (raw(204), "", DOUBT),
    "created": (raw(201, b"1"), "", DOUBT),
    "trailing_bytes": (raw(200, b"1 <!-- slow query -->"), "", DOUBT),
    "quoted": (raw(200, b'"1"'), "", DOUBT),
    "two": (raw(200, b"11"), "", DOUBT),
    "foreign_bytes": (raw(200, b"\xff\xfe1\x00"), "", DOUBT),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00garbage\r\n\r\n", "fin", DOUBT),
    "no_head": (b"1", "fin", DOUBT),
    "two_lengths": (raw(200, b"1", "Content-Length: 1", "Content-Length: 9"), "fin", DOUBT),
    "length_and_chunks": (
        raw(200, b"1\r\n1\r\n0\r\n\r\n", "Content-Length: 1", "Transfer-Encoding: chunked"),
        "fin",
        DOUBT,
    ),
    "endless_header": (raw(200, b"1", f"X-Long: {'x' * 20_000}"), "fin", DOUBT),
    "cut_head": (b"HTTP/1.1 200 OK\r\nContent-Le", "fin", DOUBT),
    "cut_body": (raw(200, b"1", "Content-Length: 17"), "fin", DOUBT),
    "cut_body_reset": (raw(200, b"1", "Content-Length: 17"), "rst", DOUBT),
    "cut_chunks": (raw(200, b"1\r\n1\r\n", "Transfer-Encoding: chunked"), "fin", DOUBT),
    "packed": (raw(200, gzip.compress(b"1"), "Content-Encoding: gzip"), "", DOUBT),
    "packed_and_cut": (raw(200, gzip.compress(b"1")[:-6], "Content-Encoding: gzip"), "", DOUBT),
    "close": (b"", "fin", DOUBT),
    "reset": (b"", "rst", DOUBT),
    "hang": (b"", "hang", DOUBT),
}
# These say plainly that it was not done; a server that says so and does it all the same breaks the contract.
NEVER_APPLIED = {kind for kind, (_, _, doubt) in ANSWERS.items() if not doubt}
# These are not sent again unless the user asks for it.
FINAL = {"status_400", "status_403", "status_404", "refusal"}
STRIKES = (
    *ANSWERS,
    *(f"{kind}_applied" for kind in ANSWERS if kind not in NEVER_APPLIED),
    "token_dies",
    "late_and_closed",
    "late_and_silent",
    "drip",
    "unframed",
    "unframed_applied",
    "chunks",
    "early_hints",
    "slow",
)
CONNECTS = ("refused", "name_unknown", "connect_hangs", "connect_slow", "accepted_and_reset", "accepted_and_closed")
EARLY = ("closed_unread", "reset_unread", "reset_half_read")
BETWEEN = (
    "stale_close",
    "stale_reset",
    "extra_answer",
    "extra_answer_and_close",
    "extra_408",
    "window_shut",
    "window_opens",
)
PROCESS = (
    "stall",
    "stop",
    "stop_and_hang",
    "abort",
    "leave",
    "cancel",
    "slow_consumer",
    "disk_full",
    "restart",
    "outage",
)
KINDS = ("nothing", *CONNECTS, *EARLY, *BETWEEN, *STRIKES, *PROCESS)


class Fault:
    """One kind with its plan: which of the occasions it can strike it does strike."""

    def __init__(self, kind, world, index, rows, *, again):
        """``again``: requests of the second round, of which some are to be struck too, follow those of the ``rows``."""
        self.kind = kind
        self.chance = world.chance("fault", index, kind)
        draw = self.chance.random()
        self.on_login = kind in STRIKES and draw < 0.15
        first = 0 if self.on_login else self.chance.randrange(rows)
        times = self.chance.choice((1, 1, 1, 2, 3, 12))
        step = self.chance.choice((1, 3, 4, 5)) if again else 1
        self.struck = range(first, first + times * step, step)
        if kind in CONNECTS:
            self.struck = range(self.chance.randrange(3), 3 if times < 3 else 6)
        # A run of these few rows takes about 25 ms.
        self.moment = self.chance.uniform(0, 0.03)
        self.seen = 0
        self.hit = kind in ("nothing", "slow_consumer")
        """Whether it has struck."""

    def due(self):
        """Count an occasion and say whether it is struck."""
        self.seen += 1
        struck = self.seen - 1 in self.struck
        self.hit |= struck
        return struck

    def strike(self, what, *args):
        """Do what this fault does."""
        self.hit = True
        return what(*args)


class Faults:
    """All faults of a scenario."""

    def __init__(self, kinds, world, rows, *, again):
        self.world = world
        self.all = [Fault(kind, world, index, rows, again=again) for index, kind in enumerate(kinds)]
        self.server = None
        self.refusing_until = 0.0
        self.logins_struck = 0
        self.stopping = False
        """Whether the server hangs, for a process that was told to stop."""
        self.healed = False
        for kind, seconds in (("restart", (0.5, 3.0)), ("outage", (30.0, 100.0))):
            if (fault := self.of(kind)) is not None:
                world.after(fault.moment, fault.strike, self._go_away, self.chance_of(fault, *seconds))

    def _go_away(self, seconds):
        """The server restarts: every connection is reset, every token dead, and nobody answers for a while."""
        self.refusing_until = self.world.now + seconds
        self.server.restart()

    def heal(self):
        """Let nothing go wrong from now on."""
        self.healed = True
        self.refusing_until = 0.0

    def _due(self, kinds):
        """Return the first fault of ``kinds`` that is due now."""
        if self.healed:
            return None
        found = [fault for fault in self.all if fault.kind in kinds and fault.due()]
        return found[0] if found else None

    def of(self, kind):
        """Return the fault of that kind, if it is one of ours."""
        return next((fault for fault in self.all if fault.kind == kind and not self.healed), None)

    # before there is a connection

    def resolve(self, host):
        """Return how long a name takes, and the error it ends in."""
        fault = self._due(("name_unknown",))
        return 0.001, None if fault is None else socket.gaierror(-2, "Name or service not known")

    def connect(self):
        """Return how long a connection takes (``None`` for ever), and a link or an error."""
        fault = self._due([kind for kind in CONNECTS if kind != "name_unknown"])
        if self.world.now < self.refusing_until:
            return 0.0005, ConnectionRefusedError(111, "Connection refused")
        if fault is None:
            return 0.0005, self.server.open()
        if fault.kind == "refused":
            return 0.0005, ConnectionRefusedError(111, "Connection refused")
        if fault.kind == "connect_hangs":
            return None, None
        link = self.server.open()
        if fault.kind.startswith("accepted"):
            # Perhaps after it was asked, and before it has read anything.
            self.world.after(self.chance_of(fault, 0.0006, 0.001, 0.003), self._end_unread, link, fault.kind)
        return 3.0 if fault.kind == "connect_slow" else 0.0005, link

    @staticmethod
    def chance_of(fault, *values):
        """Return one of ``values``."""
        return fault.chance.choice(values)

    def _end_unread(self, link, kind):
        self.server.give_up(link, reset=kind.endswith("reset"))

    # when the first bytes of a request arrive

    def meet(self, server, link, data):
        """Strike a request that is just arriving; ``True`` if it is not to be read."""
        if server.path_of(data) in server.BOOK_KEEPING:
            return False
        fault = self._due(EARLY)
        if fault is None:
            return False
        server.give_up(link, reset=fault.kind.startswith("reset"))
        return True

    # when a request was read

    def strike(self, server, arrived):
        """Strike a request that was read whole; ``False`` if nothing is to happen to it."""
        if self.healed:
            return False
        login = arrived.endpoint in server.BOOK_KEEPING
        if self.stopping and not login:
            server.doubt(arrived.row)
            return True
        for fault in self.all:
            if fault.kind in STRIKES and fault.on_login == login and fault.due():
                self.logins_struck += login
                self._strike(server, arrived, fault)
                return True
        return False

    def _strike(self, server, arrived, fault):
        kind = fault.kind
        if kind == "token_dies":
            server.state.sessions.end_all()
            server.deaths += 1
            server.reply(arrived, Answer(401, {}, b""))
        elif kind.startswith("late"):
            self._late(server, arrived, fault)
        elif kind == "drip":
            server.doubt(arrived.row)
            self._drip(server, arrived, answer_bytes(server.apply(arrived)), fault)
        elif kind == "chunks":
            body = server.apply(arrived).body
            server.reply_raw(
                arrived, raw(200, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), "Transfer-Encoding: chunked")
            )
        elif kind.startswith("unframed"):
            server.doubt(arrived.row)
            body = server.apply(arrived).body if kind == "unframed_applied" else b""
            server.reply_raw(arrived, b"HTTP/1.1 200 OK\r\n\r\n" + body, end=True)
        elif kind == "early_hints":
            server.reply_raw(arrived, b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer_bytes(server.apply(arrived)))
        elif kind == "slow":
            if len(self.all) > 1:  # what else takes its time may use up what is left
                server.doubt(arrived.row)
            server.world.after(
                self.chance_of(fault, 0.2, 5.0, 29.0), lambda: server.reply(arrived, server.apply(arrived))
            )
        else:
            self._say(server, arrived, kind)

    def _say(self, server, arrived, kind):
        plain = kind.removesuffix("_applied")
        data, ending, doubt = ANSWERS[plain]
        if plain != kind:
            server.apply(arrived)
        if doubt:
            server.doubt(arrived.row)
        elif kind in FINAL:
            server.refuse(arrived)
        data = data.replace(b"{path}", b"/Integra/resources/" + arrived.endpoint.encode())
        if kind == "redirect_to_login":
            server.state.sessions.end_all()
            server.deaths += 1
        if ending != "hang":
            server.reply_raw(arrived, data, end=ending == "fin", reset=ending == "rst")

    def _late(self, server, arrived, fault):
        server.doubt(arrived.row)
        seconds = self.chance_of(fault, 0.05, 2.0, 31.0, 45.0)
        server.world.after(seconds, server.apply, arrived)
        if fault.kind == "late_and_closed":
            server.reply_raw(arrived, b"", end=True)

    def _drip(self, server, arrived, data, fault):
        for place in range(len(data)):
            server.world.after(place * 0.9, arrived.link.answer, data[place : place + 1])

    # when a request was answered

    def answered(self, server, link):
        """Do something to a connection that has just become idle."""
        fault = self._due(BETWEEN)
        if fault is None:
            return
        later = self.chance_of(fault, 0.0, 0.0, 0.0005, 0.002, 0.01)
        after = self.world.after
        match fault.kind:
            case "stale_close" | "stale_reset":
                after(later, server.give_up, link, fault.kind.endswith("reset"))
            case "extra_answer":
                after(later, self._extra, link, raw(200, b"1"))
            case "extra_answer_and_close":
                after(later, self._extra, link, raw(200, b"1"))
                after(later, server.give_up, link)
            case "extra_408":
                after(later, self._extra, link, raw(408, b"", "Connection: close"))
                after(later, server.give_up, link)
            case _:
                link.window = fault.chance.randrange(0, 300)
                if fault.kind == "window_opens":
                    after(self.chance_of(fault, 0.01, 20.0), link.open_window)

    @staticmethod
    def _extra(link, data):
        link.answer(data, unasked=True)
