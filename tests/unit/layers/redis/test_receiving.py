"""The laws of what receives for a process, with what reads from a real server."""

import pytest

from channels._runtime.loops import PerLoop
from channels.layers.broker.receiver import Receiver
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.sender import Sender
from channels.layers.redis.pubsub.requests import PLAIN
from channels.layers.redis.pubsub.subscription import Subscription
from channels.layers.redis.streams.inbox import InboxReader

from ....proxy import Proxy
from ..receiver_laws import Process, ReceiverLaws


class RedisProcess(Process):
    def __init__(self, redis, prefix, host, number=0, flow=None):
        super().__init__()
        self.redis, self.name, self.flow = redis, f"p{number}", flow
        self.servers, self.bases = parse_hosts([host], prefix)
        self.senders = PerLoop(lambda: Sender(self.servers, self.bases))
        self.receiver = Receiver(self.make_readers, lambda: self.loops)

    async def aclose(self):
        await super().aclose()
        await self.senders.aclose()


class StreamsProcess(RedisProcess):
    def make_readers(self):
        connections = self.senders.get().connections
        return [InboxReader(self.servers[0], connections[0], 0, self.bases[0], self.name, 60, self)]

    def send(self, data):
        self.redis.xadd(f"{self.bases[0]}:inbox:{self.name}", {"gx": data})

    def inbox_received(self, field, data, age, patience):
        if field == b"gx":
            self.note(data)

    def inbox_lost(self, partition, reason):
        self.gaps.append(reason)

    def inbox_groups(self, partition):
        return ()


class PubSubProcess(RedisProcess):
    def make_readers(self):
        self.topic = f"{self.bases[0]}:process:{self.name}".encode()
        return [Subscription(self.servers[0], 0, PLAIN, self, self.topic)]

    def send(self, data):
        assert self.redis.publish(self.topic, data) >= 1

    def published(self, partition, topic, data, patience):
        self.note(data)

    def subscription_lost(self, partition, reason):
        pass

    def subscription_restored(self, partition, reason):
        self.gaps.append(reason)


class RedisLaws(ReceiverLaws):
    process_class: type[RedisProcess]

    @pytest.fixture
    def make_here(self, shared_broker, redis, prefix):
        numbers = iter(range(100))
        return lambda: self.process_class(redis, prefix, shared_broker.address, next(numbers))

    @pytest.fixture
    async def make(self, shared_broker, redis, prefix):
        host, port = shared_broker.address
        async with Proxy(shared_broker.address) as proxy:
            made = []

            def make(*, silent=False, refused=False):
                where = f"redis://nobody:wrong@{host}:{port}" if refused else (host, port)
                if silent:
                    proxy.stall()
                    where = proxy.address
                made.append(self.process_class(redis, prefix, where, flow=proxy.flow))
                return made[-1]

            yield make
            for process in made:
                await process.aclose()


class TestStreams(RedisLaws):
    process_class = StreamsProcess


class TestPubSub(RedisLaws):
    process_class = PubSubProcess
    gaps = ["the event loop that received has ended"]
