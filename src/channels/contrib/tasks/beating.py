"""The signs of life of a worker, which keep its tasks its own."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from channels._runtime import timers
from channels._runtime.loops import bridge

from .store import Store

__all__ = ["Heartbeat"]

logger = logging.getLogger("channels.tasks")


class Heartbeat:
    """Beats on a thread of its own, so that a task which holds up its event loop loses nothing.

    Args:
        store: where the tasks are. In memory there is nothing to be done.
        worker: its name.
        queues: where its tasks are from.
        lease: seconds for which a beat lasts.
    """

    def __init__(self, store: Store, worker: str, queues: Sequence[str], lease: float) -> None:
        self._store = store
        self._worker = worker
        self._queues = tuple(queues)
        self._lease = lease
        self._beating = (
            None if store.is_local else asyncio.run_coroutine_threadsafe(self._beat(), bridge.loop)
        )

    async def _beat(self) -> None:
        while True:
            try:
                async with timers.timeout(self._lease):
                    await self._store.beat(self._worker, self._queues)
            except Exception as error:  # noqa: BLE001 - of a broker, or of the way there
                logger.warning(
                    "The worker could give no sign of life (%s: %s); after %g s without one, "
                    "others run its tasks again",
                    type(error).__name__,
                    error,
                    self._lease,
                )
            await timers.sleep(self._lease / 3)

    async def stop(self) -> None:
        """End, and wait until it has."""
        if self._beating is not None:
            self._beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wrap_future(self._beating)
