"""A layer without server or consumers: prints what its deliveries cost, as JSON.

Usage: ``python layer_alone.py MEMBERS SECONDS``. All members are in one group and wait, each in a
task of its own as consumers do. A few messages are sent to the group, and when every member has
them the next few, until the time is over.
"""

import asyncio
import json
import sys
import time

from django.conf import settings
from layers import LAYERS, MESSAGE

from channels.layers import get_channel_layer

BATCH = 10_000  # deliveries, about
PATIENCE = 60.0  # seconds for a batch


async def deliver(members: int, seconds: float) -> None:
    layer = get_channel_layer()
    batch = max(1, BATCH // members)
    sent = missing = 0
    arrived = asyncio.Event()

    async def member(channel: str) -> None:
        nonlocal missing
        expected = 0
        while True:
            if (await layer.receive(channel))["n"] != expected:
                raise RuntimeError(f"{channel} received its messages out of order.")
            expected += 1
            missing -= 1
            if not missing:
                arrived.set()

    async def exchange() -> None:
        nonlocal sent, missing
        missing = batch * members
        arrived.clear()
        for _ in range(batch):
            await layer.group_send("room", {**MESSAGE, "n": sent})
            sent += 1
        async with asyncio.timeout(PATIENCE):
            await arrived.wait()

    async with asyncio.TaskGroup() as tasks:
        waiting = []
        for _ in range(members):
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            waiting.append(tasks.create_task(member(channel)))
        await exchange()
        print("start", flush=True)
        rounds, started, cpu = 0, time.perf_counter(), time.process_time()
        while not rounds or time.perf_counter() - started < seconds:
            await exchange()
            rounds += 1
        cost = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
        print(json.dumps({"count": rounds * batch * members, **cost}), flush=True)
        for task in waiting:
            task.cancel()


settings.configure(CHANNEL_LAYERS=LAYERS)
asyncio.run(deliver(int(sys.argv[1]), float(sys.argv[2])))
