"""Server-sent events as bytes (HTML standard, section 9.2), and what keeps a stream alive."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable

from .._runtime import timers
from .._runtime.backstage import untold

__all__ = ["COMMENT", "HEADERS", "Comments", "encode_event", "encode_retry"]

#: A comment, which keeps a connection alive and is no event.
COMMENT = b":\n\n"

#: No cache keeps it, no proxy changes it (``no-transform``: or compresses it, which may buffer it),
#: and nginx does not buffer it (its documentation of ``proxy_buffering``).
HEADERS: list[tuple[bytes, bytes]] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

# What ends a line of the format. Python's own splitlines() knows others, which are content here.
_LINE_ENDS = re.compile("\r\n|\r|\n")


def encode_event(data: str, event: str | None = None, id: str | None = None) -> bytes:  # noqa: A002
    """One event.

    Args:
        data: its text. What ends a line in it becomes a line feed, as the format has no other.
        event: its type, for ``addEventListener``; ``message`` if there is none.
        id: what a browser sends as ``Last-Event-ID`` when it comes back after this event. An empty
            one makes it forget the last.

    Raises:
        ValueError: ``event`` or ``id`` has a line break, or ``id`` a NUL: browsers ignore those.
    """
    lines = []
    if event is not None:
        lines.append(f"event: {_one_line('event', event)}")
    if id is not None:
        lines.append(f"id: {_one_line('id', id)}")
    lines += [f"data: {line}" for line in _LINE_ENDS.split(data)]
    return ("\n".join(lines) + "\n\n").encode()


def encode_retry(milliseconds: int) -> bytes:
    """Tells a browser how long to wait before it comes back when the stream has ended."""
    return b"retry: %d\n\n" % milliseconds


def _one_line(what: str, text: str) -> str:
    if _LINE_ENDS.search(text) or "\0" in text:
        raise ValueError(f"The {what} of an event must have no line break and no NUL: {text!r}")
    return text


class Comments:
    """Writes a comment every so often, so that no proxy takes the connection for a dead one.

    Args:
        seconds: between two comments; None for none.
        write: sends bytes to the client. What it raises is ignored: the client has gone.
    """

    def __init__(self, seconds: float | None, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._seconds = seconds
        self._write = write
        self._timer: timers.Timer | None = None
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        if self._seconds is not None:
            self._timer = timers.Timer(self._seconds, self._due)

    def stop(self) -> None:
        """Write no more, not even a comment that waits for the client."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _due(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = untold(asyncio.get_running_loop().create_task(self._comment()))
        self.start()

    async def _comment(self) -> None:
        with contextlib.suppress(Exception):
            await self._write(COMMENT)
