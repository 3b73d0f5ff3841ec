"""Thousands of WebSocket clients in one thread: sockets, a selector, and no library in between."""

import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import Self

from benchmarks.load import CLOSE, PING, PONG, TEXT, encode, split

__all__ = ["Client", "Clients"]

# Seconds without any sign of the server after which it is given up. A connection that finds the
# queue of the listening socket full is tried again by the kernel after 1, 3, 7 and 15 seconds.
PATIENCE = 20.0

RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: close() sends RST


class Client:
    """One WebSocket, from the first SYN on.

    Attributes:
        asked: The handshake was begun.
        opened: It was completed.
        ended: Why the connection is over, or None; "reset" where the client did it.
        texts: Every text message that has come.
    """

    __slots__ = ("_buffer", "_clients", "_socket", "asked", "ended", "opened", "texts")

    def __init__(self, clients: "Clients") -> None:
        self._clients, self._buffer = clients, b""
        self.asked = self.opened = False
        self.ended: str | None = None
        self.texts: list[bytes] = []
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.connect_ex(("127.0.0.1", clients.port))
        clients.selector.register(self._socket, selectors.EVENT_WRITE, self._connected)

    def send(self, text: bytes) -> None:
        """Send a text message, which has to be short."""
        self._socket.sendall(encode(text))

    def reset(self) -> None:
        """Break the TCP connection as a vanished client does: RST instead of any handshake."""
        if self.ended is None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._end("reset")

    def _connected(self) -> None:
        """Ask for a WebSocket, as soon as there is a connection."""
        port = self._clients.port
        try:
            self._socket.sendall(
                f"GET /crowd/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                f"Origin: http://127.0.0.1:{port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
        except OSError as error:
            self._end(f"{type(error).__name__} while connecting")
        else:
            selector = self._clients.selector
            selector.modify(self._socket, selectors.EVENT_READ, self._readable)
            self.asked = True

    def _readable(self) -> None:
        try:
            data = self._socket.recv(65536)
        except ConnectionError as error:
            return self._end(type(error).__name__)
        if not data:
            return self._end("closed by the server")
        data = self._buffer + data
        if not self.opened:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = data
                return None
            if not head.startswith(b"HTTP/1.1 101"):
                return self._end(f"refused: {head[:100]!r}")
            self.opened = True
            self._clients.opened += 1
            data = rest
        frames, self._buffer = split(data)
        for opcode, payload in frames:
            if opcode == TEXT:
                self.texts.append(payload)
            elif opcode == PING:
                self._socket.sendall(encode(payload, PONG))
            elif opcode == CLOSE:
                return self._end(f"closed with {payload!r}")
        return None

    def _end(self, why: str) -> None:
        self.ended = why
        self._clients.selector.unregister(self._socket)
        self._socket.close()
        self._clients.ended += 1


class Clients:
    """All clients of one server, as a context manager that resets those that are left.

    Args:
        port: The server's, on 127.0.0.1.

    Attributes:
        opened: Handshakes completed.
        ended: Connections that are over, for whatever reason.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.opened = self.ended = 0
        self.selector = selectors.DefaultSelector()
        self._all: set[Client] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for client in tuple(self._all):
            self.reset(client)
        self.selector.close()

    def connect(self, number: int, at_once: int | None = None) -> list[Client]:
        """Open so many connections, at most ``at_once`` of them at a time, and wait for all."""
        new: list[Client] = []
        before = self.opened + self.ended

        def opening() -> int:
            return len(new) - (self.opened + self.ended - before)

        for _ in range(number):
            if at_once is not None:
                self.run(lambda: opening() < at_once, "handshakes")
            new.append(self.start())
        self.run(lambda: not opening(), "handshakes")
        return new

    def start(self) -> Client:
        """Begin to open a connection."""
        client = Client(self)
        self._all.add(client)
        return client

    def reset(self, client: Client) -> None:
        """Break this connection, and keep nothing of it."""
        client.reset()
        self._all.discard(client)

    def run(self, done: Callable[[], bool], what: str) -> None:
        """Serve the connections until ``done()``."""
        heard = time.monotonic()
        while not done():
            if self.turn(0.1):
                heard = time.monotonic()
            assert time.monotonic() - heard < PATIENCE, f"the server is silent, waiting for {what}"

    def turn(self, seconds: float) -> bool:
        """Serve the connections that have something now, or within so many seconds."""
        ready = self.selector.select(seconds)
        for key, _ in ready:
            key.data()
        return bool(ready)
