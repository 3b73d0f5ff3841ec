"""A process with a channel layer, which does what it is told, line by line.

Each line on its standard input is a list in JSON, with the name of a function below and what it is
called with. What that returns is a line of its standard output.
"""

import asyncio
import json
import os
import sys
import time

from django.conf import settings
from layers import LAYERS, MESSAGE

from channels.layers import get_channel_layer

PATIENCE = 60.0  # seconds for what was sent to arrive


class Process:
    """Members of groups, each of which waits in a task of its own, as consumers do."""

    def __init__(self) -> None:
        self.layer = get_channel_layer()
        self.missing = 0
        self.arrived = asyncio.Event()
        self.members: set[asyncio.Task[None]] = set()

    async def join(self, groups: list[str], members: int) -> None:
        """Add so many members to each group."""
        for group in groups:
            for _ in range(members):
                channel = await self.layer.new_channel()
                await self.layer.group_add(group, channel)
                self.members.add(asyncio.create_task(self._receive(channel)))

    async def _receive(self, channel: str) -> None:
        expected = 0
        while True:
            message = await self.layer.receive(channel)
            if message["n"] != expected:
                print(f"{channel} received {message} out of order", file=sys.stderr)
                os._exit(1)
            expected += 1
            self.missing -= 1
            if not self.missing:
                self.arrived.set()

    async def expect(self, deliveries: int) -> float:
        """So many are to come; the CPU time that this process has had until now, in seconds."""
        self.missing = deliveries
        self.arrived.clear()
        return time.process_time()

    async def wait(self) -> float:
        """Wait until they have come; the CPU time until then."""
        async with asyncio.timeout(PATIENCE):
            await self.arrived.wait()
        return time.process_time()

    async def send(self, groups: list[str], first: int, messages: int) -> float:
        """Send so many to each group, one after the other; the CPU time that took."""
        before = time.process_time()
        for n in range(first, first + messages):
            for group in groups:
                await self.layer.group_send(group, {**MESSAGE, "n": n})
        return time.process_time() - before


async def main() -> None:
    process = Process()
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, *arguments = json.loads(line)
        print(json.dumps(await getattr(process, name)(*arguments)), flush=True)


settings.configure(CHANNEL_LAYERS=LAYERS)
asyncio.run(main())
