"""A transport between the layers of one process: as little as a layer needs of a broker."""

import asyncio
import contextlib
import threading
import time
import weakref
from collections import defaultdict, deque
from functools import partial

from channels.layers.broker.layer import BrokerLayer
from channels.layers.broker.transport import Recipient, Transport
from channels.layers.states import LocalStates
from channels.layers.statistics import CLOSED, EXPIRED


class Broker:
    """What all processes share."""

    def __init__(self):
        self.lock = threading.RLock()
        self.processes = weakref.WeakValueDictionary()
        self.members = defaultdict(set)
        self.bound = defaultdict(dict)
        self.queues = defaultdict(deque)
        self.waiting = defaultdict(deque)
        self.states = LocalStates()


class Loopback:
    """One process's end. Attributes record what the layer has asked for."""

    def __init__(self, broker: Broker, recipient: Recipient) -> None:
        self.broker = broker
        self.recipient = recipient
        self.process = recipient.client_prefix
        self.receives = False
        self.rested = 0
        self.given_back: list[str] = []
        self.refusal: Exception | None = None

    # Receiving

    def is_ready(self) -> bool:
        return self.receives

    async def ready(self) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.receives = True
        self.broker.processes[self.process] = self

    # Sending

    async def send_to_process(self, process: str, channel: str, data: bytes) -> str | None:
        if self.refusal is not None:
            raise self.refusal
        with self.broker.lock:
            end = self.broker.processes.get(process)
            if end is None:
                return CLOSED
            end.recipient.deliver_to_channel(channel, data)
        return None

    async def group_send(
        self, group: str, data: bytes, capacity: int | None, expiry: float
    ) -> list[str]:
        with self.broker.lock:
            for process in list(self.broker.members[group]):
                end = self.broker.processes.get(process)
                if end is not None:
                    end.recipient.deliver_to_group(group, data)
            now = time.monotonic()
            return [name for name, end in self.broker.bound[group].items() if end > now]

    # Groups

    async def join(self, group: str, channel: str) -> None:
        await self.ready()
        with self.broker.lock:
            self.recipient.local.join(group, channel)
            self.broker.members[group].add(self.process)

    async def leave(self, group: str, channel: str) -> None:
        with self.broker.lock:
            self.recipient.local.part(group, channel)

    def emptied(self, group: str) -> None:
        self.broker.members[group].discard(self.process)

    async def invite(self, process: str, group: str, channel: str) -> None:
        end = self.broker.processes.get(process)
        if end is not None:
            await end.join(group, channel)

    async def dismiss(self, process: str, group: str, channel: str) -> None:
        end = self.broker.processes.get(process)
        if end is not None:
            await end.leave(group, channel)

    async def bind(self, group: str, channel: str, lease: float) -> None:
        self.broker.bound[group][channel] = time.monotonic() + lease

    async def unbind(self, group: str, channel: str) -> None:
        self.broker.bound[group].pop(channel, None)

    # Named channels

    def _expire(self, channel: str) -> None:
        queue, count = self.broker.queues[channel], 0
        while queue and queue[0][0] <= time.monotonic():
            queue.popleft()
            count += 1
        if count:
            self.recipient.local.drop(EXPIRED, channel, count)

    async def enqueue(self, channel: str, data: bytes, capacity: int, expiry: float) -> bool:
        with self.broker.lock:
            self._expire(channel)
            queue, waiting = self.broker.queues[channel], self.broker.waiting[channel]
            if len(queue) >= capacity:
                return False
            queue.append((time.monotonic() + expiry, data))
            for loop, event in waiting:
                with contextlib.suppress(RuntimeError):  # a loop that has been closed
                    loop.call_soon_threadsafe(event.set)
        return True

    async def dequeue(self, channel: str, expiry: float) -> tuple[bytes, None]:
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        waiting = self.broker.waiting[channel]
        with self.broker.lock:
            waiting.append(waiter)
        try:
            while True:
                with self.broker.lock:
                    self._expire(channel)
                    if self.broker.queues[channel]:
                        return self.broker.queues[channel].popleft()[1], None
                    waiter[1].clear()
                await waiter[1].wait()
        finally:
            with self.broker.lock:
                waiting.remove(waiter)

    async def stop_receiving(self, channel: str) -> None:
        self.given_back.append(channel)

    # States

    async def set_state(
        self,
        collection: str,
        field: str,
        data: bytes,
        expiry: float,
        revision: int | None,
        capacity: int,
    ) -> bool:
        with self.broker.lock:
            value = partial(bytes, data)
            return self.broker.states.set(collection, field, value, expiry, revision, capacity)

    async def get_states(self, collection: str, field: str | None) -> dict[str, bytes]:
        with self.broker.lock:
            found = self.broker.states.get(collection)
        return {name: value() for name, value in found.items() if field in (None, name)}

    async def delete_state(self, collection: str, field: str) -> None:
        with self.broker.lock:
            self.broker.states.delete(collection, field)

    # The whole

    async def flush(self) -> None:
        with self.broker.lock:
            self.broker.members.clear()
            self.broker.bound.clear()
            self.broker.queues.clear()
            self.broker.states.clear()
            await self.recipient.local.flush()

    async def rest(self) -> None:
        self.rested += 1

    async def aclose(self) -> None:
        self.receives = False
        with self.broker.lock:
            self.broker.processes.pop(self.process, None)
            for members in self.broker.members.values():
                members.discard(self.process)
            await self.recipient.local.flush()


class LoopbackLayer(BrokerLayer):
    """A layer whose broker is an object of this process."""

    transport: Loopback
    supports_tokens = supports_places = False

    def __init__(self, broker=None, **options):
        self.broker = broker or Broker()
        super().__init__(self.connect, **options)

    def connect(self, recipient: Recipient) -> Transport:
        return Loopback(self.broker, recipient)
