"""A broker in memory that pushes, and breaks when a test says so; a layer over it."""

import asyncio
from collections import defaultdict, deque

from channels.exceptions import BrokerError
from channels.layers.broker import (
    TO_CHANNEL,
    TO_GROUP,
    BrokerLayer,
    Link,
    Linked,
    Listener,
    Stateless,
    entry,
)


class Refused(Exception):
    """The broker will not answer otherwise in a moment."""


class Hub:
    """The broker.

    Attributes:
        open: the connections that listen, by process: queues of what is sent to it.
        registered: the groups of each process that can be found.
        refuse: what a process gets that connects.
        named: what waits in named channels.
        left: how many connections were to be closed.
    """

    def __init__(self):
        self.open = defaultdict(list)
        self.registered = {}
        self.refuse = None
        self.named = defaultdict(deque)
        self.left = 0

    def send(self, process, data):
        for queue in self.open[process]:
            queue.put_nowait(data)
        return process in self.registered

    def break_all(self, error=None):
        for queues in self.open.values():
            for queue in queues:
                queue.put_nowait(error or ConnectionError("the hub was unplugged"))


class HubLink(Link[Hub]):
    def __init__(self, hub):
        super().__init__(lambda error: False, lambda error: BrokerError(str(error)))
        self.hub = hub

    async def connect(self):
        return self.hub

    def is_open(self, connection):
        return True

    def close(self, connection):
        pass


class HubListener(Listener[asyncio.Queue]):
    def __init__(self, transport):
        super().__init__(transport, "the hub", lambda error: False, self.told)
        self.owner, self.hub, self.me = transport, transport.hub, transport._process

    @staticmethod
    def told(error):
        return BrokerError(f"The hub refused: {error}")

    async def connect(self):
        if self.hub.refuse:
            raise self.hub.refuse
        queue = asyncio.Queue()
        self.hub.open[self.me].append(queue)
        return queue

    async def register(self):
        self.hub.registered[self.me] = set(self.owner.groups())
        self.owner.named.look()

    async def withdraw(self):
        del self.hub.registered[self.me]

    async def receive(self, connection, seconds):
        try:
            async with asyncio.timeout(seconds):
                first = await connection.get()
        except TimeoutError:
            return []
        if isinstance(first, Exception):
            raise first
        return [first]

    async def disconnect(self, connection):
        try:
            await asyncio.sleep(0.01)  # as a broker takes its time
        finally:
            self.hub.left += 1
        self.hub.open[self.me].remove(connection)
        self.hub.registered.pop(self.me, None)
        raise ConnectionError("errors are ignored here")

    async def echo(self, entry):
        if not self.hub.send(self.me, entry):
            raise ConnectionError("nobody is there")


class HubTransport(Stateless, Linked[HubListener, HubLink, bytes]):
    def __init__(self, recipient, hub):
        super().__init__(recipient)
        self.hub = hub

    def make_link(self):
        return HubLink(self.hub)

    def make_readers(self):
        return [HubListener(self)]

    async def subscribe(self, group):
        self.hub.registered.setdefault(self._process, set()).add(group)
        await asyncio.shield(self.reader_of(group).barrier())

    def unsubscribe(self, group):
        self.hub.registered.get(self._process, set()).discard(group)

    async def tell(self, process, kind, group, channel):
        self.hub.send(process, entry(kind, group, channel.encode()))

    async def send_to_process(self, process, channel, data):
        await self.reader_of("").wait_until_up()
        return None if self.hub.send(process, entry(TO_CHANNEL, channel, data)) else "closed"

    async def group_send(self, group, data, capacity, expiry):
        for process, groups in self.hub.registered.items():
            if group in groups:
                self.hub.send(process, entry(TO_GROUP, group, data))
        return ()

    async def enqueue(self, channel, data, capacity, expiry):
        async def append(hub):
            hub.named[channel].append(data)

        await self.link.call(append)
        self.named.look(channel)
        return True

    async def take(self, channel):
        return self.hub.named[channel].popleft() if self.hub.named[channel] else None

    async def give_back(self, channel, message):
        self.hub.named[channel].appendleft(message)

    async def dequeue(self, channel, expiry):
        return await self.named.receive(channel), None

    async def delete_all(self):
        self.hub.named.clear()


def make_layer(hub, **options):
    return BrokerLayer(lambda recipient: HubTransport(recipient, hub), **options)
