"""A hand-made server for one fault, in threads of its own: it answers by a script, and counts what it read whole.

It shares nothing with the package, neither its contract nor its HTTP library. A script is a function of a
:class:`Peer`, one connection: it reads the request that the fault is about, and does to it what it does.
"""

import contextlib
import select
import socket
import ssl
import struct
import threading
import time

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
# The request that the fault is about; all others are answered well.
TARGET = b"ScheduleDialerCall"
PATIENCE = 10.0


class Gone(Exception):
    """The client has left, or the test is over."""


class Peer:
    """One connection, seen from the server."""

    def __init__(self, server, raw, context):
        """``raw`` is the socket as it was accepted."""
        self.server = server
        self.raw = raw
        self.raw.settimeout(PATIENCE)
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._context = context
        self._socket = raw
        self._buffer = b""

    def shake_hands(self):
        """Begin TLS where it is spoken."""
        if self._context is not None:
            self._socket = self.raw = self._context.wrap_socket(self.raw, server_side=True)

    def hello(self):
        """Read something: the first flight of a handshake that nobody here will go on with."""
        self._read()

    def head(self):
        """Read up to the end of the head of the next request, no further than a read brings."""
        while b"\r\n\r\n" not in self._buffer:
            self._read()
        return self._buffer.partition(b"\r\n\r\n")[0]

    def any_request(self):
        """Read the next request whole and return its head."""
        head = self.head()
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = bytearray(self._buffer[len(head) + 4 :])
        while len(body) < length:
            self._buffer = b""
            self._read()
            body += self._buffer
        self._buffer = bytes(body[length:])
        if TARGET in head.partition(b"\r\n")[0]:
            self.server.complete += 1
        return head

    def request(self):
        """Read the request that the fault is about; answer well all that come before it."""
        while TARGET not in self.any_request().partition(b"\r\n")[0]:
            self.send(GOOD)

    def target(self):
        """Read the head of the request that the fault is about; answer well all that come before it."""
        while TARGET not in self.head().partition(b"\r\n")[0]:
            self.any_request()
            self.send(GOOD)

    def _read(self, most=65_536):
        chunk = self._socket.recv(most)
        if not chunk:
            raise Gone
        self._buffer += chunk

    def send(self, *parts, pause=0.0):
        """Send bytes, ``pause`` seconds after each part."""
        for part in parts:
            self._socket.sendall(part)
            if pause:
                time.sleep(pause)

    def hang(self):
        """Wait until the client leaves, reading nothing of what it sends."""
        end = time.monotonic() + PATIENCE
        watch = select.poll()
        watch.register(self.raw, getattr(select, "POLLRDHUP", 0))
        while not self.server.over and time.monotonic() < end:
            if watch.poll(20):
                raise Gone

    def half_close(self):
        """Send the end of the stream, and go on reading."""
        self.raw.shutdown(socket.SHUT_WR)

    def close_notify(self):
        """End TLS as its rules say; where there is none, just close."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(0.2)
            with contextlib.suppress(OSError):
                self._socket.unwrap()
        self.close()

    def bare(self, data):
        """Send bytes under the TLS: no record of it."""
        with socket.socket(fileno=socket.dup(self.raw.fileno())) as below:
            below.sendall(data)

    def close(self):
        """Close; under TLS without a close_notify. What was not read makes a reset of it, as with any server."""
        self.raw.close()
        raise Gone

    def fin(self):
        """Close with an end of the stream even where something was left unread."""
        self.raw.shutdown(socket.SHUT_WR)
        self.raw.settimeout(0.5)
        with contextlib.suppress(OSError):
            while self.raw.recv(65_536):
                pass
        self.close()

    def reset(self):
        """Close with a reset."""
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class FaultyServer:
    """Listens on a port of its own and gives each connection to ``script``.

    A connection first answers ``warm`` requests well. A script that starts by reading is run for each request of the
    fault, an ``idle`` one once: all later connections are good.
    """

    def __init__(self, script, *, context=None, warm=0, idle=False):
        """Listen; ``context`` makes it TLS."""
        self.complete = 0
        self.connections = 0
        self.over = self.good = False
        self.warmed, self.acted = threading.Event(), threading.Event()
        self._script = script
        self._context = context
        self._warm = warm
        self._idle = idle
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self):
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(raw, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw, number):
        peer = Peer(self, raw, self._context)
        # OSError: the client reset it, or its TLS failed; both are seen on its own side.
        with contextlib.suppress(Gone, OSError, ValueError):
            try:
                self._talk(peer, number)
            finally:
                peer.raw.close()
        raw.close()

    def _talk(self, peer, number):
        peer.shake_hands()
        good = self.good or (self._idle and number > 1)
        if not good:
            for _ in range(self._warm if number == 1 else 0):
                peer.any_request()
                peer.send(GOOD)
                self.warmed.wait(PATIENCE)  # until the client has that answer, so that what follows is unasked
            while not good:
                try:
                    self._script(peer)
                finally:
                    self.acted.set()
                good = self._idle
        while True:
            peer.any_request()
            peer.send(GOOD)

    def refuse(self):
        """Stop listening: whoever connects from here on is refused."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self):
        """Stop, and wait for every thread, so that all that was read has been counted; return what is wrong, if so."""
        self.over = True
        self.refuse()
        self._accepting.join(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        left = sum(thread.is_alive() for thread in self._threads)
        return f"{left} connections are still open" if left else ""
