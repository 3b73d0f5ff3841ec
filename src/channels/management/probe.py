"""Asking a server from outside how it is: HTTP and WebSocket by hand, without any dependency.

Everything but the resolution of names has one deadline: connecting, TLS, and what a server says
byte by byte.
"""

import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from channels._runtime.logtext import printable
from channels.exceptions import ChannelsError

__all__ = ["ProbeFailed", "Target", "ask_http", "ask_websocket"]

# Bytes of an answer that are read to see what is wrong.
_BODY_LIMIT = 65536

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# RFC 6455: the handshake (section 4.2.2) and the frames (section 5.2).
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80


class ProbeFailed(ChannelsError):
    """The server did not answer as one that is well; says what it did."""


@dataclass(frozen=True)
class Target:
    """What to ask, and how.

    Args:
        url: http, https, ws or wss.
        timeout: seconds for everything together.
        host: for the header ``Host``; by default what the URL says.
        origin: for the header ``Origin`` of a WebSocket; by default that of a page on ``host``.
        insecure: take any certificate.

    Raises:
        ProbeFailed: none of that can be asked.
    """

    url: str
    timeout: float = 5.0
    host: str | None = None
    origin: str | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ProbeFailed(f"{self}: {problem}")

    def _problem(self) -> str | None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            return str(error)
        if parts.scheme not in _PORTS or not parts.hostname:
            return f"the URL must start with {', '.join(f'{s}://' for s in _PORTS)} and a host"
        if "@" in parts.netloc:
            return "the URL must not hold credentials"
        if not all(text.isascii() and text.isprintable() for text in self.headers.values()):
            return "host and origin must be printable ASCII"
        return None

    def __str__(self) -> str:
        """The URL as it may be shown: without credentials and query."""
        shown = self.url.partition("?")[0].partition("#")[0]
        scheme, mark, rest = shown.partition("://")
        return printable(f"{scheme}{mark}{rest.rpartition('@')[2]}")

    @property
    def parts(self) -> SplitResult:
        """The URL, split."""
        return urlsplit(self.url)

    @property
    def is_secure(self) -> bool:
        """Whether it is asked over TLS."""
        return self.parts.scheme in {"https", "wss"}

    @property
    def headers(self) -> dict[str, str]:
        """Who is asked, and from where."""
        host = self.host or self.parts.netloc
        if self.parts.scheme not in {"ws", "wss"}:
            return {"Host": host}
        page = "https" if self.is_secure else "http"
        return {"Host": host, "Origin": self.origin or f"{page}://{host}"}

    @property
    def path(self) -> str:
        """The path and the query, as a request line takes them."""
        path = quote(self.parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        query = quote(self.parts.query, safe="/?%:@!$&'()*+,;=~-._")
        return f"{path}?{query}" if query else path


def ask_http(target: Target) -> None:
    """GET a URL.

    Raises:
        ProbeFailed: it is not answered with a status from 200 to 299.
    """
    with _connected(target) as stream:
        headers = {"User-Agent": "channels_health", "Accept": "application/json"}
        with stream.request(target, {**headers, "Connection": "close"}) as response:
            if not 200 <= response.status < 300:
                raise ProbeFailed(f"{_status(response)}{_explanation(response)}")


def ask_websocket(target: Target) -> None:
    """Open a WebSocket, send the text ``ping``, and wait for ``pong``.

    Raises:
        ProbeFailed: the handshake is refused or wrong, or something else is answered.
    """
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    with _connected(target) as stream:
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        }
        with stream.request(target, headers) as response:
            _check_handshake(response, key)
            stream.send_frame(_TEXT, b"ping")
            opcode, payload = stream.receive_frame()
            while opcode == _PING:
                stream.send_frame(_PONG, payload)
                opcode, payload = stream.receive_frame()
            if (opcode, payload) != (_TEXT, b"pong"):
                raise ProbeFailed(f"answered {_shown(opcode, payload)} instead of the text 'pong'")
            # All is well already; the rest is courtesy.
            with contextlib.suppress(OSError):
                stream.send_frame(_CLOSE, struct.pack("!H", 1000))


