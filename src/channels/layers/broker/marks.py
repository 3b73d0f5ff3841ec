"""Marks that a process sends to itself: when one comes, so has all that was sent before it."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable

from ..._runtime import lograte
from .background import Background
from .broadcasting import NOTHING

__all__ = ["Marks"]

logger = logging.getLogger("channels.layers")


class Marks:
    """The marks under way to this process. Belongs to the event loop on which it was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._barriers: dict[bytes, asyncio.Future[None]] = {}
        self._background = Background()

    def __contains__(self, mark: bytes) -> bool:
        return mark in self._barriers

    def __len__(self) -> int:
        return len(self._barriers)

    def new(self) -> "tuple[bytes, asyncio.Future[None]]":
        """A mark that is about to be sent, and the barrier that is done when it has come."""
        mark = b"%b%d" % (NOTHING, next(self._numbers))
        self._barriers[mark] = barrier = self._loop.create_future()
        return mark, barrier

    def send(self, echo: Callable[[bytes], Awaitable[None]]) -> "asyncio.Future[None]":
        """Send a mark.

        Args:
            echo: sends it to this process.

        Returns:
            The barrier, which is done at once if ``echo`` fails. Several callers may wait for it:
            it is to be shielded.
        """
        mark, barrier = self.new()
        self._background.start(self._send(mark, echo))
        return barrier

    async def _send(self, mark: bytes, echo: Callable[[bytes], Awaitable[None]]) -> None:
        try:
            await echo(mark)
        except Exception as error:  # noqa: BLE001 - callers that wait go on
            said = "Nothing can be sent to this process: %s"
            lograte.log(logger, logging.DEBUG, "mark", said, error)
            self.settle(mark)

    def settle(self, mark: bytes) -> bool:
        """A mark has come, or never will; whether one was expected."""
        barrier = self._barriers.pop(mark, None)
        if barrier is None:
            return False
        if not barrier.done():
            barrier.set_result(None)
        return True

    def settle_all(self) -> None:
        """The connection is no more: no mark comes."""
        for mark in list(self._barriers):
            self.settle(mark)

    def cancel(self) -> None:
        """Send nothing any more."""
        self._background.cancel()
