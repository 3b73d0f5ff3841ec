"""What became of attempts, on its way to the store: together, and again until it is there."""

import asyncio
import logging

from channels._runtime import timers
from channels.layers.broker.reconnecting import backoff

from .records import Outcome
from .store import Store

__all__ = ["Settlements"]

logger = logging.getLogger("channels.tasks")

# Outcomes that are stored in one step.
_BATCH = 200


class Settlements:
    """Stores outcomes, for one worker on one event loop.

    What comes in one turn of the event loop, and while others are on their way, goes together.

    Args:
        store: where to.
        worker: its name.
    """

    def __init__(self, store: Store, worker: str) -> None:
        self._store = store
        self._worker = worker
        self._waiting: list[tuple[Outcome, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None

    async def settle(self, outcome: Outcome) -> bool:
        """Store an outcome; returns whether it counts, as :meth:`~.store.Store.settle` says.

        A broker that does not answer is asked again, for as long as the worker waits.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, future))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
        return await future

    async def _work(self) -> None:
        failures = 0
        while self._waiting:
            taken = self._waiting[:_BATCH]
            batch = [item for item in taken if not item[1].done()]
            try:
                settled = await self._store.settle(self._worker, [outcome for outcome, _ in batch])
            except Exception as error:  # noqa: BLE001 - of a broker; the results must not be lost
                failures += 1
                logger.warning(
                    "%d results of tasks are not stored yet (%s: %s); trying again, attempt %d",
                    len(self._waiting),
                    type(error).__name__,
                    error,
                    failures + 1,
                )
                await timers.sleep(backoff(failures))
                continue
            failures = 0
            del self._waiting[: len(taken)]  # others may have come behind them
            for (_, future), counts in zip(batch, settled, strict=True):
                if not future.done():
                    future.set_result(counts)
            await asyncio.sleep(0)
