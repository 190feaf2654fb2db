"""The other side of the wire: the emulator's contact centre behind a hand-made HTTP that can do anything wrong.

It reads requests, asks the scenario's faults what becomes of each, and knows for certain what was applied.
"""

from collections import Counter, deque
from random import Random

from ucontact_async import ScheduledCall
from ucontact_async.api import ENDPOINTS
from ucontact_async.emulator import ContactCentre, Ledger, Switches
from ucontact_async.serving import Service, answer_bytes, read_form
from ucontact_async.wire import Answer

from .rows import PATHS, name_at, number_in
from .world import Link

_CALLS = ("Dialers/ScheduleDialerCall", "Dialers/Respool")


def _key(row):
    return row.campaign, row.destination


class Arrived:
    """A request as the server has read it."""

    __slots__ = ("call", "endpoint", "link", "row")

    def __init__(self, link, endpoint, call, row):
        self.link = link
        self.endpoint = endpoint
        self.call = call
        self.row = row


class Server:
    """The contact centre, its connections and its faults."""

    IDLE = 5.0
    """After so many seconds an idle connection is closed, as Apache does."""

    THINK = (0.0003, 0.001, 0.004, 0.012)
    """How long it thinks about a request, in seconds: some overtake each other."""

    BOOK_KEEPING = frozenset({"auth/getUserToken", "auth/UserLogin", "auth/EndSession"})
    """Requests that are about no row."""

    def __init__(self, world, faults):
        self.world = world
        self.faults = faults
        self.ledger = Ledger()
        self.state = ContactCentre({"api": "secret"}, self.ledger, Random(1), Switches(one_session=False))
        self.service = Service(ENDPOINTS, self.state.handlers, self.state.sessions.authorise)
        self.applied = Counter()
        """How often each row was."""
        self.doubtful = set()
        """The rows whose sender cannot know what became of them, whatever it does, and their numbers."""
        self.refused = set()
        """The rows that were refused for good."""
        self.unwanted = set()
        """The rows that it refuses, whatever happens."""
        self.insistent = set()
        """Those of them that were asked for again."""
        self.oddities = []
        self.deaths = 0
        self.links = []
        self._chance = world.chance("server")
        self._raw = {}
        self._queued = {}
        self._current = {}
        self._idle = Counter()

    @property
    def crossed(self):
        """Whether an answer that nobody had asked for crossed a request on the wire: the one thing HTTP cannot tell."""
        return any(link.crossed or link.hurried for link in self.links)

    @property
    def hidden(self):
        """Whether one did so on a connection that never showed it to the run whose request it was."""
        return any((link.crossed or link.hurried) and not link.shown for link in self.links)

    @property
    def surplus(self):
        """Whether an answer too many was read: what was said of the calls of its connection is taken back."""
        return any(link.surplus_at is not None for link in self.links)

    @property
    def doubled(self):
        """How many answers came with an unasked one behind them: it may be that theirs is the second of the two."""
        return sum(link.doubled for link in self.links)

    # connections

    def open(self):
        """Return a new connection."""
        link = Link(self.world, len(self.links) + 1, self)
        self.links.append(link)
        self._raw[link] = b""
        self._queued[link] = deque()
        self._wait_idle(link)
        return link

    def heard(self, link, data):
        """Read what has arrived."""
        first = not self._raw[link]
        self._raw[link] += data
        self._idle[link] += 1
        if first and self.faults.meet(self, link, self._raw[link]):
            return
        while (request := self._cut_off(link)) is not None:
            self._queued[link].append(request)
            self._next(link)

    def unheard(self, link, data):
        """Note that a request came to a connection that was closed already: nobody will read it."""
        self._raw[link] += data
        self._doubt_all(self._raw[link])

    def left(self, link):
        """The client has closed; what was read whole goes its way all the same."""
        link.server_gone = True
        self._idle[link] += 1

    def give_up(self, link, reset=False):  # noqa: FBT002  called by the world's clock
        """Close a connection; whoever has begun to send over it cannot know what was read."""
        if link.server_gone:
            return
        self._doubt_all(self._raw[link])
        for arrived in self._queued[link]:
            self.doubt(arrived.row)
        if (current := self._current.pop(link, None)) is not None:
            self.doubt(current.row)
        self._queued[link].clear()
        link.end(reset=reset)

    def restart(self):
        """Reset every connection and forget every session; what was begun and not done is not done any more."""
        for link in self.links:
            self.give_up(link, reset=True)
        self.state.sessions.end_all()
        self.deaths += 1

    def path_of(self, data):
        """Return which endpoint the beginning of a request names."""
        target = data.partition(b" ")[2].partition(b" ")[0].decode("latin-1")
        return target.removeprefix("/Integra/resources/")

    def doubt(self, row):
        """Note that the sender of ``row`` cannot know what became of it."""
        if row is not None:
            self.doubtful.add(row)

    def refuse(self, arrived):
        """Note that a call was refused for good."""
        if arrived.endpoint in _CALLS:
            self.refused.add(arrived.row)

    def there(self, request):
        """Return how many calls of this row stand on schedule or spool."""
        same = (request.campaign, request.destination)
        if isinstance(request, ScheduledCall):
            rows = [row.calldate == str(request.calldate) for row in self.state.schedule if _key(row) == same]
        else:
            rows = [row.contact == request.contact for row in self.state.spool if _key(row) == same]
        return sum(rows)

    def _doubt_all(self, data):
        """Note that whoever sent ``data``, whole requests or their beginnings, cannot know what became of them."""
        for request in data.split(b"POST /"):
            form = read_form("", request.partition(b"\r\n\r\n")[2])
            for path in PATHS:
                fields = self.service.fields(ENDPOINTS[path], form)
                self.doubt(name_at(path, fields))
                self.doubt(number_in(fields))

    # requests

    def _cut_off(self, link):
        head, found, rest = self._raw[link].partition(b"\r\n\r\n")
        if not found:
            return None
        lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._raw[link] = rest[length:]
        method, target, _ = lines[0].split(" ")
        path, _, query = target.partition("?")
        if method != "POST":
            self.oddities.append(f"{method} {path}: this client sends nothing but POST")
        endpoint = self.service.endpoint_at(path)
        if endpoint is None:
            self.oddities.append(f"{path} is no endpoint")
            return Arrived(link, "", Answer(404, {}, b""), None)
        form = read_form(query, rest[:length])
        row = name_at(endpoint.path, self.service.fields(endpoint, form))
        if row in self.refused:
            self.insistent.add(row)
        return Arrived(link, endpoint.path, (endpoint, form, headers.get("authorization")), row)

    def _next(self, link):
        """Begin with the next request of a connection: one after the other."""
        if link not in self._current and self._queued[link] and not link.server_gone:
            arrived = self._current[link] = self._queued[link].popleft()
            self.world.after(self._chance.choice(self.THINK), self._attend, arrived)

    def _attend(self, arrived):
        if self._current.get(arrived.link) is not arrived:
            return
        if not isinstance(arrived.call, Answer):
            arrived.call = self.service.open(*arrived.call)
        if self.faults.strike(self, arrived):
            return
        # A token that died is refused at once or, by a server that looks it up elsewhere, when another one may live.
        if isinstance(arrived.call, Answer) and self._chance.random() < 0.5:
            self.world.after(0.03, self._serve, arrived)
        else:
            self._serve(arrived)

    def _serve(self, arrived):
        if self._current.get(arrived.link) is arrived:
            self.reply(arrived, self.apply(arrived))

    def apply(self, arrived):
        """Do what was asked, and return the answer."""
        if isinstance(arrived.call, Answer):
            return arrived.call
        if arrived.row in self.unwanted:
            self.refuse(arrived)
            return Answer(200, {}, b"0")
        before = self.ledger.total
        answer = self.service.perform(arrived.call)
        if self.ledger.total > before:
            self.applied[arrived.row] += 1
        return answer

    def reply(self, arrived, answer):
        """Answer, and turn to the next request."""
        self.reply_raw(arrived, answer if isinstance(answer, bytes) else answer_bytes(answer))

    def reply_raw(self, arrived, data, *, end=False, reset=False):
        """Answer with these very bytes, and perhaps close."""
        link = arrived.link
        if data:
            link.answer(data)
        if end or reset:
            self._current.pop(link, None)
            self.give_up(link, reset=reset)
        else:
            self.done(arrived)

    def done(self, arrived):
        """Turn to the next request of the connection."""
        link = arrived.link
        self._current.pop(link, None)
        if arrived.endpoint not in self.BOOK_KEEPING and not self._queued[link]:
            self.faults.answered(self, link)
        self._wait_idle(link)
        self._next(link)

    def _wait_idle(self, link):
        self._idle[link] += 1
        self.world.after(self.IDLE, self._end_idle, link, self._idle[link])

    def _end_idle(self, link, then):
        if self._idle[link] == then and not link.server_gone:
            link.end()
