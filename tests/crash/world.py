"""What outlives a process: time, the wire and what is on its way, and the point at which a process is to die.

Everything that happens is a step: something in the world, or one callback of a process's event loop. Nothing here
knows HTTP, the server or the client.
"""

import heapq
import itertools
from random import Random

from .machine import MACHINE


class Crash(BaseException):
    """The process dies here."""


class Stuck(Exception):
    """Nothing will ever happen again, or far too much does."""


class World:
    """Time, and everything that is due."""

    LONGEST = 60_000
    """Steps of one process that nobody would wait for."""

    def __init__(self, seed, trace=None):
        self.seed = seed
        self.steps = 0
        self.crash_at = None
        self.on_crash = None
        self.trace = trace
        self._due = []
        self._numbers = itertools.count()
        MACHINE.now = 1000.0
        MACHINE.seeds = itertools.count()

    @property
    def now(self):
        """The time in seconds."""
        return MACHINE.now

    @now.setter
    def now(self, value):
        MACHINE.now = value

    def chance(self, *name):
        """Return a source of chance of its own for ``name``: one draw more here changes nothing there."""
        return Random(f"{self.seed}:{name}")

    def after(self, seconds, what, *args):
        """Let ``what`` happen in so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), what, args))

    def next_time(self):
        """Return when something happens next, ``None`` for never."""
        return self._due[0][0] if self._due else None

    def happen(self):
        """Let happen what is due."""
        while self._due and self._due[0][0] <= self.now:
            event = self._due[0]
            self.step(event[2])  # whoever dies here leaves it to the world, and whoever stood still has missed it
            if self._due and self._due[0] is event:
                heapq.heappop(self._due)
                event[2](*event[3])

    def begin(self, crash_at=None, on_crash=None):
        """Begin to count the steps of a process that is to die before number ``crash_at``."""
        self.steps = 0
        self.crash_at = crash_at
        self.on_crash = on_crash

    def step(self, what):
        """Count a step; here a process may die, or stand still while ``on_crash`` goes on."""
        self.steps += 1
        if self.trace is not None:
            self.trace(f"{self.steps:>5} {self.now - 1000:12.6f}  {describe(what)}")
        if self.steps == self.crash_at:
            if self.on_crash is None:
                raise Crash
            self.crash_at, number = None, self.steps
            self.on_crash()
            self.steps = number
        elif self.steps > self.LONGEST:
            raise Stuck(f"{self.steps} steps, and no end")

    def pass_time(self, seconds):
        """Let so much time pass in which no process runs."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            when, _, what, args = heapq.heappop(self._due)
            self.now = max(self.now, when)
            what(*args)
        self.now = end


def describe(what):
    """Name a step for a trace."""
    handle = getattr(what, "_callback", None)
    if handle is not None:
        task = getattr(handle, "__self__", None)
        coroutine = getattr(task, "get_coro", None)
        if coroutine is not None:
            inner = coroutine()
            while getattr(inner, "cr_await", None) is not None and hasattr(inner.cr_await, "cr_code"):
                inner = inner.cr_await
            line = getattr(getattr(inner, "cr_frame", None), "f_lineno", 0)
            return f"process  {task.get_name()} {getattr(inner, '__qualname__', inner)}:{line}"
        what = handle
    where = "process " if handle is not None else "world   "
    return f"{where} {getattr(what, '__qualname__', what)}"


