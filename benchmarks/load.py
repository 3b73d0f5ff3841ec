"""A load generator cheap enough not to be the limit: sockets, a selector, callbacks.

It speaks the little of RFC 6455 that these benchmarks need: whole text messages, ping, close.
"""

import selectors
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import sha1
from itertools import cycle
from typing import Self

__all__ = ["Client", "Load", "encode", "split"]

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
KEY = b64encode(b"sixteen bytes...")
ACCEPT = b64encode(sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # RFC 6455, 1.3


def encode(payload: bytes, opcode: int = TEXT) -> bytes:
    """One client frame. Its masking key is zero: valid, and the payload stays as it is."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Split what a server sent into ``(opcode, payload)`` of the whole frames, and the rest."""
    frames, at, end = [], 0, len(data)
    while end - at >= 2:
        size, start = data[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            if end < start:
                break
            size = int.from_bytes(data[at + 2 : start], "big")
        if end < start + size:
            break
        frames.append((data[at] & 0x0F, data[start : start + size]))
        at = start + size
    return frames, data[at:]


class Client:
    """One WebSocket connection; ``on_text(client, payload)`` is called for every text message."""

    __slots__ = (
        *("buffer", "closing", "handshake_ns", "load", "on_text", "socket", "started_ns"),
        *("received", "room", "tag"),  # for the scenarios
    )

    def __init__(self, load: "Load", path: str, on_text: Callable[["Client", bytes], None]) -> None:
        self.load, self.on_text = load, on_text
        self.buffer, self.closing, self.handshake_ns = b"", False, 0
        self.received, self.room, self.tag = 0, 0, b""
        self.started_ns = time.perf_counter_ns()
        port = load.next_port()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = f"127.0.0.1:{port}"
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {KEY.decode()}\r\n\r\n".encode()
        )
        self.socket.setblocking(False)
        load.selector.register(self.socket, selectors.EVENT_READ, self)

    def send(self, payload: bytes) -> None:
        """Send one text message."""
        self.socket.sendall(encode(payload))

    def close(self) -> None:
        """Start the closing handshake, with code 1000."""
        self.closing = True
        self.socket.sendall(encode((1000).to_bytes(2, "big"), CLOSE))

    def readable(self) -> None:
        """Take what has arrived."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._ended()
            return
        data = self.buffer + data
        if not self.handshake_ns:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self.buffer = data
                return
            self._opened(head)
            data = rest
        frames, self.buffer = split(data)
        for opcode, payload in frames:
            if opcode == TEXT:
                self.on_text(self, payload)
            elif opcode == PING:
                self.socket.sendall(encode(payload, PONG))
            elif opcode == CLOSE and not self.closing:
                self.load.cut += 1
                self.close()

    def _opened(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101") or ACCEPT not in head:
            raise ConnectionError(f"The server refused a WebSocket: {head[:200]!r}")
        self.handshake_ns = time.perf_counter_ns() - self.started_ns
        self.load.opened += 1

    def _ended(self) -> None:
        self.load.selector.unregister(self.socket)
        self.socket.close()
        self.load.ended += 1
        self.load.cut += not self.closing


class Load:
    """All connections to the servers, and the loop that serves them.

    Args:
        ports: The servers', on 127.0.0.1; connections take turns between them.
        patience: Seconds without any sign of the server after which it is given up.

    Attributes:
        opened: Handshakes completed.
        ended: Connections that the server has closed.
        cut: Those among them that the client had not asked to be closed.
    """

    def __init__(self, *ports: int, patience: float = 5.0) -> None:
        self.ports, self.patience = ports, patience
        self._turns = cycle(ports)
        self.opened = self.ended = self.cut = 0
        self.selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for key in list(self.selector.get_map().values()):
            key.data.socket.close()
        self.selector.close()

    def next_port(self) -> int:
        """Where the next connection goes."""
        return next(self._turns)

    def connect(
        self, paths: Iterable[str], on_text: Callable[[Client, bytes], None], at_once: int = 50
    ) -> list[Client]:
        """Open a connection to every path, ``at_once`` of them at a time.

        Raises:
            TimeoutError: The server stopped answering.
        """
        clients: list[Client] = []
        before = self.opened

        def opening_at_most(number: int) -> bool:
            return len(clients) - (self.opened - before) <= number

        for path in paths:
            self._must(lambda: opening_at_most(at_once - 1))
            clients.append(Client(self, path, on_text))
        self._must(lambda: opening_at_most(0))
        return clients

    def close(self, clients: Iterable[Client]) -> None:
        """Close the connections and wait until the server has closed them too.

        Raises:
            TimeoutError: It does not.
        """
        target = self.ended
        for client in clients:
            client.close()
            target += 1
        self._must(lambda: self.ended >= target)

    def run(self, done: Callable[[], bool]) -> bool:
        """Serve the connections until ``done()``; False if it ran out of patience before."""
        heard = time.monotonic()
        while not done():
            if ready := self.selector.select(0.1):
                for key, _ in ready:
                    key.data.readable()
                heard = time.monotonic()
            elif time.monotonic() - heard > self.patience:
                return False
        return True

    def settle(self) -> None:
        """Take what may still come, until there was nothing for 0.1 seconds."""
        while ready := self.selector.select(0.1):
            for key, _ in ready:
                key.data.readable()

    def _must(self, done: Callable[[], bool]) -> None:
        if not self.run(done):
            raise TimeoutError(f"Port {self.ports}: a server does not answer any more.")
