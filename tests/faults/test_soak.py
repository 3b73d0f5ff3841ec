"""Connections that come, listen and vanish, for a while: nothing grows and nothing stays."""

import asyncio
import gc
import os
import time
import tracemalloc

from channels.layers import channel_layers

from ..asgi import Server, until
from .harness import ALIAS, Member, balanced

# Seconds that each of the two halves takes.
SECONDS = float(os.environ.get("CHANNELS_SOAK_SECONDS", "6")) / 2
LEASE = 4.0  # a machine that is busy with other tests must not lose it
BATCH = 50


async def live_and_vanish(layer, other, number):
    """A batch of connections that join, receive, and are gone without a word."""
    servers = [Server(Member.as_asgi()) for _ in range(BATCH)]
    await asyncio.gather(*(server.connect() for server in servers))
    channels = [server.texts()[0] for server in servers]
    rooms = [f"soak-{number}-{n}" for n in range(5)]
    for n, channel in enumerate(channels):
        await layer.group_add(rooms[n % 5], channel)
    await other.group_send("room", {"type": "news", "sender": "all", "n": number})
    for room in rooms:
        await other.group_send(room, {"type": "news", "sender": "room", "n": number})
    await until(lambda: all(len(server.texts()) == 3 for server in servers), 30)
    for n, server in enumerate(servers):
        # More is on its way as they vanish: some with a word, most without.
        await other.send(channels[n], {"type": "news", "sender": "late", "n": number})
        if n % 10:
            server.task.cancel()
        else:
            server.put("websocket.disconnect", code=1006)
    await asyncio.wait([server.task for server in servers], timeout=10)


async def soak(layer, other, start):
    deadline, number = time.monotonic() + SECONDS, start
    while time.monotonic() < deadline or number < start + 3:
        await live_and_vanish(layer, other, number)
        number += 1
    return number


def measure():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_connections_that_vanish_leave_nothing(layers, broker):
    layer = layers(broker.address, lease=LEASE, expiry=LEASE)
    other = layers(broker.address, lease=LEASE, expiry=LEASE)
    channel_layers.set(ALIAS, layer)
    tracemalloc.start()
    try:
        count = await soak(layer, other, 0)
        first, keys = measure(), broker.cli("DBSIZE")
        memory = broker.client().info("memory")["used_memory"]
        count = await soak(layer, other, count)
        second = measure()
    finally:
        tracemalloc.stop()
        channel_layers.set(ALIAS, None)
    assert second - first < 1_000_000, f"grew by {second - first} bytes in {count * BATCH}"
    assert broker.client().info("memory")["used_memory"] - memory < 2_000_000
    assert broker.cli("DBSIZE") <= keys + 5
    assert balanced(layer)

    with broker.client() as client:
        for key in client.scan_iter(b"*"):
            assert 0 < client.pttl(key) <= 121_000, key  # a sender's number is kept the longest
        await asyncio.sleep(LEASE)
        assert not list(client.scan_iter(b"*:group:*"))
    await layer.aclose()
    assert broker.cli("KEYS", f"*{layer.client_prefix}*") == []
