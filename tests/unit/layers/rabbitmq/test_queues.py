"""Queues of named channels: made, bounded, bound to groups, deleted, counted."""

import asyncio

import pytest
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from channels.exceptions import BrokerError, BrokerUnavailable, ChannelFull, Unconfirmed
from channels.layers.rabbitmq import queues
from channels.layers.rabbitmq.link import Link
from channels.layers.rabbitmq.names import named_queue

from ....asgi import until

JOB = {"type": "job"}


async def soon(awaitable):
    async with asyncio.timeout(20):
        return await awaitable


async def test_a_queue_holds_no_more_than_the_capacity(make):
    layer = make(capacity=2)
    for _ in range(2):
        await layer.send("jobs", JOB)
    with pytest.raises(ChannelFull, match="holds 2 messages"):
        await layer.send("jobs", JOB)


@pytest.fixture
def refuse(monkeypatch):
    """Lets a layer's next messages be refused, so many of them, as by a queue without a leader."""

    def refuse(layer, times):
        publisher = layer.transport._get_publisher()
        publish = publisher.publish
        refused = []

        async def refuse_first(*args, **options):
            if len(refused) < times:
                refused.append(args)
                return queues.Outcome.FULL
            return await publish(*args, **options)

        monkeypatch.setattr(publisher, "publish", refuse_first)
        return refused

    return refuse


async def test_what_a_quorum_queue_refuses_that_has_room_is_sent_again(make, refuse):
    layer = make(queue_type="quorum", capacity=10)
    refused = refuse(layer, 3)
    await layer.send("jobs", JOB)
    assert len(refused) == 3
    assert await soon(layer.receive("jobs")) == JOB


async def test_a_message_may_be_given_back_as_often_as_callers_give_up(make, admin):
    """RabbitMQ 4 drops what it was given back 20 times, if it is not told otherwise."""
    layer = make(queue_type="quorum")
    await layer.send("jobs", JOB)
    queue = named_queue(layer.prefix, "jobs")
    for _ in range(25):
        while (message := await admin.basic_get(queue)).delivery_tag is None:
            assert not layer.statistics.dropped
        await admin.basic_nack(message.delivery_tag)
    assert await layer.receive("jobs") == JOB


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [(3, "quorum", None), (4, "quorum", -1), (4, "classic", None)],
)
async def test_a_queue_has_no_limit_of_deliveries(make, monkeypatch, version, kind, expected):
    made = []

    async def note(link, queue, arguments):
        made.append(arguments)

    monkeypatch.setattr(Link, "version", version)
    monkeypatch.setattr(queues, "_make", note)
    layer = make(queue_type=kind)
    async with layer.transport._get_publisher().link() as link:
        await layer.transport.named.declare("jobs", link)
    assert [arguments.get("x-delivery-limit") for arguments in made] == [expected]


async def test_what_a_quorum_queue_goes_on_refusing_is_not_sent(make, refuse, monkeypatch):
    monkeypatch.setattr(queues, "PATIENCE", 0.2)
    layer = make(queue_type="quorum", capacity=10)
    refused = refuse(layer, 1000)
    with pytest.raises(BrokerUnavailable, match="although its queue has room"):
        await layer.send("jobs", JOB)
    assert len(refused) > 1


async def test_a_classic_queue_that_refuses_is_full(make, refuse):
    layer = make(capacity=10)
    refused = refuse(layer, 1000)
    with pytest.raises(ChannelFull):
        await layer.send("jobs", JOB)
    assert len(refused) == 1


async def test_a_quorum_queue_that_is_full_refuses_at_once(make, refuse):
    layer = make(queue_type="quorum", capacity=10)
    for _ in range(8):
        await layer.send("jobs", JOB)
    refused = refuse(layer, 1000)
    with pytest.raises(ChannelFull):
        await layer.send("jobs", JOB)
    assert len(refused) == 1


async def test_a_quorum_queue_whose_length_is_not_told_is_tried_again(make, refuse, proxy):
    layer = make(proxy.url, queue_type="quorum", capacity=10)
    await layer.send("jobs", JOB)  # which makes the queue
    assert await soon(layer.receive("jobs")) == JOB
    async with layer.transport._get_publisher().link() as link:
        refused, apart = refuse(layer, 1), link.apart

    async def cut(call):
        proxy.cut()
        return await apart(call)

    link.apart = cut
    await layer.send("jobs", JOB)
    assert len(refused) == 1
    assert await soon(layer.receive("jobs")) == JOB


