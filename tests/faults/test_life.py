"""Cancellation, event loops, and the end: nothing is lost, leaked or left behind."""

import asyncio
import contextlib
import gc
import logging
import threading
import time

import pytest

from channels.exceptions import ChannelFull

from ..asgi import until
from .harness import (
    Room,
    Sender,
    balanced,
    both_layers,
    check_nothing_lost,
    make_layer,
    received_elsewhere,
    sending,
    settle,
)


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def cancelled_after(coroutine, moment):
    """Cancel it after some turns of the loop, or some tenths of milliseconds; whether it had ended.

    Loopback answers within a few tenths of a millisecond, so all states are met.
    """
    task = asyncio.create_task(coroutine)
    if moment < 20:
        await turns(moment)
    else:
        await asyncio.sleep((moment - 19) * 0.0001)
    task.cancel()
    await asyncio.wait([task])
    return not task.cancelled()


def connections(broker):
    """Connections to the broker besides the one that asks."""
    with broker.client() as client:
        return len(client.client_list()) - 1


# Cancellation


async def test_a_cancelled_send_keeps_the_order_and_takes_up_no_room(layers, broker):
    here, there = layers(broker.address, capacity=40), layers(broker.address, capacity=40)
    own = await here.new_channel()
    for sender, channel in ((here, own), (there, own), (here, "queue"), (there, "queue")):
        await sender.send(channel, {"type": "first", "n": -1})
        sure = [
            n
            for n in range(38)
            if await cancelled_after(sender.send(channel, {"type": "n", "n": n}), n)
        ]
        await sender.send(channel, {"type": "end", "n": 100})
        received = []
        async with asyncio.timeout(5):
            while not received or received[-1] != 100:
                received.append((await here.receive(channel))["n"])
        assert received == sorted(set(received))
        assert set(sure) <= set(received)
    for channel in (own, "queue"):  # all the room is there again
        await until(lambda: broker.cli("XLEN", "{faults:0}:queue:queue") == 0)
        for _ in range(40):
            await here.send(channel, {"type": "n"})
        with pytest.raises(ChannelFull):
            await here.send(channel, {"type": "n"})
    assert balanced(here)


async def test_a_caller_that_gave_up_receiving_takes_nothing_from_other_processes(layers, broker):
    first, second = layers(broker.address), layers(broker.address)
    for moment in range(30):
        await cancelled_after(first.receive("queue"), moment)
        await second.send("queue", {"type": "n", "n": moment})
        async with asyncio.timeout(7):
            received = asyncio.create_task(second.receive("queue"))
            assert (await received)["n"] == moment


async def test_what_was_handed_out_to_nobody_is_given_back(layers, broker, monkeypatch):
    """Without the commands ``CLIENT ...``, which some servers do not allow."""
    monkeypatch.setattr("channels.layers.broker.named_reader.HOLD", 0.3)
    blocked = broker.client()
    broker.cli("ACL", "SETUSER", "default", "-client")
    first, second = layers(broker.address), layers(broker.address)
    receiving = asyncio.create_task(first.receive("queue"))
    await until(lambda: blocked.info("clients")["blocked_clients"] == 1)
    receiving.cancel()
    await asyncio.wait([receiving])
    await second.send("queue", {"type": "n"})
    async with asyncio.timeout(5):
        assert await second.receive("queue") == {"type": "n"}


async def test_closing_gives_back_what_nobody_received(layers, broker):
    first, second = layers(broker.address), layers(broker.address)
    for n in range(20):
        receiving = asyncio.create_task(first.receive("queue"))
        await turns(n)
        await second.send("queue", {"type": "n", "n": n})
        await turns(n)
        receiving.cancel()
        await asyncio.wait([receiving])
        await first.aclose()
        if receiving.cancelled():
            async with asyncio.timeout(5):
                assert await second.receive("queue") == {"type": "n", "n": n}


async def test_a_cancelled_join_or_leave_can_be_done_again(layers, broker):
    here, there = layers(broker.address), layers(broker.address)
    channel, other = await here.new_channel(), await here.new_channel()
    for moment in range(30):
        group = f"group-{moment}"
        await cancelled_after(here.group_add(group, channel), moment)
        await here.group_add(group, channel)
        await here.group_add(group, other)
        await there.group_send(group, {"type": "n", "n": moment})
        async with asyncio.timeout(5):
            assert (await here.receive(channel))["n"] == moment
            assert (await here.receive(other))["n"] == moment
        await cancelled_after(here.group_discard(group, channel), moment)
        await here.group_discard(group, channel)
        await there.group_send(group, {"type": "n", "n": -1})
        async with asyncio.timeout(5):
            assert (await here.receive(other))["n"] == -1
        await here.group_discard(group, other)
    assert broker.cli("KEYS", "*:group:*") == []
    assert here.count_pending() == 0


# Event loops


