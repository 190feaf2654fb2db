"""The event loop of a simulated process: asyncio's own in all but time, sockets and threads.

Time jumps to whatever is due next. Callbacks run in the order in which they were registered, as asyncio promises;
what arrives at one time is taken in a seeded order, between any two callbacks the world may go on, and a process that
is dropped does nothing any more.
"""

import asyncio
import collections
import heapq
import itertools
import socket

from .world import Stuck


class Task(asyncio.Task):
    """A task whose place in a set does not depend on its address: what is done to all of a set repeats."""

    _numbers = itertools.count(1)

    def __init__(self, *args, **options):
        self._number = next(Task._numbers)
        super().__init__(*args, **{"name": f"task {self._number}", **options})

    def __hash__(self):
        return self._number

    def __eq__(self, other):
        return self is other


class Loop(asyncio.BaseEventLoop):
    """One process."""

    def __init__(self, world, name, dial, pace):
        """``dial`` knows names and opens links, each callback takes ``pace`` seconds."""
        super().__init__()
        self.world = world
        self.name = name
        self.dropped = False
        self.failures = []
        self._dial = dial
        self._pace = pace
        self._chance = world.chance("loop", name)
        self._readable = []
        self._threads = collections.defaultdict(collections.deque)
        self._links = set()
        self._connected = {}
        self._names = itertools.count(1)
        self.standing = None
        Task._numbers = itertools.count(1)
        self.set_task_factory(lambda loop, coro, **options: Task(coro, loop=loop, **options))
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self):
        """Return the world's time."""
        return self.world.now

    def drop(self, *, powered):
        """Die: nothing that is still referred to does anything from now on.

        While the machine is ``powered`` its kernel closes the connections; otherwise the server hears nothing more.
        """
        self.dropped = True
        self._ready.clear()
        self._scheduled.clear()
        self._readable.clear()
        for link in (*self._connected.values(), *(transport.link for transport in self._links)):
            link.notify = None
            if powered:
                link.finish()
        self._links.clear()

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        pass

    def call_soon(self, callback, *args, context=None):
        """Register it, unless this process is dead."""
        handle = super().call_soon(callback, *args, context=context)
        if self.dropped:
            self._ready.clear()
        return handle

    call_soon_threadsafe = call_soon

    def _call_external(self, what, *args):
        """Do what comes from outside of the loop's own thread: later, while the process stands still."""
        if self.dropped:
            return
        if self.standing is not None:
            self.standing.append((what, args))
        else:
            what(*args)

    def stand(self):
        """Stand still, as a stopped process does."""
        self.standing = []

    def go_on(self):
        """Go on after having stood still."""
        waiting, self.standing = self.standing, None
        for what, args in waiting or ():
            what(*args)

    def _run_once(self):
        self._select()
        for _ in range(len(self._ready)):
            self.world.happen()
            if not self._ready:
                break
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            self.world.step(handle)
            handle._run()
            self.world.now += self._pace

    def _select(self):
        world = self.world
        while True:
            world.happen()
            if self._readable:
                readable, self._readable = self._readable, []
                self._chance.shuffle(readable)
                for transport in readable:
                    self._ready.append(asyncio.Handle(transport.read_ready, (), self, None))
            while self._scheduled and (self._scheduled[0]._cancelled or self._scheduled[0]._when <= world.now):
                timer = heapq.heappop(self._scheduled)
                timer._scheduled = False
                if timer._cancelled:
                    self._timer_cancelled_count -= 1
                else:
                    self._ready.append(timer)
            if self._ready or self._stopping:
                return
            times = [self._scheduled[0]._when] if self._scheduled else []
            following = world.next_time()
            if following is not None:
                times.append(following)
            if not times:
                raise Stuck("nothing will ever happen again")
            world.now = max(world.now, min(times))

    # threads

    def run_in_executor(self, executor, func, *args):
        """Do it in a step of the world, and tell in another: what an executor of one thread was given, in order."""
        future = self.create_future()
        queue = self._threads[executor]
        queue.append((future, func, args))
        if len(queue) == 1:
            self.world.after(self._pause(), self._call_external, self._work, queue)
        return future

    def _pause(self):
        return self._chance.choice((0.000_05, 0.0004, 0.0004, 0.003))

    def _work(self, queue):
        future, func, args = queue[0]
        try:
            result, error = func(*args), None
        except Exception as raised:  # noqa: BLE001  handed on, as a thread's is
            result, error = None, raised
        self.world.after(self._pause() / 4, self._call_external, self._worked, queue, future, result, error)

    def _worked(self, queue, future, result, error):
        queue.popleft()
        if queue:
            self.world.after(self._pause(), self._call_external, self._work, queue)
        self.call_soon_threadsafe(_settle, future, result, error)

    # the network

    async def getaddrinfo(self, host, port, **options):
        """Know every name, unless the world does not."""
        future = self.create_future()
        seconds, error = self._dial.resolve(host)
        self.world.after(seconds, self._call_external, self.call_soon_threadsafe, _settle, future, None, error)
        await future
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def sock_connect(self, sock, address):
        """Ask for a connection."""
        future = self.create_future()
        seconds, found = self._dial.connect()
        if seconds is not None:
            error = found if isinstance(found, BaseException) else None
            self.world.after(seconds, self._call_external, self.call_soon_threadsafe, _settle, future, found, error)
        try:
            self._connected[sock.fileno()] = await future
        except asyncio.CancelledError:
            if seconds is not None and not isinstance(found, BaseException):
                found.finish(reset=True)
            raise

    async def create_connection(self, factory, *args, sock=None, ssl=None, **options):
        """Make a transport of the link that was connected."""
        if sock is None or ssl is not None:
            raise NotImplementedError("only a connected socket, and no TLS")
        link = self._connected.pop(sock.fileno())
        link.owner = self
        sock.close()
        protocol = factory()
        transport = Transport(self, link, protocol)
        self._links.add(transport)
        self.call_soon(protocol.connection_made, transport)
        waiter = self.create_future()
        self.call_soon(_settle, waiter, None, None)
        await waiter
        return transport, protocol

    def readable(self, transport):
        """Have ``transport`` read in the next turn."""
        if transport not in self._readable:
            self._readable.append(transport)

    def unlink(self, transport):
        """Forget ``transport``."""
        self._links.discard(transport)