async def test_a_quorum_queue_whose_length_may_not_be_told_is_an_error(make, refuse):
    layer = make(queue_type="quorum", capacity=10)
    await layer.send("jobs", JOB)
    async with layer.transport._get_publisher().link() as link:
        pass

    async def forbid(call):
        raise ChannelAccessRefused("as if")

    link.apart = forbid
    refuse(layer, 1)
    with pytest.raises(BrokerError, match="refused to tell how long a queue is"):
        await layer.send("jobs", JOB)


async def home_is_down(call):
    """As RabbitMQ answers for a classic queue of a cluster whose node is down."""
    raise ChannelNotFoundEntity(404, "NOT_FOUND - home node of durable queue is down")


async def test_a_queue_on_a_node_that_is_down_is_an_error_that_says_so(make):
    layer = make()
    async with layer.transport._get_publisher().link() as link:
        link.apart = home_is_down
    with pytest.raises(BrokerUnavailable, match="on a node of RabbitMQ's cluster that is down"):
        await layer.send("jobs", JOB)


async def test_without_the_queue_of_what_has_expired_everything_else_goes_on(
    make, caplog, monkeypatch
):
    layer, apart = make(), Link.apart
    monkeypatch.setattr(Link, "apart", lambda link, call: home_is_down(call))
    channel = await layer.new_channel()
    assert "is on a node that is down" in caplog.text
    monkeypatch.setattr(Link, "apart", apart)
    await layer.send(channel, JOB)
    assert await soon(layer.receive(channel)) == JOB


async def test_layers_with_different_types_of_queues_count_what_has_expired(make):
    for kind in ("classic", "quorum", "classic"):
        layer = make(queue_type=kind)
        channel = await layer.new_channel()
        await layer.send(channel, JOB)
        assert await soon(layer.receive(channel)) == JOB


async def test_a_queue_that_was_made_with_other_options_is_used_as_it_is(make, caplog):
    first, second = make(capacity=2), make(capacity=3)
    await first.send("jobs", JOB)
    await second.send("jobs", JOB)
    assert "was made with other options" in caplog.text
    with pytest.raises(ChannelFull):
        await second.send("jobs", JOB)
    assert await soon(second.receive("jobs")) == JOB


async def test_what_expires_is_counted_by_one_process(make):
    layer, other = make(expiry=0.2), make(expiry=0.2)
    await layer.new_channel()
    await other.new_channel()
    await layer.send("jobs", JOB)

    def counted():
        both = (layer, other)
        return [count for each in both if (count := each.statistics.dropped.get("expired"))]

    await until(counted)
    assert counted() == [1]


async def test_what_is_no_queue_of_this_layer_is_not_counted(make):
    layer = make()

    class Message:
        class header:
            class properties:
                headers = {"x-first-death-queue": "somebody.else"}

    layer.transport.expired(Message)
    Message.header.properties.headers = None
    layer.transport.expired(Message)
    assert not layer.statistics.dropped


async def test_a_named_channel_gets_what_is_sent_to_its_group_until_it_leaves(make):
    layer = make()
    await layer.group_add("all", "jobs")
    await layer.group_send("all", JOB)
    assert await soon(layer.receive("jobs")) == JOB
    await layer.group_discard("all", "jobs")
    await layer.group_discard("all", "jobs")
    await layer.group_discard("all", "unheard-of")
    await layer.group_send("all", {"type": "not for jobs"})
    await layer.send("jobs", JOB)
    assert await soon(layer.receive("jobs")) == JOB


async def test_a_full_queue_in_a_group_is_counted(make):
    layer = make(capacity=1)
    await layer.group_add("all", "jobs")
    await layer.group_send("all", JOB)
    await layer.group_send("all", JOB)
    assert layer.statistics.dropped == {"capacity": 1}


