"""Driving an HTTP application from a test."""

# ruff: noqa: ASYNC109 (the timeout arguments belong to the well-known interface)

from collections.abc import Collection
from typing import Any

from .application import ApplicationCommunicator, Response, split_path

__all__ = ["HttpCommunicator"]


class HttpCommunicator(ApplicationCommunicator):
    """Sends one HTTP request to an application and collects its response.

    For responses that never end (server-sent events, long polling) use ``send_input`` and
    ``receive_output`` instead of :meth:`get_response`.

    Args:
        application: an ASGI application, or a consumer class.
        method: the HTTP method.
        path: the path, quoted as in a URL, with an optional query string.
        body: the request's body.
        headers: pairs of bytes, names in lower case.
    """

    def __init__(
        self,
        application: Any,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Collection[tuple[bytes, bytes]] | None = None,
    ) -> None:
        if not isinstance(method, str):
            raise TypeError(f"The method must be a str, not {type(method).__name__}.")
        if not isinstance(body, bytes):
            raise TypeError(f"The body must be bytes, not {type(body).__name__}.")
        path, query_string = split_path(path)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method.upper(),
            "path": path,
            "query_string": query_string,
            "headers": headers if headers is not None else [],
        }
        super().__init__(application, scope)
        self.body = body
        self._response: Response | None = None

    async def get_response(self, timeout: float = 1) -> Response:
        """Send the request, and return the response once it is complete.

        Called again, it returns the same response.

        Args:
            timeout: seconds to wait for each event of the response, and then for the application
                to end. One that does not end is cancelled.

        Raises:
            TimeoutError: the application did not send all of its response.
            AssertionError: the application sent something that is no HTTP response.
            Exception: what the application raised, if it has.
        """
        if self._response is None:
            await self.send_input({"type": "http.request", "body": self.body})
            start = await self._expect(timeout, "http.response.start")
            self._response = await self._read_response(start, timeout)
            await self.send_input({"type": "http.disconnect"})
            await self.wait(timeout)
        return self._response
