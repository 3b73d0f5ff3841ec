"""What is published, and what RabbitMQ says of it."""

import asyncio

import pytest
from pamqp import commands, frame

from channels._runtime.clock import now
from channels.exceptions import BrokerUnavailable, MessageTooLarge, Unconfirmed
from channels.layers.rabbitmq.connecting import Nodes
from channels.layers.rabbitmq.names import GAP, exchange_name
from channels.layers.rabbitmq.publishing import Outcome, Publisher

from ....asgi import until

PERSISTENT, TRANSIENT = 2, 1


@pytest.fixture
async def publisher(nodes, prefix):
    publisher = Publisher(nodes, prefix)
    yield publisher
    await publisher.aclose()


@pytest.fixture
async def through(make_nodes, proxy, prefix):
    """Publishes through the proxy."""
    publisher = Publisher(make_nodes(proxy.url, response_timeout=0.5), prefix)
    yield publisher
    await publisher.aclose()


async def make_queue(admin, prefix, key, **arguments):
    """A queue of somebody else, with a key."""
    await admin.exchange_declare(exchange_name(prefix), durable=True)
    queue = f"{prefix}.{key}.{len(arguments)}"
    await admin.queue_declare(queue, exclusive=True, arguments=arguments)
    await admin.queue_bind(queue, exchange_name(prefix), key)
    return queue


async def test_a_message_goes_to_every_queue_with_its_key(publisher, admin, prefix):
    one = await make_queue(admin, prefix, "g.room")
    two = await make_queue(admin, prefix, "g.room", **{"x-max-length": 5})
    outcome = await publisher.publish("g.room", b"news", expiration=60, kind=GAP)
    assert outcome is Outcome.TAKEN
    for queue in (one, two):
        message = await admin.basic_get(queue, no_ack=True)
        properties = message.header.properties
        assert (message.body, message.routing_key) == (b"news", "g.room")
        assert (properties.expiration, properties.message_type) == ("60000", GAP)
        assert properties.delivery_mode == TRANSIENT
    assert publisher.under_way == 0


async def test_a_message_goes_to_a_queue_itself(publisher, admin, prefix):
    queue = await make_queue(admin, prefix, "unused")
    assert await publisher.publish(queue, b"job", direct=True, persistent=True) is Outcome.TAKEN
    message = await admin.basic_get(queue, no_ack=True)
    assert message.body == b"job"
    assert message.header.properties.delivery_mode == PERSISTENT
    assert message.header.properties.expiration is None


async def test_a_message_that_a_queue_has_no_room_for_is_in_the_others(publisher, admin, prefix):
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    first, other = (
        await make_queue(admin, prefix, "g.room", **full),
        await make_queue(admin, prefix, "g.room"),
    )
    assert await publisher.publish("g.room", b"1") is Outcome.TAKEN
    assert await publisher.publish("g.room", b"2") is Outcome.FULL
    assert (await admin.queue_declare(first, passive=True)).message_count == 1
    assert (await admin.queue_declare(other, passive=True)).message_count == 2


async def test_a_message_without_a_queue_is_known_if_that_matters(publisher):
    assert await publisher.publish("p.gone", b"news", mandatory=True) is Outcome.UNROUTABLE
    assert await publisher.publish("p.gone", b"news") is Outcome.TAKEN


async def test_a_message_whose_connection_breaks_may_have_arrived(through, proxy):
    async with through.link():
        pass

    def cut(data):
        if b"news" in data:
            proxy.on_request = None
            proxy.cut()

    proxy.on_request = cut
    with pytest.raises(Unconfirmed, match="not confirmed"):
        await through.publish("g.room", b"news")
    assert through.under_way == 0
    assert await through.publish("g.room", b"more") is Outcome.TAKEN


async def test_a_message_that_is_not_confirmed_in_time_may_have_arrived(through, proxy):
    async with through.link():
        pass
    proxy.stall()
    with pytest.raises(Unconfirmed, match=r"for 0\.5 seconds"):
        await through.publish("g.room", b"news")
    proxy.flow()