class _Stream(io.RawIOBase):
    """A connection of which every operation ends at one deadline."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._socket = connection
        self._deadline = deadline
        self._reader = io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedIOBase:
        """What ``http.client`` asks of a socket."""
        return self._reader

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._deadline))
        self._socket.sendall(data)

    def request(self, target: Target, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send a GET; returns the head of the response."""
        lines = [f"{name}: {value}" for name, value in (target.headers | headers).items()]
        head = "\r\n".join([f"GET {target.path} HTTP/1.1", *lines, "", ""])
        self._send(head.encode("ascii"))
        response = http.client.HTTPResponse(self, method="GET")  # type: ignore[arg-type]
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        return response

    def send_frame(self, opcode: int, payload: bytes) -> None:
        """Send a frame of at most 125 bytes, masked as a client's must be."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._send(bytes([_FINAL | opcode, _MASKED | len(payload)]) + mask + masked)

    def receive_frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload.

        Raises:
            ProbeFailed: it is longer than 125 bytes, in parts, masked or compressed.
        """
        first, second = self._read(2)
        if not first & _FINAL or first & 0x70 or second > 125:
            raise ProbeFailed("answered a frame that is no 'pong'")
        return first & 0x0F, self._read(second)

    def _read(self, count: int) -> bytes:
        data = self._reader.read(count)
        if len(data) < count:
            raise ProbeFailed("the connection was closed in place of an answer")
        return data


@contextmanager
def _connected(target: Target) -> Iterator[_Stream]:
    """A connection to the target; whatever goes wrong with it is :exc:`ProbeFailed`."""
    deadline = time.monotonic() + target.timeout
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(_connect(target, deadline))
            if target.is_secure:
                connection.settimeout(_left(deadline))
                connection = stack.enter_context(_encrypted(connection, target))
            yield _Stream(connection, deadline)
    except ProbeFailed as failure:
        raise ProbeFailed(f"{target}: {failure}") from None
    except TimeoutError as error:
        raise ProbeFailed(f"{target}: no answer within {target.timeout:g} s") from error
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        reason = printable(error) or type(error).__name__
        raise ProbeFailed(f"{target}: {reason}") from error


def _connect(target: Target, deadline: float) -> socket.socket:
    """A connection to the first of the host's addresses that takes one."""
    port = target.parts.port or _PORTS[target.parts.scheme]
    found = socket.getaddrinfo(target.parts.hostname, port, type=socket.SOCK_STREAM)
    while True:
        *_, address = found.pop(0)
        try:
            return socket.create_connection((str(address[0]), port), _left(deadline))
        except OSError:
            if not found:
                raise


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _encrypted(connection: socket.socket, target: Target) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    if target.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    name = urlsplit(f"//{target.host}").hostname if target.host else target.parts.hostname
    return context.wrap_socket(connection, server_hostname=name)


def _check_handshake(response: http.client.HTTPResponse, key: str) -> None:
    """What a client must check (RFC 6455, section 4.1)."""
    if response.status != 101:
        raise ProbeFailed(f"the handshake was refused: {_status(response)}")
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    tokens = [token.strip().lower() for token in response.getheader("Connection", "").split(",")]
    wrong = {
        "Upgrade": response.getheader("Upgrade", "").lower() != "websocket",
        "Connection": "upgrade" not in tokens,
        "Sec-WebSocket-Accept": response.getheader("Sec-WebSocket-Accept", "").strip()
        != base64.b64encode(digest).decode("ascii"),
        "Sec-WebSocket-Extensions": response.getheader("Sec-WebSocket-Extensions") is not None,
        "Sec-WebSocket-Protocol": response.getheader("Sec-WebSocket-Protocol") is not None,
    }
    for header, is_wrong in wrong.items():
        if is_wrong:
            raise ProbeFailed(f"the handshake's answer has a wrong {header}")


def _status(response: http.client.HTTPResponse) -> str:
    return printable(f"{response.status} {response.reason}".strip(), 100)


def _explanation(response: http.client.HTTPResponse) -> str:
    """Where it redirects to, or which checks fail, if the answer says so."""
    location = response.getheader("Location")
    if location and 300 <= response.status < 400:
        return f" to {printable(location.partition('?')[0])}"
    try:
        checks = json.loads(response.read(_BODY_LIMIT))["checks"]
        failing = [f"{name}: {found['error']}" for name, found in checks.items() if not found["ok"]]
    except (ValueError, LookupError, TypeError, AttributeError, OSError, http.client.HTTPException):
        return ""
    return f" ({printable('; '.join(failing), 500)})" if failing else ""


def _shown(opcode: int, payload: bytes) -> str:
    if opcode == _CLOSE:
        code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else "no code"
        reason = printable(payload[2:].decode("utf-8", "replace"))
        return f"a close with {code}{f' ({reason})' if reason else ''}"
    return f"a frame of {len(payload)} bytes"
