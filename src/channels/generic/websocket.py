"""Consumers for WebSockets: sync and async, plain and JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from asgiref.sync import async_to_sync

from .._runtime.faults import blame_client
from .._runtime.kinds import call, refuse_plain
from .._runtime.types import Message, any_arguments, any_name
from ..consumer import AsyncConsumer, SyncConsumer, framework
from ..db import aclose_old_connections  # tests replace it here, to keep what is open
from ..exceptions import (
    AcceptConnection,
    DenyConnection,
    InvalidChannelLayerError,  # noqa: F401 - projects import it from here
    StopConsumer,
)
from ..messages.declarations import Declaration, declarations
from ..messages.refusals import malformed
from ._declared import areceive_declared, arefuse, receive_declared, refuse
from ._frames import (
    INVALID_PAYLOAD,
    UNSUPPORTED_DATA,
    accept_message,
    binary_where_text_expected,
    close_message,
    decode_json,
    encode_json,
    received_data,
    send_message,
    unencodable,
    unwanted,
)
from ._groups import join_groups, leave_groups, own_groups
from ._last import dispatch_last

__all__ = [
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "JsonWebsocketConsumer",
    "WebsocketConsumer",
    "aclose_old_connections",
]

_EVENTS = ("websocket_connect", "websocket_disconnect", "websocket_receive")


@framework(*_EVENTS)
class WebsocketConsumer(SyncConsumer):
    """A WebSocket, handled by plain methods that run in a thread.

    Override :meth:`connect`, :meth:`receive` and :meth:`disconnect`.
    """

    #: Groups to join before ``connect()``; they are left when the socket has closed.
    groups: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own_groups(self)

    @any_name
    def websocket_connect(self, message: Any) -> None:
        """Join :attr:`groups` and call :meth:`connect`."""
        if self.groups:
            async_to_sync(join_groups)(self)
        try:
            call(self, "connect")
        except AcceptConnection:
            self.accept()
        except DenyConnection:
            self.close()

    def connect(self) -> None:
        """Called when a client wants to connect. Accepts it.

        Override it to decide: call :meth:`accept` or :meth:`close`, or raise
        :exc:`~channels.exceptions.AcceptConnection` or :exc:`~channels.exceptions.DenyConnection`.
        """
        self.accept()

    def accept(
        self,
        subprotocol: str | None = None,
        headers: "Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None" = None,
    ) -> None:
        """Accept the connection, with one of the subprotocols that the client offered."""
        super().send(accept_message(self, subprotocol, headers))

    @any_name
    def websocket_receive(self, message: Any) -> None:
        """Call :meth:`receive` with the text or the bytes of a frame."""
        data = received_data(message)
        try:
            call(self, "receive", **data)
        except TypeError as error:
            if unwanted(self.receive, data):
                blame_client(error, UNSUPPORTED_DATA)
            raise

    @any_arguments
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Called with each frame from the client, either its text or its bytes. Override it."""

    def send(  # type: ignore[override]
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: "bool | int" = False,
    ) -> None:
        """Send a frame of text or bytes, and then close the socket if ``close`` is true or a code.

        Raises:
            ValueError: there is neither text nor bytes.
        """
        if type(text_data) is str and text_data.isascii():
            super().send({"type": "websocket.send", "text": text_data})
        else:
            super().send(send_message(text_data, bytes_data))
        if close:
            self.close(close)

    def close(self, code: "int | bool | None" = None, reason: str | None = None) -> None:
        """Close the socket with a code and a reason, or refuse it if it was not accepted."""
        super().send(close_message(code, reason))

    @any_name
    def websocket_disconnect(self, message: Any) -> None:
        """Leave :attr:`groups` and call :meth:`disconnect`."""
        if self.groups:
            async_to_sync(leave_groups)(self)
        call(self, "disconnect", message["code"])
        raise StopConsumer

    @any_name
    def disconnect(self, code: int) -> None:
        """Called exactly once when the socket has closed, for whatever reason. Override it."""

    async def _channels_dispatch_last(self, message: Message) -> None:
        await dispatch_last(self, message, message["code"])


@framework()
class _Declaring:
    """What both JSON consumers have: which messages they accept, and how many they refuse."""

    #: Messages that may be refused within a minute before the socket is closed, with 1008, 4401 or
    #: 4403; 0 closes it with the first, None never does. Counts where messages are declared.
    max_refused_messages: int | None = 60

    _channels_refused_messages = (float("-inf"), 0)  # since when, and how many
    _channels_refused_too_many = False

    @classmethod
    def message_types(cls) -> tuple[Declaration, ...]:
        """What clients may send, as declared by :func:`~channels.messages.accepts`."""
        return tuple(declarations(cls).values())


