"""What may be lost is told, as soon as RabbitMQ takes it."""

import asyncio

import pytest

from channels.layers.rabbitmq import losses as module
from channels.layers.rabbitmq.losses import Losses
from channels.layers.rabbitmq.names import GAP
from channels.layers.rabbitmq.publishing import Publisher

from ....asgi import until

FULL = {"x-max-length": 1, "x-overflow": "reject-publish"}


@pytest.fixture
async def publisher(make_nodes, proxy, prefix):
    publisher = Publisher(make_nodes(proxy.url, response_timeout=0.5), prefix)
    yield publisher
    await publisher.aclose()


@pytest.fixture
async def losses(publisher):
    losses = Losses(lambda: publisher)
    yield losses
    await losses.aclose()


@pytest.fixture
async def queue(publisher, admin, prefix):
    """The queue of a process that gets what is for a group, and holds one message."""
    async with publisher.link() as link:  # now the exchange is there
        assert link.is_open
    await admin.queue_declare(prefix, exclusive=True, arguments=FULL)
    await admin.queue_bind(prefix, f"channels.{prefix}", "g.room")
    return prefix


async def next_message(admin, queue):
    async with asyncio.timeout(5):
        while True:
            message = await admin.basic_get(queue, no_ack=True)
            if message.body:
                return message


async def test_the_same_loss_is_told_once(losses, queue, admin):
    losses.tell("g.room", b"a message")
    losses.tell("g.room", b"a message")
    assert len(losses._tasks) == 1
    message = await next_message(admin, queue)
    assert (message.body, message.header.properties.message_type) == (b"a message", GAP)
    await until(lambda: not losses._tasks)
    assert (await admin.queue_declare(queue, passive=True)).message_count == 0


async def test_it_is_told_when_there_is_room_for_it(losses, queue, publisher, admin):
    await publisher.publish("g.room", b"full")
    confirmed = []

    async def publish(*args, publish=publisher.publish, **kwargs):
        confirmed.append(await publish(*args, **kwargs))
        return confirmed[-1]

    publisher.publish = publish
    losses.tell("g.room", b"a message")
    await until(lambda: confirmed)
    assert (await next_message(admin, queue)).body == b"full"
    assert (await next_message(admin, queue)).body == b"a message"


async def test_it_is_told_when_rabbitmq_answers_again(losses, queue, proxy, admin):
    def cut(data):
        if b"a message" in data:
            proxy.on_request = None
            proxy.cut()

    proxy.on_request = cut
    losses.tell("g.room", b"a message")
    assert (await next_message(admin, queue)).body == b"a message"
    assert proxy.on_request is None


async def test_it_is_not_told_for_ever(losses, queue, publisher, admin, monkeypatch):
    monkeypatch.setattr(module, "_ATTEMPTS", 2)
    await publisher.publish("g.room", b"full")
    losses.tell("g.room", b"a message")
    await until(lambda: not losses._tasks)
    assert (await admin.queue_declare(queue, passive=True)).message_count == 1


async def test_nothing_is_told_after_the_end(losses, queue, publisher, admin):
    await losses.aclose()
    losses.tell("g.room", b"a message")
    await losses.aclose()
    await until(lambda: not losses._tasks)
    assert (await admin.queue_declare(queue, passive=True)).message_count == 0
