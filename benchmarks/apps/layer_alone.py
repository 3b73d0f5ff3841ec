"""The in-memory layer without server or consumers: prints what its deliveries cost, as JSON.

Usage: ``python layer_alone.py MEMBERS SECONDS``. All members are in one group; ten messages are
sent to it, then every member takes its ten, and so on until the time is over.
"""

import asyncio
import json
import sys
import time

from channels.layers import InMemoryChannelLayer

BATCH = 10


async def deliver(members: int, seconds: float) -> dict:
    layer = InMemoryChannelLayer()
    channels = [await layer.new_channel() for _ in range(members)]
    for channel in channels:
        await layer.group_add("room", channel)

    async def exchange() -> None:
        for number in range(BATCH):
            await layer.group_send("room", {"type": "chat.message", "text": "x" * 64, "n": number})
        for channel in channels:
            for number in range(BATCH):
                if (await layer.receive(channel))["n"] != number:
                    raise RuntimeError(f"{channel} received its messages out of order.")

    await exchange()
    rounds, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        await exchange()
        rounds += 1
    return {
        "count": rounds * BATCH * members,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


print(json.dumps(asyncio.run(deliver(int(sys.argv[1]), float(sys.argv[2])))))
