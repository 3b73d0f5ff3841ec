"""Driving a WebSocket application from a test."""

# ruff: noqa: ASYNC109 (the timeout arguments belong to the well-known interface)

import asyncio
import json
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Any, Self

from .application import ApplicationCommunicator, Response, split_path

__all__ = ["WebsocketCommunicator"]


class WebsocketCommunicator(ApplicationCommunicator):
    """The client's side of one WebSocket.

    ::

        communicator = WebsocketCommunicator(application, "/ws/chat/lobby/")
        connected, subprotocol = await communicator.connect()
        await communicator.send_to(text_data="hello")
        assert await communicator.receive_from() == "hello"
        await communicator.disconnect()

    As an asynchronous context manager it connects, and fails the test if it is refused, and
    disconnects at the end::

        async with WebsocketCommunicator(application, "/ws/chat/lobby/") as communicator:
            await communicator.send_to(text_data="hello")

    Attributes:
        response_headers: the headers with which the application answered the handshake, as it
            gave them.
        denial: the complete HTTP response with which it refused the handshake, else None.

    Args:
        application: an ASGI application, or a consumer class.
        path: the path, quoted as in a URL, with an optional query string.
        headers: pairs of bytes, names in lower case.
        subprotocols: what the client offers, in its order of preference. The headers are what
            ``headers`` says, without this offer.
        spec_version: put into the scope under this name, when given.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        headers: Collection[tuple[bytes, bytes]] | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: str | None = None,
    ) -> None:
        path, query_string = split_path(path)
        headers = headers if headers is not None else []
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": query_string,
            "headers": headers,
            "subprotocols": list(subprotocols or []),
        }
        if spec_version is not None:
            scope["spec_version"] = spec_version
        super().__init__(application, scope)
        self.response_headers: list[tuple[bytes, bytes]] | None = None
        self.denial: Response | None = None

    async def connect(self, timeout: float = 1) -> tuple[bool, str | int | None]:
        """Ask the application to accept the WebSocket.

        Args:
            timeout: seconds to wait for its answer.

        Returns:
            ``(True, subprotocol)`` when it accepted, with None for no subprotocol;
            ``(False, code)`` when it closed, with 1000 for no code;
            ``(False, status)`` when it refused with an HTTP response, which is then in ``denial``.
            Status codes are below 1000, close codes are not. Applications refuse that way only
            when ``scope["extensions"]`` has ``"websocket.http.response"``, which a test adds.

        Raises:
            TimeoutError: no answer came in time.
            AssertionError: the application sent something that is no answer.
            Exception: what the application raised, if it has.
        """
        await self.send_input({"type": "websocket.connect"})
        answer = await self._expect(
            timeout, "websocket.accept", "websocket.close", "websocket.http.response.start"
        )
        if answer["type"] == "websocket.close":
            code: int = answer.get("code", 1000)
            return False, code
        self.response_headers = list(answer.get("headers") or [])
        if answer["type"] == "websocket.accept":
            subprotocol: str | None = answer.get("subprotocol")
            return True, subprotocol
        self.denial = await self._read_response(answer, timeout)
        return False, self.denial["status"]

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send one frame: text or bytes, exactly one of them.

        Raises:
            TypeError: both, neither, or the wrong type was given.
            Exception: what the application raised, if it has.
        """
        if (text_data is None) == (bytes_data is None):
            raise TypeError("Give exactly one of text_data and bytes_data.")
        if text_data is not None:
            if not isinstance(text_data, str):
                raise TypeError(f"text_data must be a str, not {type(text_data).__name__}.")
            await self.send_input({"type": "websocket.receive", "text": text_data})
        else:
            if not isinstance(bytes_data, bytes):
                raise TypeError(f"bytes_data must be bytes, not {type(bytes_data).__name__}.")
            await self.send_input({"type": "websocket.receive", "bytes": bytes_data})

    async def send_json_to(self, data: Any) -> None:
        """Send ``data`` as JSON in a text frame."""
        await self.send_to(text_data=json.dumps(data))

    async def receive_from(self, timeout: float | None = 1) -> str | bytes:
        """Return the data of the next frame: ``str`` from a text frame, else ``bytes``.

        Args:
            timeout: seconds to wait; None waits without limit.

        Raises:
            TimeoutError: no frame came in time; the application has been cancelled.
            AssertionError: the application sent something else, or a malformed frame.
            Exception: what the application raised, if it has.
        """
        frame = await self._expect(timeout, "websocket.send")
        text, data = frame.get("text"), frame.get("bytes")
        if isinstance(text, str) and data is None:
            return text
        if isinstance(data, bytes) and text is None:
            return data
        raise AssertionError(f"A frame has either a str as text or bytes as bytes, not {frame!r}.")

    async def receive_json_from(self, timeout: float | None = 1) -> Any:
        """Return what the next frame, a text frame, holds as JSON.

        Arguments and exceptions as :meth:`receive_from`; AssertionError also for a binary frame.
        """
        payload = await self.receive_from(timeout)
        if not isinstance(payload, str):
            raise AssertionError(f"JSON comes in text frames, and this one is binary: {payload!r}.")
        return json.loads(payload)

    async def disconnect(self, code: int = 1000, timeout: float | None = 1) -> None:
        """Close the WebSocket from the client's side and wait for the application to end.

        Does nothing when the application was never started or has already ended.

        Args:
            code: the client's close code.
            timeout: seconds to wait; an application that has not ended by then is cancelled.

        Raises:
            Exception: what the application raised, unless this communicator raised it before.
        """
        if self._future is None or self._error_seen or self._future.cancelled():
            return
        await self.send_input({"type": "websocket.disconnect", "code": code})
        await self.wait(timeout)

    async def __aenter__(self) -> Self:
        connected, code = await self.connect()
        if not connected:
            await self.disconnect()
            raise AssertionError(f"The application refused the WebSocket with {code}.")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.disconnect()
        else:
            # The test's own failure is what matters; the application only has to be gone.
            self.future.cancel()
            await asyncio.wait({self.future})