class Link:
    """One connection: what each side's kernel holds for it, and what is on its way.

    The client's end is a transport of its loop (``loop.py``), the server's end is told by callbacks.
    """

    IN_TIME = 0.02
    """How many seconds before the end of a run it must be told what it is to take back: it closes its journal."""

    LATELY = 0.001
    """For so many seconds after an answer the command lane may begin a request without asking the kernel."""

    def __init__(self, world, number, server):
        self.world = world
        self.number = number
        self._server = server
        self._chance = world.chance("link", number)
        self._sent_up = self._sent_down = 0.0
        self.inbox = []
        """What the client's kernel holds for it: bytes, then perhaps ``None`` for the end, or an error."""
        self.notify = None
        self.client_gone = False
        self.server_gone = False
        self.window = None
        """How many more bytes of the client the network takes; ``None`` for any number."""
        self.on_window = None
        self.poisoned = 0
        """How many requests were begun here although something waited to be read, or one answer too many had been."""
        self.hurried = 0
        """How many of them so soon after the last answer that the command lane need not have looked."""
        self.read_at = 0.0
        """When the client last read something."""
        self.crossed = False
        """Whether an answer that nobody had asked for came when a request had been begun."""
        self.doubled = False
        """Whether one came so soon behind another, not the first of this connection, that both may be read at once."""
        self.surplus_at = None
        """When the client has read an answer that it had not asked for, but for a 408: that one says so itself."""
        self.shown = False
        """Whether that was in time for a run that came to its end to take back what it had said."""
        self.owner = None
        """The process that opened it."""
        self._asking = self._used = False
        self._answered = self._owed = 0

    def _up(self, what, *args):
        """Let something arrive at the server, never before what was sent earlier."""
        self._sent_up = self._travel(self._sent_up, what, *args)

    def _down(self, what, *args):
        """Let something arrive at the client's kernel, never before what was sent earlier."""
        self._sent_down = self._travel(self._sent_down, what, *args)

    def _travel(self, earliest, what, *args):
        delay = self._chance.choice((0.0001, 0.0002, 0.0005, 0.002))
        arrival = max(self.world.now + delay, earliest)
        self.world.after(arrival - self.world.now, what, *args)
        return arrival

    # the client's side

    def send(self, data):
        """Take bytes of the client; return how many of them the kernel took."""
        if data.startswith(b"POST "):
            self._owed += 1
            self.poisoned += self.surplus_at is not None
        if not self._asking:
            self._asking = True
            # On a fresh connection nobody asks: there may be more to read than its user knows, such as a TLS ticket.
            if self.inbox and self._used:
                self.poisoned += 1
                self.hurried += self.world.now - self.read_at <= self.LATELY
            self._used = True
        taken = len(data) if self.window is None else min(self.window, len(data))
        if self.window is not None:
            self.window -= taken
        if taken:
            self._up(self._arrive_up, bytes(data[:taken]))
        return taken

    def read(self, data):
        """Note what the client's process has read."""
        if not data.startswith(b"HTTP/"):
            return
        if self._owed:
            self._owed -= 1
        elif self._used and self.surplus_at is None and not data.startswith(b"HTTP/1.1 408"):
            self.surplus_at = self.world.now

    def run_ended(self):
        """Note that the run whose calls these were is over."""
        self.shown = self.surplus_at is not None and self.world.now - self.surplus_at > self.IN_TIME

    def lose(self, data):
        """Let the server's book know what the client never got rid of when it learnt of a reset.

        Who only sees the error cannot know when it was.
        """
        self._up(self._server.unheard, self, data)

    def finish(self, *, reset=False):
        """The client's side is closed, politely or not."""
        if not self.client_gone:
            self.client_gone = True
            self._up(self._gone_up, reset)

    # the server's side

    def answer(self, data, *, unasked=False):
        """Send bytes to the client."""
        if not self.server_gone:
            self._down(self._arrive_down, data, unasked)

    def end(self, *, reset=False):
        """The server closes, politely or not."""
        if not self.server_gone:
            self.server_gone = True
            self._down(self._arrive_down, ConnectionResetError(104, "reset") if reset else None)

    def open_window(self):
        """The network takes everything again."""
        self.window = None
        if self.on_window is not None:
            self.on_window()

    # on arrival

    def _arrive_up(self, data):
        if self.server_gone:
            self._server.unheard(self, data)
            self._down(self._arrive_down, ConnectionResetError(104, "reset"))
        else:
            self._server.heard(self, data)

    def _gone_up(self, reset):
        if not self.server_gone:
            self._server.left(self)

    def _arrive_down(self, what, unasked=False):  # noqa: FBT002  called by the world's clock
        if self.client_gone:
            return
        self.crossed |= unasked and self._asking
        self.doubled |= unasked and self._answered > 1 and any(isinstance(unread, bytes) for unread in self.inbox)
        self._answered += self._asking and isinstance(what, bytes)
        self._asking &= not isinstance(what, bytes)
        self.inbox.append(what)
        if self.notify is not None:
            self.notify()
