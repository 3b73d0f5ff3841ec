"""Named channels that callers look into when the broker says that there may be something.

For brokers that hand out a message when they are asked for one, such as databases.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from ..._runtime import timers
from ...exceptions import BrokerUnavailable

__all__ = ["Polling", "Starts"]

T = TypeVar("T")
_T = TypeVar("_T")

# Seconds after which a caller looks, although it was not told to.
_LOOK = 5.0


class Starts(Protocol):
    """Such as a :class:`~.link.Link`."""

    def start(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Do something to its end. To be awaited shielded."""


class Polling(Generic[T]):
    """The callers of this process that wait for messages of named channels.

    Args:
        ready: awaited before each look: from then on this process is told of messages.
        get_link: what the running event loop asks the broker with.
        take: takes the next message of a channel from the broker, if there is one.
        give_back: lets others have a message that was taken for a caller that was cancelled.
    """

    def __init__(
        self,
        ready: Callable[[], Awaitable[object]],
        get_link: Callable[[], Starts],
        take: Callable[[str], Coroutine[Any, Any, T | None]],
        give_back: Callable[[str, T], Awaitable[object]],
    ) -> None:
        self._ready, self._get_link = ready, get_link
        self._take, self._give_back = take, give_back
        # What wakes the callers, by channel.
        self._bells: dict[str, list[Callable[[], object]]] = {}
        # What is being given back, by event loop and channel.
        self._returns: dict[tuple[Any, str], set[asyncio.Task[None]]] = {}
        # How often the layer has been closed.
        self._ends = 0

    def __bool__(self) -> bool:
        """Whether somebody waits."""
        return bool(self._bells)

    async def receive(self, channel: str) -> T:
        """The next message of a channel, which nobody else gets. A cancelled call loses none.

        Raises:
            BrokerUnavailable: the layer has been closed meanwhile.
        """
        ends, news = self._ends, asyncio.Event()
        bell = partial(asyncio.get_running_loop().call_soon_threadsafe, news.set)
        self._bells.setdefault(channel, []).append(bell)
        try:
            while True:
                await self._ready()
                news.clear()
                message = await self._try_to_take(channel)
                if message is not None:
                    return message
                with contextlib.suppress(TimeoutError):
                    async with timers.timeout(_LOOK):
                        await news.wait()
                if self._ends != ends:
                    raise BrokerUnavailable("The layer has been closed")
        finally:
            self._bells[channel].remove(bell)
            if not self._bells[channel]:
                del self._bells[channel]

    async def _try_to_take(self, channel: str) -> T | None:
        link, where = self._get_link(), (asyncio.get_running_loop(), channel)
        while returns := self._returns.get(where):  # what comes back is to be taken first
            await asyncio.wait(returns)
        taking = link.start(self._take(channel))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            returning = link.start(self._return(channel, taking))
            self._returns.setdefault(where, set()).add(returning)
            returning.add_done_callback(partial(self._returned, where))
            raise

    def _returned(self, where: tuple[Any, str], returning: "asyncio.Task[None]") -> None:
        self._returns[where].discard(returning)
        if not self._returns[where]:
            del self._returns[where]

    async def _return(self, channel: str, taking: "asyncio.Task[T | None]") -> None:
        message = await taking
        if message is not None:
            await self._give_back(channel, message)

    def look(self, channel: str | None = None) -> None:
        """Let the callers of a channel, or all, look whether there is something. In any thread."""
        found = list(self._bells.values()) if channel is None else [self._bells.get(channel, [])]
        for bells in found:
            for bell in list(bells):
                with contextlib.suppress(RuntimeError):  # that event loop has been closed
                    bell()

    def close(self) -> None:
        """The layer is closed: those who wait get an error."""
        self._ends += 1
        self.look()
