"""A connection of one event loop, made when it is needed and again when it is needed later."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from ..._runtime import backstage, timers
from ..._runtime.clock import now
from ...exceptions import BrokerUnavailable
from ..broker.receiver import patiently
from ..broker.reconnecting import Reconnector, backoff
from .connecting import explain, is_transient

__all__ = ["Line"]


class _Opened(Protocol):
    """Such as a :class:`~.connecting.Link`."""

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""

    async def aclose(self) -> None:
        """Close it, without an error."""


_C = TypeVar("_C", bound=_Opened)

# Seconds that a connection has to hold to be made anew at once. Others break since something that
# is sent over them is refused, again and again.
_SHORT = 5.0


class Line(Generic[_C]):
    """Belongs to the event loop on which it was made.

    Args:
        name: where it leads, for the log.
        purpose: what for, such as "sending".
        connect: makes a connection.
    """

    def __init__(self, name: str, purpose: str, connect: Callable[[], Awaitable[_C]]) -> None:
        self._connect = connect
        self._reconnector = Reconnector(name, purpose, is_transient, explain)
        #: The connection, if it is there. It may have broken.
        self.link: _C | None = None
        self._opening: asyncio.Future[_C] | None = None
        # When it was made, and how many in a row broke soon after that.
        self._made_at, self._short = 0.0, 0
        self._callers = 0
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> _C:
        """An open connection.

        Raises:
            BrokerUnavailable: there was none for long.
            BrokerError: RabbitMQ refuses.
        """
        link = self.link
        if link is not None and link.is_open:
            return link
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = backstage.start(self._reconnector.run(self._attempt))
        self._callers += 1
        try:
            return await patiently(asyncio.shield(self._opening))
        finally:
            self._callers -= 1

    async def _attempt(self) -> bool:
        """Connect; whether another attempt is needed."""
        opening = self._opening
        if not self._callers or opening is None or opening.done():
            return False
        if self.link is not None:
            self._short = self._short + 1 if now() - self._made_at < _SHORT else 0
            await self._let_go()
            if self._short:
                await timers.sleep(backoff(self._short))
        try:
            link = await self._connect()
        except Exception as error:
            if not is_transient(error):
                opening.set_exception(explain(error))
                opening.exception()  # the callers may have gone
            raise
        self.link, self._made_at = link, now()
        self._reconnector.works()
        opening.set_result(link)
        return False

    async def _let_go(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            await link.aclose()

    def abandon(self) -> None:
        """Disconnect without the event loop, which has been closed."""
        self.link = None

    async def aclose(self) -> None:
        """Disconnect. Callers that wait for a connection get an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=1)
        if self._opening is not None and not self._opening.done():
            self._opening.set_exception(BrokerUnavailable("The layer has been closed"))
            self._opening.exception()
        with contextlib.suppress(Exception):
            await self._let_go()
