"""Channels on a connection to RabbitMQ, with a deadline for every answer.

RabbitMQ may leave a call without an answer for a minute, as when a quorum queue has no leader, or
for ever, as when its process stands still. And aiormq waits for it as long as the connection holds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from aiormq.abc import AbstractConnection
from aiormq.channel import Channel

from ..._runtime import backstage, timers
from ..._runtime.backstage import ignore_failure

__all__ = ["Link", "close", "open_link"]

_T = TypeVar("_T")

# Seconds for RabbitMQ to answer that something is to be closed.
_CLOSING = 1.0


class Link:
    """An open connection, or one more channel on it. See :func:`open_link` and :meth:`branch`.

    Args:
        connection: what aiormq has opened.
        channel: on it.
        patience: seconds for which each answer is awaited.
        trunk: the link of the connection, if this is a branch of it.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        channel: Channel,
        patience: float,
        trunk: "Link | None" = None,
    ) -> None:
        self._connection, self._patience, self._trunk = connection, patience, trunk
        self._turn = asyncio.Lock()
        self._answers: set[asyncio.Future[Any]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        #: For calls, and for what is published: the broker confirms it.
        self.channel = channel
        #: Done when the link can be used no more, with the reason as its exception.
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = channel.closing
        self._closed.add_done_callback(self._end_with)
        if trunk is not None:
            trunk.over.add_done_callback(self._end_with)

    @property
    def version(self) -> int:
        """The first number of RabbitMQ's version; 0 if it is another broker's, or none."""
        version = str(self._connection.server_properties.get("version"))
        number = version.partition(".")[0]
        return int(number) if number.isdecimal() else 0

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not (self.over.done() or self.channel.is_closed)

    def reason(self) -> Exception:
        """What has ended it."""
        return _reason(self.over)

    def _require_open(self) -> None:
        if self.over.done():
            raise ConnectionError("the connection was closed") from self.reason()

    # Calls

    async def ask(self, call: Callable[[Channel], Awaitable[_T]]) -> _T:
        """Call on the channel when it is this call's turn, and await the answer.

        The call goes on if the caller is cancelled: aiormq closes the channel of one that is
        cancelled in the middle, and others use it too.

        Args:
            call: is given the channel.

        Raises:
            TimeoutError: there was no answer in time. The link is given up.
            Exception: what RabbitMQ or aiormq answers, or why the link has ended.
        """
        self._require_open()  # the turn of a call would never come
        return await self._answer(self._in_turn(call))

    async def _in_turn(self, call: Callable[[Channel], Awaitable[_T]]) -> _T:
        async with self._turn:  # the time of a call does not begin before
            self._require_open()
            return await self._timed(call(self.channel))

    async def _timed(self, call: Awaitable[_T]) -> _T:
        timer = timers.Timer(self._patience, self._give_up, asyncio.current_task())
        try:
            return await call
        finally:
            timer.cancel()

    async def _answer(self, call: Awaitable[_T]) -> _T:
        """Await a call, or the end of a link that was given up."""
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        asyncio.ensure_future(call).add_done_callback(partial(_pass_on, answer))
        self._answers.add(answer)
        try:
            return await answer
        finally:
            self._answers.discard(answer)

    async def branch(self) -> "Link":
        """Open one more channel, on which calls wait for no other.

        Raises:
            TimeoutError: there was no answer in time. This link is given up.
        """
        channel = await self._answer(self._timed(_open(self._connection)))
        return Link(self._connection, channel, self._patience, self)

    async def apart(self, call: Callable[[Channel], Awaitable[_T]]) -> _T:
        """Call on a channel of its own what may be refused: that closes the channel.

        Args:
            call: is given the channel.

        Raises:
            TimeoutError: there was no answer in time.
            Exception: what RabbitMQ answers.
        """
        branch = await self.branch()
        try:
            return await branch.ask(call)
        finally:
            closing = backstage.start(branch.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    # The end

    def _give_up(self, call: "asyncio.Task[object] | None") -> None:
        """A call has no answer. What follows it on the channel would have none either."""
        if not self.over.done():
            self._end(TimeoutError(f"RabbitMQ has not answered for {self._patience:g} seconds"))
            backstage.start(self.aclose())
        if call is not None:  # pragma: no branch - timers of calls are set in tasks
            call.cancel()

    def _end_with(self, ended: "asyncio.Future[None]") -> None:
        self._end(_reason(ended))

    def _end(self, reason: Exception) -> None:
        if self.over.done():
            return
        self.over.set_exception(reason)
        self.over.exception()  # nobody has to look
        if isinstance(reason, TimeoutError):  # aiormq ends the calls of all others
            for answer in self._answers:
                if not answer.done():  # pragma: no branch - it was cancelled in this very turn
                    answer.set_exception(reason)
        self._closed.remove_done_callback(self._end_with)
        if self._trunk is not None:
            self._trunk.over.remove_done_callback(self._end_with)

    async def aclose(self) -> None:
        """Close the connection, or the channel if it is a branch, without an error."""
        if self._closing:
            await asyncio.wait(self._closing)
        await close(self._connection if self._trunk is None else self.channel)
        self._end(ConnectionError("the connection was closed"))


async def open_link(connection: AbstractConnection, patience: float) -> Link:
    """Open a channel on a new connection.

    Args:
        connection: what aiormq has opened.
        patience: seconds for which each answer is awaited.
    """
    return Link(connection, await _open(connection), patience)


async def _open(connection: AbstractConnection) -> Channel:
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    if not isinstance(channel, Channel):  # pragma: no cover - aiormq has no other
        raise TypeError(f"aiormq has channels of an unknown kind: {channel!r}")
    return channel


async def close(what: AbstractConnection | Channel) -> None:
    """Close a connection or a channel, without an error, and without waiting for long."""
    closing = asyncio.ensure_future(what.close())
    await asyncio.wait((closing,), timeout=_CLOSING)
    closing.cancel()
    closing.add_done_callback(ignore_failure)


def _reason(ended: "asyncio.Future[None]") -> Exception:
    error = None if ended.cancelled() else ended.exception()
    return error if isinstance(error, Exception) else ConnectionError("the connection was closed")


def _pass_on(answer: "asyncio.Future[_T]", call: "asyncio.Future[_T]") -> None:
    """Tell the caller, unless it has gone."""
    if answer.done():
        ignore_failure(call)
    elif call.cancelled():  # that is how aiormq ends calls whose connection breaks
        answer.set_exception(ConnectionError("the connection was closed"))
    elif (error := call.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(call.result())
