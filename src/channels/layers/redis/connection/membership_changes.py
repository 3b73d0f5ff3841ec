"""Memberships of groups that begin and end: many travel as one command, with room for others."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

from ....exceptions import BrokerError
from .commands import CommandConnection

__all__ = ["MembershipChanges"]

# Memberships that one script changes; a server needs about a millisecond for as many.
_CHUNK = 1000


class _Change(NamedTuple):
    """One membership, and the future that is done when the server has changed it."""

    key: str
    member: str
    lease: int
    future: "asyncio.Future[None]"


class MembershipChanges:
    """The changes of memberships on one server, in the order in which they were asked for.

    What is asked for in one turn of the event loop goes to the server together. If that is more
    than a thousand, the rest waits for the answer, so that the server comes to others in between
    and the connection keeps room for them.

    Args:
        connection: to the server.
    """

    def __init__(self, connection: CommandConnection) -> None:
        self._connection = connection
        self._waiting: deque[_Change] = deque()
        self._sending = False

    def make(self, key: str, member: str, lease: int) -> "asyncio.Future[None]":
        """Make ``member`` one of the group at ``key``, or renew that, or end it.

        Args:
            key: the group's.
            member: what stands for it there.
            lease: milliseconds that it lasts, or 0 to end it.

        Returns:
            A future that is done when the server has done it. It fails as a call does.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(_Change(key, member, lease, future))
        if not self._sending:
            self._sending = True
            loop.call_soon(self._send)
        return future

    def _send(self) -> None:
        """Send what waits, but no more than a thousand at once."""
        waiting = self._waiting
        chunk: list[_Change] = []
        while waiting and len(chunk) < _CHUNK:
            change = waiting.popleft()
            if not change.future.done():  # or its caller has given up
                chunk.append(change)
        self._sending = bool(waiting)
        if not chunk:
            return
        keys = [change.key for change in chunk]
        arguments = [part for change in chunk for part in (change.member, change.lease)]
        answer = self._connection.run("join", keys, arguments)
        answer.add_done_callback(lambda answer: self._settle(chunk, answer))

    def _settle(self, chunk: list[_Change], answer: "asyncio.Future[Any]") -> None:
        error = BrokerError("The call was cancelled") if answer.cancelled() else answer.exception()
        if error is not None:
            # None of these waits as long again for a server that does not answer.
            chunk += self._waiting
            self._waiting.clear()
        strange = set() if error is not None else set(answer.result())
        for number, change in enumerate(chunk, 1):
            if change.future.done():
                continue
            if error is not None:
                change.future.set_exception(error)
            elif number in strange:
                what = f"The key {change.key} should hold a group and holds something else"
                change.future.set_exception(BrokerError(what))
            else:
                change.future.set_result(None)
        if self._sending:
            self._send()

    async def finish(self) -> None:
        """Wait until everything has been sent."""
        await asyncio.sleep(0)  # then what has just been asked for has been sent
        while self._waiting:
            await asyncio.wait((self._waiting[-1].future,))
