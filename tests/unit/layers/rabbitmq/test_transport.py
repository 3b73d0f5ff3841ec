"""What is published to processes and groups, and what comes of it."""

import asyncio
import threading

import pytest

from channels.exceptions import ChannelFull, NotSupported, Unconfirmed
from channels.layers.rabbitmq.names import GAP, group_key, process_key

from ....asgi import until

NEWS = {"type": "news"}


async def soon(awaitable):
    async with asyncio.timeout(20):
        return await awaitable


def mailbox_of(layer, channel):
    return layer.open_mailbox(channel, lambda: None)


async def test_a_group_hears_what_is_sent_to_it(make):
    here, there = make(), make()
    channel = await here.new_channel()
    await here.group_add("room", channel)
    await there.group_send("room", NEWS)
    assert await soon(here.receive(channel)) == NEWS
    await here.group_discard("room", channel)
    await there.group_send("room", {"type": "not for it"})
    await there.send(channel, NEWS)
    assert await soon(here.receive(channel)) == NEWS


async def test_rubbish_is_counted(make):
    layer = make()
    await layer.new_channel()
    publisher = layer.transport._get_publisher()
    await publisher.publish(process_key(layer.client_prefix), b"?rubbish")
    await publisher.publish(process_key(layer.client_prefix), b"j\xff a")
    await until(lambda: layer.statistics.dropped == {"undecodable": 2})


async def test_a_message_to_a_process_that_is_gone_is_counted(make):
    here, gone = make(), make()
    channel = await gone.new_channel()
    await gone.aclose()
    await here.send(channel, NEWS)
    assert here.statistics.dropped == {"closed": 1}


async def test_a_process_that_reads_nothing_is_full_at_last(make):
    here, slow = make(inbox_capacity=1), make(inbox_capacity=1, capacity=100_000)
    channel = await slow.new_channel()
    (inbox,) = slow.transport.receiver.readers
    # RabbitMQ sends no more than it is allowed before something is acknowledged.
    await inbox._link.channel.basic_cancel(next(iter(inbox._link.channel.consumers)))
    for tag in list(inbox._link.channel.consumers):
        await inbox._link.channel.basic_cancel(tag)
    with pytest.raises(ChannelFull, match="has 1 messages to read"):
        for _ in range(3):
            await here.send(channel, NEWS)


async def test_what_is_not_confirmed_is_counted_and_told(make, monkeypatch):
    here, there = make(), make()
    channel, member = await here.new_channel(), await here.new_channel()
    await here.group_add("room", member)
    told = []
    for name in ("announce_gap_to_channel", "announce_gap_to_group"):
        monkeypatch.setattr(here.local, name, lambda *args: told.append(args))
    publisher = there.transport._get_publisher()
    publish = publisher.publish

    async def fail(key, body, **options):
        if options.get("kind") != GAP:
            raise Unconfirmed("as if")
        return await publish(key, body, **options)

    monkeypatch.setattr(publisher, "publish", fail)
    await there.send(channel, NEWS)
    await there.group_send("room", NEWS)
    await there.group_add("other", channel)  # nobody is told of it
    assert there.statistics.dropped == {"unconfirmed": 2}
    reason = "the broker did not confirm a message"
    await until(lambda: sorted(told) == sorted([(channel, reason), ("room", reason)]))


async def test_what_is_sent_while_the_queue_is_away_waits_for_it(make, proxy):
    layer = make(proxy.url)
    channel, member = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("room", member)
    (inbox,) = layer.transport.receiver.readers
    proxy.cut()
    await until(lambda: not inbox.up)
    await soon(layer.group_send("room", NEWS))
    await soon(layer.send(channel, NEWS))
    assert await soon(layer.receive(channel)) == NEWS
    assert await soon(layer.receive(member)) == NEWS


async def test_a_process_starts_to_receive_when_it_sends_to_itself(make):
    layer = make()
    channel = await layer.new_channel()
    await layer.transport.receiver.stop()
    await soon(layer.send(channel, NEWS))
    assert await soon(layer.receive(channel)) == NEWS


async def test_another_event_loop_may_receive(make):
    layer, ready, over = make(), threading.Event(), threading.Event()

    async def receive():
        await layer.new_channel()
        ready.set()
        await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(receive(),))
    thread.start()
    try:
        await asyncio.to_thread(ready.wait)
        channel = await layer.new_channel()
        await soon(layer.group_add("room", channel))
        await soon(layer.group_send("room", NEWS))
        await soon(layer.send(channel, NEWS))
        assert [await soon(layer.receive(channel)) for _ in range(2)] == [NEWS, NEWS]
        layer.transport.unsubscribe("room")  # is left to the other loop
    finally:
        over.set()
        await asyncio.to_thread(thread.join)


async def test_states_and_shared_limits_are_refused(make):
    transport = make().transport
    for call in (
        transport.set_state("a", "b", b"", 1, None, 1),
        transport.get_states("a", None),
        transport.delete_state("a", "b"),
        transport.take_tokens("a", 1, 1, 1, 1),
        transport.hold_places("a", {}, lease=1, keep=2, former=None),
    ):
        with pytest.raises(NotSupported, match="keeps no states"):
            await call


async def test_a_layer_that_has_sent_nothing_can_rest(make):
    layer = make()
    await layer.close_pools()
    assert layer.transport.connected_loops() == set()
    await layer.group_send("room", NEWS)
    assert layer.transport.connected_loops() == {asyncio.get_running_loop()}
    await layer.close_pools()
    assert layer.transport._get_publisher()._line.link is None


def test_keys_of_groups_and_processes_differ():
    assert group_key("a") != process_key("a")