async def test_what_is_not_confirmed_is_counted(make, monkeypatch):
    layer = make()
    await layer.send("jobs", JOB)

    async def fail(*args, **kwargs):
        raise Unconfirmed("as if")

    monkeypatch.setattr(layer.transport._get_publisher(), "publish", fail)
    await layer.send("jobs", JOB)
    assert layer.statistics.dropped == {"unconfirmed": 1}


async def test_a_queue_that_was_deleted_is_made_again(make):
    layer = make()
    await layer.send("jobs", JOB)
    async with layer.transport._get_publisher().link() as link:
        await link.channel.queue_delete(named_queue(layer.prefix, "jobs"))
    await layer.send("jobs", JOB)
    assert await soon(layer.receive("jobs")) == JOB


async def test_calls_that_break_are_repeated_and_those_that_are_refused_are_not(make):
    named, calls = make().transport.named, []

    async def call(link):
        calls.append(link)
        if len(calls) == 1:
            raise ConnectionError("as if")
        if len(calls) == 2:
            await link.aclose()
            raise ConnectionError("it was closed")

    await soon(named._repeat(call))
    assert len(calls) == 3
    assert calls[0] is calls[1] is not calls[2]

    async def refuse(link):
        raise ValueError("never")

    with pytest.raises(BrokerError, match="RabbitMQ refused a command: never"):
        await soon(named._repeat(refuse))


async def test_what_is_put_back_of_a_group_is_still_the_groups(make):
    layer = make(symmetric_encryption_keys=["key"])
    await layer.group_add("all", "jobs")
    await layer.group_send("all", JOB)
    reading = layer.transport.named
    first = asyncio.create_task(layer.transport.named.dequeue("jobs"))
    await until(reading.is_awaited)
    _, group = await soon(first)
    assert group == "all"
    reader = reading._reading.peek().readers["jobs"]
    await layer.group_send("all", JOB)
    message = await soon(reader.receive())
    await reader._put_back(message)
    assert await soon(layer.receive("jobs")) == JOB


async def test_a_loop_that_reads_nothing_has_nothing_to_end(make):
    named = make().transport.named
    await named.stop_receiving("jobs")
    await named.rest()
    await named.aclose()
    assert not named.is_awaited()


async def test_rest_ends_what_reads_for_no_caller(make):
    layer = make()
    await layer.send("jobs", JOB)
    await soon(layer.receive("jobs"))
    waiting = asyncio.create_task(layer.receive("others"))
    await until(layer.transport.named.is_awaited)
    reading = layer.transport.named._reading.peek()
    await layer.close_pools()
    assert list(reading.readers) == ["others"]
    await layer.stop_receiving("others")  # somebody waits
    assert list(reading.readers) == ["others"]
    waiting.cancel()
    await asyncio.wait((waiting,))
    await layer.close_pools()
    assert reading.readers == {}
    assert reading.line.link is None


async def test_a_flush_deletes_the_queues_that_this_process_knows(make):
    layer = make()
    await layer.send("jobs", JOB)
    await layer.send("read", JOB)
    await soon(layer.receive("read"))
    await layer.send("read", JOB)
    await layer.flush()
    await layer.send("jobs", {"type": "later"})
    assert await soon(layer.receive("jobs")) == {"type": "later"}
    sender = make()
    await sender.send("jobs", JOB)
    await sender.flush()  # it has read nothing
    await sender.send("jobs", {"type": "last"})
    assert await soon(layer.receive("jobs")) == {"type": "last"}


def test_a_queue_lives_longer_than_its_messages():
    assert queues._LIVES > 1


@pytest.mark.parametrize("expiry", [90 * 86400, 1e300])
async def test_messages_may_live_longer_than_rabbitmq_takes(make, expiry):
    layer = make(expiry=expiry)
    channel = await layer.new_channel()
    await layer.group_add("all", channel)
    await layer.send("jobs", JOB)
    await layer.group_send("all", JOB)
    assert await soon(layer.receive("jobs")) == JOB
    assert await soon(layer.receive(channel)) == JOB


async def test_a_call_that_goes_on_failing_is_given_up(make, monkeypatch):
    monkeypatch.setattr(queues, "PATIENCE", -1.0)

    async def fail(link):
        raise ConnectionError("as if")

    with pytest.raises(BrokerUnavailable, match=r"did not do what it was asked .* as if"):
        await soon(make().transport.named._repeat(fail))
