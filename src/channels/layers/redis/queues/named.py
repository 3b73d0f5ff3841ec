"""Named channels, as both layers over Redis have them: queues on the servers."""

import asyncio
from functools import partial

from ...._runtime.loops import PerLoop
from ...broker.process import ProcessChannels
from ...options import LONGEST
from ...statistics import EXPIRED
from ..keys import queue_expiry_key, queue_key
from ..partitions import Partitions, milliseconds
from .reader import QueueReader

__all__ = ["NamedChannels"]


class NamedChannels:
    """Appends to the queues of named channels, and reads from them.

    Args:
        partitions: where the queues are.
        process: the name of this process.
        local: is told of messages that have expired.
    """

    def __init__(self, partitions: Partitions, process: str, local: ProcessChannels) -> None:
        self._partitions = partitions
        self._process = process
        self._local = local
        self._readers: PerLoop[dict[str, QueueReader]] = PerLoop(dict)

    async def enqueue(self, channel: str, data: bytes, capacity: int, expiry: float) -> bool:
        """Append a message; see :meth:`~channels.layers.broker.transport.Transport.enqueue`."""
        partition = self._partitions.number_of(channel)
        queue = queue_key(self._partitions.bases[partition], channel)
        taken, expired = await self._partitions.senders.get().connections[partition].append(
            "enqueue", [queue, queue_expiry_key(queue)],
            data, capacity, milliseconds(expiry),
        )  # fmt: skip
        if expired:
            self._local.drop(EXPIRED, channel, expired)
        return bool(taken)

    def reader(self, channel: str, expiry: float) -> QueueReader:
        """What reads a queue for the running event loop, made if there is none.

        Args:
            channel: its name.
            expiry: seconds for which a message may have waited.
        """
        readers = self._readers.get()
        if channel not in readers:
            partition, sender = self._partitions.number_of(channel), self._partitions.senders.get()
            readers[channel] = QueueReader(
                self._partitions.servers[partition],
                sender.connections[partition],
                queue_key(self._partitions.bases[partition], channel),
                self._process,
                channel,
                min(expiry, LONGEST),
                partial(self._local.drop, EXPIRED, channel),
            )
        return readers[channel]

    async def dequeue(self, channel: str, expiry: float) -> tuple[bytes, None]:
        """The next message; see :meth:`~channels.layers.broker.transport.Transport.dequeue`."""
        return await self.reader(channel, expiry).receive(), None

    async def stop_receiving(self, channel: str) -> None:
        """Give back what this event loop was handed of a channel and nobody here waits for."""
        readers = self._readers.peek()
        if readers and channel in readers and not readers[channel].is_wanted():
            await readers.pop(channel).leave()

    def is_awaited(self) -> bool:
        """Whether a caller on this event loop waits for a message."""
        return any(reader.callers for reader in (self._readers.peek() or {}).values())

    async def rest(self) -> None:
        """End what reads on this event loop for no caller."""
        readers = self._readers.peek() or {}
        idle = [readers.pop(name) for name, reader in list(readers.items()) if not reader.callers]
        await asyncio.gather(*(reader.aclose() for reader in idle))

    async def aclose(self) -> None:
        """End all that reads on this event loop."""
        await asyncio.gather(*(reader.aclose() for reader in (self._readers.pop() or {}).values()))
