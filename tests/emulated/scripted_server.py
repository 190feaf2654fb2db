"""A server in a thread of its own that answers each request with the bytes it is told to."""

import contextlib
import re
import socket
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"


class Scripted:
    """``script`` is called with a connection, the number of the request on it and its bytes, and answers by itself.

    With a ``context`` it speaks TLS.
    """

    def __init__(self, script, context=None):
        self.requests = []
        self.connections = self.ended = 0
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'' if context is None else 's'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError):
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                number = 0
                while request := _read(connection):
                    self.requests.append(request)
                    if self._script(connection, number, request):
                        break
                    number += 1
        self.ended += 1


def _read(connection):
    """Return the next whole request, or nothing."""
    got = b""
    while chunk := connection.recv(65536):
        got += chunk
        end = got.find(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", got[: end + 2])
        if end >= 0 and len(got) >= end + 4 + (int(length[1]) if length else 0):
            return got
    return b""