async def test_while_rabbitmq_is_short_of_memory_nothing_is_published(through, proxy):
    async with through.link():
        pass
    proxy.say(frame.marshal(commands.Connection.Blocked("low on memory"), 0))
    await until(lambda: not through._line.link.is_ready)
    with pytest.raises(BrokerUnavailable, match="takes no messages"):
        await through.publish("g.room", b"news")
    proxy.say(frame.marshal(commands.Connection.Unblocked(), 0))
    assert await through.publish("g.room", b"news") is Outcome.TAKEN


async def test_the_connection_rests_unless_something_is_under_way(through, proxy):
    proxy.stall()
    publishing = asyncio.create_task(through.publish("g.room", b"news"))
    await until(lambda: proxy.connections)
    await through.rest()
    proxy.flow()
    assert await publishing is Outcome.TAKEN
    async with through.link() as link:
        await through.rest()
        assert link.is_open
    await through.rest()
    assert not link.is_open


async def test_an_exchange_that_was_deleted_is_made_anew(publisher, admin, prefix):
    assert await publisher.publish("g.room", b"1") is Outcome.TAKEN
    await admin.exchange_delete(exchange_name(prefix))
    with pytest.raises(Unconfirmed):
        await publisher.publish("g.room", b"2")
    assert await publisher.publish("g.room", b"3") is Outcome.TAKEN


async def test_calls_that_wait_go_in_order_and_others_come_after_them(through, proxy):
    async with through.link():
        pass
    proxy.say(frame.marshal(commands.Connection.Blocked("low on memory"), 0))
    await until(lambda: not through._line.link.is_ready)
    done = []

    async def publish(number):
        await through.publish("g.room", b"%d" % number)
        done.append(number)

    waiting = [asyncio.create_task(publish(number)) for number in range(3)]
    await until(lambda: through.under_way == 3)
    waiting.append(asyncio.create_task(publish(3)))
    through._line.link._wire.flowing.set()  # it runs before those that wait
    await asyncio.gather(*waiting)
    assert done == [0, 1, 2, 3]


async def test_those_that_wait_while_the_connection_breaks_use_the_next_one(through, proxy):
    async with through.link():
        pass
    proxy.say(frame.marshal(commands.Connection.Blocked("low on memory"), 0))
    await until(lambda: not through._line.link.is_ready)
    publishing = asyncio.create_task(through.publish("g.room", b"news"))
    await until(lambda: through.under_way)
    proxy.cut()
    assert await publishing is Outcome.TAKEN
    assert proxy.connections == 2


@pytest.mark.slow
async def test_a_busy_connection_outlives_the_time_without_signs_of_life(rabbitmq, prefix):
    """RabbitMQ sends none while it confirms messages, which aiormq does not see."""
    publisher = Publisher(Nodes([rabbitmq.url], None, 1, 5.0), prefix)
    async with publisher.link() as link:
        pass
    ends = now() + 3 * (1 + 1) + 1
    while now() < ends:
        assert await publisher.publish("g.room", b"news") is Outcome.TAKEN
        await asyncio.sleep(0.01)
    assert link.is_open
    await publisher.aclose()


async def test_a_second_message_that_is_too_large_does_not_end_the_connection(through, proxy):
    async with through.link():
        pass
    proxy.stall()
    first = asyncio.create_task(through.publish("g.room", b"x" * 2000))
    await until(lambda: through._line.link._messages)
    reason = "PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000"
    proxy.say(frame.marshal(commands.Channel.Close(406, reason, 60, 40), 1))
    with pytest.raises(MessageTooLarge, match="up to 1000 bytes"):
        await first
    proxy.flow()
    assert await through.publish("g.room", b"x" * 1000) is Outcome.TAKEN
    outbox = through._line.link
    with pytest.raises(MessageTooLarge, match="up to 1000 bytes, and this one has 1001"):
        await through.publish("g.room", b"x" * 1001)
    assert through._line.link is outbox
    assert outbox.is_open
