"""What the server has to do: for each process once, never for each member, never for all keys."""

import asyncio

from ..asgi import until
from .harness import GROUP, Room, Sender


def commands(broker):
    """How often each command was carried out since the count was reset."""
    with broker.client() as client:
        found = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(stats["calls"]) for name, stats in found.items()}


def total(counted):
    return sum(n for name, n in counted.items() if name not in ("info", "config|resetstat", "ping"))


async def test_a_group_send_costs_as_much_for_a_thousand_members_as_for_one(layers, broker):
    sender = layers(broker.address)
    await sender.group_send("nobody", {"type": "connect"})
    costs = []
    for members in (1, 1000):
        layer = layers(broker.address)
        channels = [await layer.new_channel() for _ in range(members)]
        for channel in channels:
            await layer.group_add(f"{members}", channel)
        broker.cli("CONFIG", "RESETSTAT")
        for n in range(20):
            await sender.group_send(f"{members}", {"type": "n", "n": n})
        async with asyncio.timeout(5):
            for channel in channels:
                assert [(await layer.receive(channel))["n"] for _ in range(20)] == list(range(20))
        counted = commands(broker)
        assert counted["xadd"] == 20
        assert counted["evalsha"] == 20
        costs.append(total(counted))
    assert abs(costs[0] - costs[1]) <= 40  # reads may come one by one or together


async def test_a_group_send_costs_one_entry_for_each_process(layers, broker):
    sender, *processes = (layers(broker.address) for _ in range(5))
    for process in processes:
        for _ in range(10):
            await process.group_add(GROUP, await process.new_channel())
    broker.cli("CONFIG", "RESETSTAT")
    for _ in range(10):
        await sender.group_send(GROUP, {"type": "n"})
    assert commands(broker)["xadd"] == 10 * len(processes)


async def test_joining_a_group_asks_the_server_once_for_each_process(layers, broker):
    layer = layers(broker.address)
    channels = [await layer.new_channel() for _ in range(500)]
    broker.cli("CONFIG", "RESETSTAT")
    for channel in channels:
        await layer.group_add(GROUP, channel)
    assert commands(broker)["zadd"] == 1


async def test_a_burst_of_sends_needs_one_connection(layers, broker):
    layer = layers(broker.address)
    await layer.send("queue", {"type": "n"})
    before = broker.client().info("stats")["total_connections_received"]
    await asyncio.gather(*(layer.group_send(GROUP, {"type": "n", "n": n}) for n in range(5000)))
    after = broker.client().info("stats")["total_connections_received"]
    assert after - before == 1  # the one that asks


async def test_nothing_ever_looks_through_all_keys(layers, broker):
    """In a life with everything in it but flush."""
    here, there = layers(broker.address, lease=0.6), layers(broker.address, lease=0.6)
    broker.cli("CONFIG", "RESETSTAT")
    async with Room(here) as room:
        sender = Sender(there)
        for _ in range(50):
            await there.send("queue", await there.new_channel() and {"type": "n"})
            await sender.send_one()
        await here.group_add(GROUP, "queue")
        await there.group_add(GROUP, await here.new_channel())
        async with asyncio.timeout(5):
            for _ in range(50):
                await here.receive("queue")
        await here.group_discard(GROUP, "queue")
        before = commands(broker)["evalsha"]
        await until(lambda: commands(broker)["evalsha"] >= before + 6)  # leases are renewed
        await room.hears(await sender.send_one())
        assert room.connected
    await here.aclose()
    await there.aclose()
    counted = commands(broker)
    assert not {"keys", "scan", "sscan", "hscan", "zscan", "randomkey"} & counted.keys()
    # What takes time in proportion to a key's size is asked for parts only.
    assert not {"smembers", "hgetall", "zrangebyscore", "lrange"} & counted.keys()
