"""Sends from synchronous code: prints what they cost, as JSON.

Usage: ``python sync_sends.py THREADS SECONDS HOW``. Every thread sends to one group, again and
again; its only member takes the messages meanwhile. HOW is ``async_to_sync`` or ``sync_layer``.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import async_to_sync
from django.conf import settings
from layers import LAYERS, MESSAGE

from channels.layers import get_channel_layer


def sender(how: str) -> Callable[[str, dict], None]:
    if how == "async_to_sync":
        return async_to_sync(get_channel_layer().group_send)
    from channels.layers import get_sync_channel_layer  # noqa: PLC0415 - only this checkout has it

    return get_sync_channel_layer().group_send


async def deliver(threads: int, seconds: float, how: str) -> dict:
    layer, received = get_channel_layer(), 0
    channel = await layer.new_channel()
    await layer.group_add("room", channel)

    async def take() -> None:
        nonlocal received
        while True:
            await layer.receive(channel)
            received += 1

    def send(until: float) -> int:
        group_send, sent = sender(how), 0
        while time.perf_counter() < until:
            group_send("room", MESSAGE)
            sent += 1
        return sent

    async def send_all(seconds: float) -> int:
        until, loop = time.perf_counter() + seconds, asyncio.get_running_loop()
        return sum(
            await asyncio.gather(*[loop.run_in_executor(pool, send, until) for _ in range(threads)])
        )

    with ThreadPoolExecutor(threads) as pool:
        taking = asyncio.create_task(take())
        expected = await send_all(seconds / 3)
        print("start", flush=True)
        started, cpu = time.perf_counter(), time.process_time()
        count = await send_all(seconds)
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
    expected += count
    deadline = time.perf_counter() + 2
    while received < expected and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    taking.cancel()
    return {"count": count, "seconds": took, "cpu_seconds": cpu, "lost": expected - received}


settings.configure(CHANNEL_LAYERS=LAYERS)
print(json.dumps(asyncio.run(deliver(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))))