@framework("receive_json", "send_json")
class JsonWebsocketConsumer(_Declaring, WebsocketConsumer):
    """A WebSocket whose text frames are JSON."""

    @any_arguments
    def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Decode a frame and call :meth:`receive_json`."""
        if text_data is None:
            raise binary_where_text_expected()
        try:
            content = call(self, "decode_json", text_data)
        except (ValueError, RecursionError) as error:  # the latter: brackets nested too deeply
            if declarations(type(self)):
                refuse(self, malformed(), None, None)
                return
            blame_client(error, INVALID_PAYLOAD)
            raise
        call(self, "receive_json", content, **kwargs)

    @any_arguments
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Called with the decoded content of each frame. Override it, or declare messages.

        By default, it gives what :func:`~channels.messages.accepts` declares to its handler.
        """
        if declarations(type(self)):
            receive_declared(self, content)

    def send_json(self, content: Any, close: "bool | int" = False) -> None:
        """Encode ``content`` and send it as text."""
        super().send(text_data=call(self, "encode_json", content), close=close)

    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        """The content of ``text_data``; ``ValueError`` if it is no JSON, or none to pass on."""
        return decode_json(text_data)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """``content`` as JSON text; ``ValueError`` for NaN and infinite floats."""
        try:
            return encode_json(content)
        except ValueError as error:
            raise unencodable(error) from None


@framework(*_EVENTS)
class AsyncWebsocketConsumer(AsyncConsumer):
    """A WebSocket, handled by coroutines.

    Override :meth:`connect`, :meth:`receive` and :meth:`disconnect`.
    """

    #: Groups to join before ``connect()``; they are left when the socket has closed.
    groups: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own_groups(self)

    @any_name
    async def websocket_connect(self, message: Any) -> None:
        """Join :attr:`groups` and call :meth:`connect`."""
        if self.groups:
            await join_groups(self)
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except DenyConnection:
            await self.close()
        except TypeError as error:
            refuse_plain(self, "connect", error)
            raise

    async def connect(self) -> None:
        """Called when a client wants to connect. Accepts it.

        Override it to decide: call :meth:`accept` or :meth:`close`, or raise
        :exc:`~channels.exceptions.AcceptConnection` or :exc:`~channels.exceptions.DenyConnection`.
        """
        await self.accept()

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: "Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None" = None,
    ) -> None:
        """Accept the connection, with one of the subprotocols that the client offered."""
        await super().send(accept_message(self, subprotocol, headers))

    @any_name
    async def websocket_receive(self, message: Any) -> None:
        """Call :meth:`receive` with the text or the bytes of a frame."""
        data = received_data(message)
        try:
            await self.receive(**data)
        except TypeError as error:
            refuse_plain(self, "receive", error)
            if unwanted(self.receive, data):
                blame_client(error, UNSUPPORTED_DATA)
            raise

    @any_arguments
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Called with each frame from the client, either its text or its bytes. Override it."""

    async def send(  # type: ignore[override]
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: "bool | int" = False,
    ) -> None:
        """Send a frame of text or bytes, and then close the socket if ``close`` is true or a code.

        Raises:
            ValueError: there is neither text nor bytes.
        """
        if type(text_data) is str and text_data.isascii():
            await self.base_send({"type": "websocket.send", "text": text_data})
        else:
            await self.base_send(send_message(text_data, bytes_data))
        if close:
            await self.close(close)

    async def close(self, code: "int | bool | None" = None, reason: str | None = None) -> None:
        """Close the socket with a code and a reason, or refuse it if it was not accepted."""
        await super().send(close_message(code, reason))

    @any_name
    async def websocket_disconnect(self, message: Any) -> None:
        """Leave :attr:`groups` and call :meth:`disconnect`."""
        if self.groups:
            await leave_groups(self)
        try:
            await self.disconnect(message["code"])
        except TypeError as error:
            refuse_plain(self, "disconnect", error)
            raise
        raise StopConsumer

    @any_name
    async def disconnect(self, code: int) -> None:
        """Called exactly once when the socket has closed, for whatever reason. Override it."""

    async def _channels_dispatch_last(self, message: Message) -> None:
        await dispatch_last(self, message, message["code"])


@framework("receive_json", "send_json")
class AsyncJsonWebsocketConsumer(_Declaring, AsyncWebsocketConsumer):
    """A WebSocket whose text frames are JSON."""

    @any_arguments
    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Decode a frame and call :meth:`receive_json`."""
        if text_data is None:
            raise binary_where_text_expected()
        try:
            content = await self.decode_json(text_data)
        except (ValueError, RecursionError) as error:  # the latter: brackets nested too deeply
            if declarations(type(self)):
                await arefuse(self, malformed(), None, None)
                return
            blame_client(error, INVALID_PAYLOAD)
            raise
        except TypeError as error:
            refuse_plain(self, "decode_json", error)
            raise
        try:
            await self.receive_json(content, **kwargs)
        except TypeError as error:
            refuse_plain(self, "receive_json", error)
            raise

    @any_arguments
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Called with the decoded content of each frame. Override it, or declare messages.

        By default, it gives what :func:`~channels.messages.accepts` declares to its handler.
        """
        if declarations(type(self)):
            await areceive_declared(self, content)

    async def send_json(self, content: Any, close: "bool | int" = False) -> None:
        """Encode ``content`` and send it as text."""
        try:
            text = await self.encode_json(content)
        except TypeError as error:
            refuse_plain(self, "encode_json", error)
            raise
        await super().send(text_data=text, close=close)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """The content of ``text_data``; ``ValueError`` if it is no JSON, or none to pass on."""
        return decode_json(text_data)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """``content`` as JSON text; ``ValueError`` for NaN and infinite floats."""
        try:
            return encode_json(content)
        except ValueError as error:
            raise unencodable(error) from None
