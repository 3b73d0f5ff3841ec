"""What tests of progress share: who listens to a job, and layers of several kinds."""

import asyncio
import uuid

from channels.contrib.progress.job import job_group
from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer


def unique():
    return f"job-{uuid.uuid4().hex[:12]}"


class Stateless(InMemoryChannelLayer):
    """A layer of others: it has groups, and keeps no states."""

    supports_state = False
    supports_processes = True


class WithoutGroups(BaseChannelLayer):
    pass


class Failing(InMemoryChannelLayer):
    """Its broker is down until it is told otherwise."""

    down = True
    calls = 0

    async def get_states(self, collection):
        self.calls += 1
        if self.down:
            raise ConnectionError("The broker is down.")
        return await super().get_states(collection)

    async def group_send(self, group, message):
        if self.down:
            raise ConnectionError("The broker is down.")
        await super().group_send(group, message)

    immediate = frozenset()


class Listener:
    """Hears what groups are told of jobs, in order, each with the time when it came."""

    def __init__(self, *groups):
        self.groups = groups
        self.heard = []

    async def __aenter__(self):
        self.layer = get_channel_layer()
        self.channel = await self.layer.new_channel()
        for group in self.groups:
            await self.layer.group_add(group, self.channel)
        self.task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc_info):
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _listen(self):
        while True:
            message = await self.layer.receive(self.channel)
            assert message["type"] == "progress.report"
            self.heard.append((asyncio.get_running_loop().time(), message["job"]))

    @property
    def jobs(self):
        return [job for _, job in self.heard]

    @property
    def states(self):
        return [job["state"] for job in self.jobs]


def listen(job_id):
    return Listener(job_group(job_id))
