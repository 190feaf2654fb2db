"""A server with slots and a queue, and an event loop whose time passes in no time: a run of minutes takes seconds."""

import asyncio
import random
import selectors
from collections import deque


class _Selector(selectors.SelectSelector):
    """Waits for nothing: whoever would wait moves the time on."""

    now = 0.0

    def select(self, timeout=None):
        """Move on by ``timeout``."""
        if timeout is None:
            raise RuntimeError("everybody waits for somebody")
        if timeout > 0:
            self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop under virtual time."""

    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        """Return the virtual moment, in seconds."""
        return self._virtual.now


LAWS = {
    "deterministic": lambda chance: 1.0,
    "log-normal": lambda chance: chance.lognormvariate(-0.045, 0.3),
    "exponential": lambda chance: chance.expovariate(1.0),
}


class SimulatedServer:
    """``slots`` requests are served at once, ``room`` wait, all others are answered 503 at once."""

    def __init__(self, *, slots, seconds, law="deterministic", room=10**9, seed=1):
        self.loop = asyncio.get_running_loop()
        self.slots = slots
        self.seconds = seconds
        self.room = room
        self.busy = 0
        self.queue = deque()
        self.received = self.served = self.refused = 0
        self._law = LAWS[law]
        self._chance = random.Random(seed)

    def request(self):
        """Take a request; return the future of its status."""
        self.received += 1
        answer = self.loop.create_future()
        if self.busy < self.slots:
            self._serve(answer)
        elif len(self.queue) < self.room:
            self.queue.append(answer)
        else:
            self.refused += 1
            answer.set_result(503)
        return answer

    def resize(self, slots):
        """Change how many are served at once; those in service are finished."""
        self.slots = slots
        self._fill()

    def _serve(self, answer):
        self.busy += 1
        self.loop.call_later(self.seconds * self._law(self._chance), self._done, answer)

    def _done(self, answer):
        self.busy -= 1
        self.served += 1
        if not answer.done():
            answer.set_result(200)
        self._fill()

    def _fill(self):
        while self.queue and self.busy < self.slots:
            self._serve(self.queue.popleft())  # also what the client gave up: the server does not know