async def exchange(layer, other, marker):
    """Messages through a channel, a group and a queue, all in order."""
    channel = await layer.new_channel()
    await layer.group_add(marker, channel)
    for n in range(20):
        await other.send(channel, {"type": "direct", "n": n})
        await other.group_send(marker, {"type": "group", "n": n})
        await other.send(marker, {"type": "queue", "n": n})
    async with asyncio.timeout(10):
        local = [await layer.receive(channel) for _ in range(40)]
        queue = [await layer.receive(marker) for _ in range(20)]
    assert [m["n"] for m in local if m["type"] == "direct"] == list(range(20))
    assert [m["n"] for m in local if m["type"] == "group"] == list(range(20))
    assert [m["n"] for m in queue] == list(range(20))
    await layer.group_discard(marker, channel)


def test_many_event_loops_one_after_another_leave_nothing_open(broker):
    layer, other = make_layer(broker.address), make_layer(broker.address)
    for n in range(15):
        asyncio.run(exchange(layer, other, f"loop-{n}"))
        gc.collect()  # whatever was not closed would warn, and a warning is a failure
    deadline = time.monotonic() + 5
    while connections(broker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert connections(broker) == 0

    async def close():
        await layer.aclose()
        await other.aclose()

    asyncio.run(close())
    assert balanced(layer)


@both_layers
async def test_another_loop_goes_on_when_the_one_that_received_ends(layers, broker):
    layer, other = layers(broker.address), layers(broker.address)
    async with received_elsewhere(layer):
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await other.send(channel, {"type": "first"})
        assert (await layer.receive(channel))["type"] == "first"
        receiving = asyncio.create_task(layer.receive(channel))
    async with asyncio.timeout(10):
        while not receiving.done():  # over pub/sub, what is sent before it listens is lost
            await other.group_send("room", {"type": "second"})
            await asyncio.wait((receiving,), timeout=0.02)
    assert (await receiving)["type"] == "second"


def test_two_event_loops_in_two_threads_at_once(broker):
    layer, other = make_layer(broker.address), make_layer(broker.address)
    failures = []

    async def run(name):
        for n in range(10):
            await asyncio.gather(*(exchange(layer, other, f"{name}-{n}-{i}") for i in range(3)))

    def thread(name):
        try:
            asyncio.run(run(name))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=thread, args=(name,)) for name in ("a", "b")]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not failures
    assert balanced(layer)

    async def close():
        await layer.aclose()
        await other.aclose()

    asyncio.run(close())


# The end


async def used(layer):
    await exchange(layer, layer, "used")


async def unused(layer):
    pass


async def waiting(layer):
    """Somebody waits for messages, and somebody else gave up."""
    channel = await layer.new_channel()

    async def receive(name):
        with contextlib.suppress(ConnectionError):
            await layer.receive(name)

    for name in (channel, "queue", "other"):
        asyncio.create_task(receive(name), name="receiver")  # noqa: RUF006
    await asyncio.sleep(0.05)


async def joined(layer):
    for n in range(50):
        await layer.group_add(f"group-{n}", await layer.new_channel())


@pytest.mark.parametrize("fault", ["none", "refuse", "stall", "cut"])
@pytest.mark.parametrize("state", [unused, used, waiting, joined])
async def test_closing_is_prompt_and_leaves_nothing(broker, proxy, state, fault):
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    layer = make_layer(proxy.address)
    await state(layer)
    if fault != "none":
        getattr(proxy, fault)()
    before = time.monotonic()
    await layer.aclose()
    assert time.monotonic() - before < 3.5
    for task in asyncio.all_tasks():
        if task.get_name() == "receiver":
            task.cancel()
    proxy.flow()
    proxy.accept()
    await until(lambda: connections(broker) == 0 or proxy.open == 0)
    await until(lambda: not [t for t in asyncio.all_tasks() - tasks if "tests/proxy" not in str(t)])
    assert {t.name for t in set(threading.enumerate()) - threads} <= {"channels-bridge"}
    if fault == "none":
        assert broker.cli("KEYS", "*:inbox:*") == []
        assert broker.cli("KEYS", "*:group:*") == []
    gc.collect()


async def test_closing_before_the_first_connection_is_there(broker, proxy):
    proxy.stall()
    layer = make_layer(proxy.address)
    waiting = [
        asyncio.create_task(layer.new_channel()),
        asyncio.create_task(layer.send("queue", {"type": "n"})),
        asyncio.create_task(layer.receive("queue")),
    ]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        await layer.aclose()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, ConnectionError) for result in results), results


async def test_a_closed_layer_can_be_used_again(layers, broker, caplog):
    caplog.set_level(logging.WARNING)
    layer = layers(broker.address)
    for _ in range(3):
        await exchange(layer, layer, "again")
        await layer.aclose()
    assert not caplog.records


async def test_a_process_that_leaves_disturbs_nobody(layers, broker):
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room, sending(there) as senders:
        for _ in range(5):
            passing = make_layer(broker.address)
            await passing.group_add("room", await passing.new_channel())
            await senders[0].reaches(10)
            await passing.aclose()
        own = Sender(here)
        await room.hears(await own.send_one())
        await settle(room, senders)
        check_nothing_lost(room, [*senders, own])
