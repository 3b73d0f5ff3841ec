"""Transports that ask the broker over one link per event loop, also for named channels."""

import asyncio
from abc import abstractmethod
from typing import Any, Generic, TypeVar

from ..._runtime.per_loop import PerLoop
from .broadcasting import Broadcasting, BroadcastReader
from .link import Link
from .polling import Polling
from .transport import Recipient

__all__ = ["Linked"]

R = TypeVar("R", bound=BroadcastReader)
L = TypeVar("L", bound=Link[Any])
T = TypeVar("T")


class Linked(Broadcasting[R], Generic[R, L, T]):
    """A transport with links, and with named channels that callers look into.

    A subclass implements the abstract methods here and in :class:`Broadcasting`, sending, and
    ``dequeue()`` with :attr:`named`. Its readers call :meth:`Polling.look`.

    Args:
        recipient: the layer.
    """

    def __init__(self, recipient: Recipient) -> None:
        super().__init__(recipient)
        self._links: PerLoop[L] = PerLoop(self.make_link)
        #: Those who wait for messages of named channels.
        self.named: Polling[T] = Polling(self.ready, self._links.get, self.take, self.give_back)

    # For subclasses to implement

    @abstractmethod
    def make_link(self) -> L:
        """What the running event loop asks the broker with."""

    @abstractmethod
    async def take(self, channel: str) -> T | None:
        """Take the next message of a named channel from the broker, if there is one."""

    @abstractmethod
    async def give_back(self, channel: str, message: T) -> None:
        """Let others have, before the rest, what was taken for a caller that was cancelled."""

    # What is left of a transport

    @property
    def link(self) -> L:
        """What the running event loop asks the broker with."""
        return self._links.get()

    def is_needed(self) -> bool:
        """Whether messages would be lost, or late, while this process does not listen."""
        return bool(self.named) or super().is_needed()

    async def stop_receiving(self, channel: str) -> None:
        """Wait until what was taken in vain is given back. Nothing else is kept here."""
        link = self._links.peek()
        if link is not None:
            await link.finish()

    async def rest(self) -> None:
        """Close the connections of the running event loop that nobody here needs."""
        await self.receiver.rest()
        link = self._links.peek()
        if link is not None:
            await link.rest()

    def connected_loops(self) -> set[asyncio.AbstractEventLoop]:
        """The event loops that have links."""
        return {loop for loop, _ in self._links.all()}

    async def close_connections(self) -> None:
        """Tell those who wait, and close the link of the running event loop."""
        self.named.close()
        await self._links.aclose()
