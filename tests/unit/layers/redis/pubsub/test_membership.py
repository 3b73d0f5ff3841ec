import asyncio

import pytest

from channels.exceptions import BrokerError
from channels.layers.broker.process import ProcessChannels
from channels.layers.broker.receiver import Receiver
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.pubsub.membership import GroupTopics
from channels.layers.redis.pubsub.requests import PLAIN
from channels.layers.redis.pubsub.subscription import Subscription
from channels.layers.statistics import Statistics

from .....asgi import until


class Process:
    """What a process has of the groups: it takes note of what is published to them."""

    def __init__(self, servers, bases):
        self.heard = []

        def emptied(group):
            self.topics.emptied(group)

        self.here = ProcessChannels(Statistics(self), emptied)
        self.servers, self.bases = servers, bases
        self.receiver = Receiver(self.make_readers, list)
        self.topics = GroupTopics(self.receiver, bases, self.here)

    def make_readers(self):
        own = f"{self.bases[0]}:process:p".encode()
        return [Subscription(self.servers[0], 0, PLAIN, self, own, self.topics.names[0])]

    def published(self, partition, topic, data, patience):
        group = self.topics.names[partition].get(topic)
        if group is not None:
            self.heard.append((group, data))

    def subscription_lost(self, partition, reason):
        pass

    def subscription_restored(self, partition, reason):
        pass


@pytest.fixture
async def process(server, base):
    process = Process([server], [base])
    await process.receiver.be_ready()
    yield process
    await process.receiver.stop()


@pytest.fixture
def topic(base):
    return f"{base}:group:g"


def subscribers(redis, topic):
    ((_, count),) = redis.pubsub_numsub(topic)
    return count


async def test_a_process_subscribes_once_and_hears_at_once(process, redis, topic):
    for n in range(3):
        await process.topics.join("g", f"channel-{n}")
        assert process.here.is_member("g", f"channel-{n}")
        assert subscribers(redis, topic) == 1
    assert redis.publish(topic, "hello") == 1
    await until(lambda: process.heard)
    assert process.heard == [("g", b"hello")]


async def test_joining_takes_no_longer_than_what_was_published_before(process, redis, topic):
    await process.topics.join("g", "first")
    for n in range(100):
        redis.publish(topic, f"{n}")
    await process.topics.join("g", "second")
    assert len(process.heard) == 100


async def test_who_leaves_gets_what_was_published_before(process, redis, topic):
    await process.topics.join("g", "channel")
    for n in range(100):
        redis.publish(topic, f"{n}")
    await process.topics.part("g", "channel")
    assert len(process.heard) == 100
    assert not process.here.is_member("g", "channel")


async def test_the_last_one_ends_the_subscription(process, redis, topic):
    for channel in ("first", "second"):
        await process.topics.join("g", channel)
    await process.topics.part("g", "first")
    process.topics.leave_emptied()
    assert process.topics.names == [{topic.encode(): "g"}]
    await process.topics.part("g", "second")
    assert process.topics.names == [{topic.encode(): "g"}], "until it is asked to"
    process.topics.leave_emptied()
    assert process.topics.names == [{}]
    await until(lambda: subscribers(redis, topic) == 0)


async def test_a_group_that_filled_again_meanwhile_is_kept(process, redis, topic):
    await process.topics.join("g", "first")
    await process.topics.part("g", "first")
    await process.topics.join("g", "second")
    process.topics.leave_emptied()
    assert redis.publish(topic, "hello") == 1
    await until(lambda: process.heard)


async def test_who_joins_as_the_last_one_goes_is_subscribed(process, redis, topic):
    for _ in range(20):
        await process.topics.join("g", "first")
        joining = asyncio.create_task(process.topics.join("g", "second"))
        await process.topics.part("g", "first")
        process.topics.leave_emptied()
        await joining
        assert redis.publish(topic, "hello") == 1
        await process.topics.part("g", "second")
        process.topics.leave_emptied()
    await until(lambda: subscribers(redis, topic) == 0)


async def test_who_gives_up_joining_leaves_nothing_behind(process, redis, topic):
    for turns in range(6):
        joining = asyncio.create_task(process.topics.join("g", "channel"))
        for _ in range(turns):
            await asyncio.sleep(0)
        joining.cancel()
        await asyncio.wait((joining,))
        assert joining.cancelled()
        assert process.topics.names == [{}]
    await until(lambda: subscribers(redis, topic) == 0)


async def test_a_refused_subscription_is_the_callers_to_know(redis, shared_broker, prefix, base):
    redis.execute_command("ACL", "SETUSER", prefix, "on", "nopass", "~*", "+@all")
    redis.execute_command("ACL", "SETUSER", prefix, "resetchannels", f"&{base}:process:*")
    try:
        host, port = shared_broker.address
        process = Process(*parse_hosts([f"redis://{prefix}:any@{host}:{port}"], prefix))
        await process.receiver.be_ready()
        with pytest.raises(BrokerError, match="refused a subscription"):
            await process.topics.join("g", "channel")
        assert not process.here.is_member("g", "channel")
        assert process.topics.names == [{}]
        await process.receiver.stop()
    finally:
        redis.execute_command("ACL", "DELUSER", prefix)


async def test_forgetting_what_is_to_be_left(process, redis, topic):
    await process.topics.join("g", "channel")
    await process.topics.part("g", "channel")
    process.topics.clear()
    assert process.topics.names == [{}]
    process.topics.leave_emptied()
    assert redis.publish(topic, "heard") == 1, "without a word to the server"


async def test_nothing_is_left_when_nobody_receives(server, base):
    process = Process([server], [base])
    process.topics.emptied("g")
    process.topics.leave_emptied()
    assert process.receiver.readers == []
