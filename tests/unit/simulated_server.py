"""A server with slots and a queue, its users, and a loop whose time passes in no time: minutes take seconds."""

import asyncio
import functools
import random
import selectors
from collections import deque

from ucontact_async.limiter import Limiter


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


class Crowd:
    """Users of one limiter who want as much as they get, each with one request at a time, as a bulk run has them."""

    def __init__(self, limiter, server, *, patience=30.0):
        """``patience`` is the client's time-out, in seconds."""
        self.limiter = limiter
        self.server = server
        self.patience = patience
        self.answers = []  # moment and latency of each success
        self.unknown = 0
        self.throttled = 0
        self.limits = []  # moment and limit, twice a second

    async def work(self, seconds, *, users=None, events=()):
        """Go on for so many seconds; ``events`` are moments and what happens then."""
        loop = asyncio.get_running_loop()
        for moment, happen in events:
            loop.call_at(loop.time() + moment, happen)
        tasks = [asyncio.ensure_future(self._use()) for _ in range(users or self.limiter.widen("auto"))]
        tasks.append(asyncio.ensure_future(self._look()))
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return self

    async def _use(self):
        loop, limiter = asyncio.get_running_loop(), self.limiter
        while True:
            await limiter.turn(priority="bulk", probe=self._probe)
            if not await limiter.acquire("bulk"):
                continue
            began = loop.time()
            status = await self._ask()
            seconds = loop.time() - began
            limiter.release(seconds if status == 200 else None)
            if status == 200:
                limiter.recovered()
                self.answers.append((began + seconds, seconds))
            else:
                limiter.overloaded(refused=status is not None)
                self.throttled += status is not None
                self.unknown += status is None

    async def _probe(self):
        status = await self._ask()
        if status != 200:
            self.limiter.overloaded(refused=status is not None)
        return status == 200

    async def _ask(self):
        answer = self.server.request()
        timer = self.server.loop.call_later(self.patience, lambda: answer.done() or answer.set_result(None))
        try:
            return await answer
        finally:
            timer.cancel()

    async def _look(self):
        while True:
            self.limits.append((self.server.loop.time(), self.limiter.max_concurrency))
            await asyncio.sleep(0.5)

    def rate(self, since, until):
        """Return the successes a second between two moments."""
        return sum(since <= moment < until for moment, _ in self.answers) / (until - since)

    def p99(self, since=0.0):
        """Return the latency that one success in a hundred exceeds, of those from ``since`` on."""
        seconds = sorted(latency for moment, latency in self.answers if moment >= since)
        return seconds[int(0.99 * len(seconds))]

    @property
    def requests_per_success(self):
        """How many requests the server received for one success."""
        return self.server.received / len(self.answers)


def simulate(duration, *, limit="auto", cap=64, users=None, patience=30.0, events=(), **server):
    """Run a crowd against a server for so many virtual seconds; ``events`` are moments and functions of the server."""

    async def run():
        loop = asyncio.get_running_loop()
        limiter = Limiter(limit, cap=cap, clock=loop.time, chance=random.Random(server.get("seed", 1)))
        machine = SimulatedServer(**server)
        timed = [(moment, functools.partial(happen, machine)) for moment, happen in events]
        return await Crowd(limiter, machine, patience=patience).work(duration, users=users, events=timed)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())