def _settle(future, result, error):
    if not future.done():
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _descriptor(*, readable):
    """Return a descriptor of which ``poll`` says always the same."""
    mine, other = socket.socketpair()
    if readable:
        other.send(b"!")
    _KEPT.extend((mine, other))
    return mine.fileno()


_KEPT = []
_QUIET, _WAITING = _descriptor(readable=False), _descriptor(readable=True)


class Socket:
    """What a transport shows as its socket: a descriptor that tells ``poll`` whether the kernel holds something."""

    family = socket.AF_UNIX

    def __init__(self, transport):
        self._transport = transport

    def fileno(self):
        """Return a real descriptor, good for one question at once."""
        if self._transport.lost:
            return -1
        return _WAITING if self._transport.link.inbox else _QUIET

    def setsockopt(self, *args):
        """Take any option."""

    def getpeername(self):
        """Return the server's address."""
        return ("127.0.0.1", 8080)


class Transport(asyncio.Transport):
    """asyncio's socket transport over a link."""

    max_size = 262_144
    """How many bytes one system call reads at most, unless the protocol brings its own buffer."""

    def __init__(self, loop, link, protocol):
        super().__init__()
        self._loop = loop
        self.link = link
        self.lost = False
        self._closing = False
        self._paused = False
        self._buffer = bytearray()
        self._high, self._low = 65_536, 16_384
        self._writing_paused = False
        self._socket = Socket(self)
        self.set_protocol(protocol)
        link.notify = self._arrived
        link.on_window = self._writable

    def get_extra_info(self, name, default=None):
        """Return the socket, or an address."""
        known = {"socket": self._socket, "peername": ("127.0.0.1", 8080), "sockname": ("127.0.0.1", 40_000)}
        return known.get(name, default)

    def set_protocol(self, protocol):
        """Change the protocol."""
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self):
        """Return the protocol."""
        return self._protocol

    def is_closing(self):
        """Whether it is closed or about to be."""
        return self._closing

    def is_reading(self):
        """Whether it reads."""
        return not self._closing and not self._paused

    def pause_reading(self):
        """Leave what arrives in the kernel."""
        self._paused = True

    def resume_reading(self):
        """Read again."""
        self._paused = False
        if self.link.inbox and not self._closing:
            self._loop.readable(self)

    def _arrived(self):
        self._loop._call_external(self._notice)

    def _writable(self):
        self._loop._call_external(self._flush)

    def _notice(self):
        if not self._closing and not self._paused and self.link.inbox:
            self._loop.readable(self)

    def read_ready(self):
        """Read what the kernel holds."""
        inbox = self.link.inbox
        if self._closing or self._paused or not inbox:
            return
        what = inbox.pop(0)
        if isinstance(what, bytes):
            pieces = [what]
            while inbox and isinstance(inbox[0], bytes):
                pieces.append(inbox.pop(0))
            for piece in pieces:
                self.link.read(piece)
            self._hand_over(b"".join(pieces))
        elif what is None:
            if not self._protocol.eof_received():
                self.close()
        else:
            self._force_close(what)
        self._notice()

    def _hand_over(self, data):
        """Give the protocol what one system call reads; the rest stays in the kernel, for whoever is it by then."""
        room = self._protocol.get_buffer(-1) if self._buffered else None
        size = min(self.max_size if room is None else len(room), len(data))
        if size < len(data):
            self.link.inbox.insert(0, data[size:])
        self.link.read_at = self._loop.time()
        if room is None:
            self._protocol.data_received(data[:size])
        else:
            room[:size] = data[:size]
            self._protocol.buffer_updated(size)

    def write(self, data):
        """Send it, or keep what the kernel does not take."""
        if self._loop.dropped or self.lost or self._closing or not data:
            return
        if any(isinstance(what, OSError) for what in self.link.inbox):
            self.link.lose(bytes(data))
            self._force_close(BrokenPipeError(32, "broken pipe"))
            return
        self._buffer += data
        self._flush()
        if len(self._buffer) > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, pieces):
        """Send them all at once."""
        self.write(b"".join(pieces))

    def _flush(self):
        if self._loop.dropped or self.lost:
            return
        if self._buffer:
            del self._buffer[: self.link.send(self._buffer)]
        if self._writing_paused and len(self._buffer) <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        if self._closing and not self._buffer:
            self._loop.call_soon(self._connection_lost, None)

    def get_write_buffer_size(self):
        """Return how much the kernel has not taken."""
        return len(self._buffer)

    def set_write_buffer_limits(self, high=None, low=None):
        """Set when writing is paused."""
        self._high = 65_536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self):
        """Return when writing is paused."""
        return self._low, self._high

    def can_write_eof(self):
        """Whether half of it can be closed."""
        return False

    def close(self):
        """Close it when everything has left."""
        if not self._closing:
            self._closing = True
            if not self._buffer:
                self._loop.call_soon(self._connection_lost, None)

    def abort(self):
        """Close it at once."""
        self._force_close(None)

    def _force_close(self, error):
        if self.lost:
            return
        if error is not None and self._buffer:
            self.link.lose(bytes(self._buffer))
        self._buffer.clear()
        self._closing = True
        self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error):
        if self.lost:
            return
        self.lost = True
        self.link.notify = self.link.on_window = None
        self.link.finish(reset=bool(self.link.inbox) or error is not None)
        self._loop.unlink(self)
        self._protocol.connection_lost(error)
