"""Telling members of a group, or one channel, of a message that they may have missed."""

import asyncio
from collections.abc import Callable

from ..._runtime import backstage, timers
from ...exceptions import BrokerError
from ..broker.reconnecting import backoff
from .names import GAP
from .publishing import Outcome, Publisher

__all__ = ["Losses"]

# Attempts, with pauses of up to a second between them.
_ATTEMPTS = 60


class Losses:
    """What is to be told by one event loop, as soon as the broker takes it.

    Args:
        get_publisher: what publishes there.
    """

    def __init__(self, get_publisher: Callable[[], Publisher]) -> None:
        self._get_publisher = get_publisher
        self._tasks: dict[tuple[str, bytes], asyncio.Task[None]] = {}

    def tell(self, key: str, notice: bytes) -> None:
        """Publish a notice with a routing key, unless that is about to be done.

        Args:
            key: a group's or a process's.
            notice: why a message may be lost; for a process, after a channel's name and a space.
        """
        about = key, notice
        if about not in self._tasks:
            self._tasks[about] = task = backstage.start(self._tell(key, notice))
            task.add_done_callback(lambda _: self._tasks.pop(about, None))

    async def _tell(self, key: str, notice: bytes) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            await timers.sleep(backoff(attempt))  # what is full is not read at once
            try:
                outcome = await self._get_publisher().publish(key, notice, kind=GAP)
            except BrokerError:
                continue
            if outcome is not Outcome.FULL:
                return

    async def aclose(self) -> None:
        """Tell nobody any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
