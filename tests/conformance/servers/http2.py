"""A client that speaks HTTP/2 over one TCP connection, and WebSockets inside (RFC 8441)."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol, State

__all__ = ["Http2Connection", "Http2Stream"]

DEADLINE = 30.0
RECEIVED = 2**16


class Http2Connection:
    """A connection, as a context manager. Its streams are served by one task that reads."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        #: Whether the server has said that it takes WebSockets; None before it has said anything.
        self.takes_websockets: bool | None = None
        #: The server has closed the connection, or has never spoken HTTP/2.
        self.ended = False
        self._streams: dict[int, Http2Stream] = {}
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
        self.h2.initiate_connection()
        self.flush()
        self._task = asyncio.create_task(self._read())
        await self.until(lambda: self.ended or self.takes_websockets is not None)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        await asyncio.wait((self._task,), timeout=DEADLINE)
        await self._task

    async def open(self, path: str) -> "Http2Stream":
        """Ask for a WebSocket and wait for the answer's status."""
        websocket = {":protocol": "websocket", "sec-websocket-version": "13"}
        return await self._ask("CONNECT", path, websocket, end_stream=False)

    async def get(self, path: str) -> "Http2Stream":
        """Ask for a response and wait for its status."""
        return await self._ask("GET", path, {}, end_stream=True)

    async def _ask(
        self, method: str, path: str, more: dict[str, str], *, end_stream: bool
    ) -> "Http2Stream":
        number = self.h2.get_next_available_stream_id()
        self._streams[number] = stream = Http2Stream(self, number, is_socket=bool(more))
        host = f"{self.host}:{self.port}"
        headers = {":method": method, ":scheme": "http", ":path": path, ":authority": host} | more
        self.h2.send_headers(number, list(headers.items()), end_stream=end_stream)
        self.flush()
        await self.until(lambda: stream.status is not None or stream.ended)
        return stream

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something that the server has sent makes ``condition()`` true."""
        async with asyncio.timeout(DEADLINE), self._changed:
            await self._changed.wait_for(condition)

    def flush(self) -> None:
        """Write what there is to send."""
        self._writer.write(self.h2.data_to_send())

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(RECEIVED):
                for event in self.h2.receive_data(data):
                    self._handle(event)
                self.flush()
                async with self._changed:
                    self._changed.notify_all()
        except (ConnectionError, ProtocolError):
            pass  # it does not speak HTTP/2
        self.ended = True
        for stream in self._streams.values():
            stream.ended = True
        async with self._changed:
            self._changed.notify_all()

    def _handle(self, event: Any) -> None:
        match event:
            case RemoteSettingsChanged(changed_settings=settings):
                changed = settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
                self.takes_websockets = bool(changed and changed.new_value)
            case ResponseReceived(stream_id=stream, headers=headers):
                self._streams[stream].status = int(dict(headers)[":status"])
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self.h2.acknowledge_received_data(length, stream)
                self._streams[stream].feed(data)
            case StreamEnded(stream_id=stream) | StreamReset(stream_id=stream):
                self._streams[stream].ended = True
            case ConnectionTerminated():
                self.ended = True


class Http2Stream:
    """A WebSocket in one stream of a connection, or a response."""

    def __init__(self, connection: Http2Connection, number: int, *, is_socket: bool) -> None:
        self.connection, self.number, self.is_socket = connection, number, is_socket
        #: The status of the answer.
        self.status: int | None = None
        #: The body of the answer, if it is no WebSocket.
        self.body = b""
        #: The server has ended the stream.
        self.ended = False
        self._protocol = Protocol(CLIENT, state=State.OPEN, max_size=None)
        self._messages: list[str | bytes] = []

    @property
    def close_code(self) -> int | None:
        """The code of the server's close frame."""
        received = self._protocol.close_rcvd
        return None if received is None else int(received.code)

    def feed(self, data: bytes) -> None:
        """Take what the server has sent."""
        if not self.is_socket or self.status != 200:
            self.body += data
            return
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                whole = bytes(frame.data)
                self._messages.append(whole.decode() if frame.opcode is Opcode.TEXT else whole)
            elif frame.opcode is Opcode.CLOSE:
                self._write_soon()

    def _write_soon(self) -> None:
        for data in self._protocol.data_to_send():
            if data and not self.ended:
                self.connection.h2.send_data(self.number, data)

    async def send(self, message: str | bytes) -> None:
        """Send a message, as fast as the server's flow control allows."""
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        await self._write()

    async def recv(self) -> str | bytes:
        """The next message."""
        await self.connection.until(lambda: self._messages or self.ended)
        return self._messages.pop(0)

    async def close(self, code: int) -> None:
        """Say goodbye, and wait for the end of the stream."""
        self._protocol.send_close(code)
        await self._write()
        await self.connection.until(lambda: self.ended)

    def reset(self) -> None:
        """Break the stream, and leave the connection open for others."""
        self.connection.h2.reset_stream(self.number)
        self.connection.flush()

    async def _write(self) -> None:
        h2 = self.connection.h2
        data = b"".join(self._protocol.data_to_send())
        while data:
            await self.connection.until(lambda: h2.local_flow_control_window(self.number) > 0)
            size = min(h2.local_flow_control_window(self.number), h2.max_outbound_frame_size)
            h2.send_data(self.number, data[:size])
            self.connection.flush()
            data = data[size:]
