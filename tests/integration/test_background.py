"""Background tasks of consumers in a worker: they end with the instance that started them."""

import asyncio

import pytest

from channels.consumer import AsyncConsumer, SyncConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.worker import Worker
from tests.asgi import DEADLINE, until

log = []


class AsyncJobs(AsyncConsumer):
    async def begin(self, message):
        self.start_background_task(self.work)

    async def crash(self, message):
        self.start_background_task(self.fail)

    async def note(self, message):
        log.append("noted")

    async def work(self):
        log.append("working")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("worked")

    async def fail(self):
        raise LookupError("in the background")


class SyncJobs(SyncConsumer):
    def begin(self, message):
        self.start_background_task(self.work)

    def crash(self, message):
        self.start_background_task(self.fail)

    def note(self, message):
        log.append("noted")

    def work(self):
        log.append("working")
        self.background_stopping.wait(60)
        log.append("worked")

    def fail(self):
        raise LookupError("in the background")


@pytest.fixture(params=[AsyncJobs, SyncJobs])
async def layer(request):
    """A channel layer from which a worker serves the channel ``jobs``."""
    log.clear()
    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    worker = Worker(request.param.as_asgi(), ["jobs"], layer)
    running = asyncio.create_task(worker.handle())
    yield layer
    worker.stop()
    await asyncio.wait_for(running, DEADLINE)
    assert log.count("working") == log.count("worked")
    channel_layers.set("default", old)


async def test_a_task_goes_on_while_messages_are_handled_until_the_worker_stops(layer):
    await layer.send("jobs", {"type": "begin"})
    await until(lambda: "working" in log)
    await layer.send("jobs", {"type": "note"})
    await until(lambda: "noted" in log)
    assert log == ["working", "noted"]  # it ends in the fixture


async def test_a_crash_ends_the_instance_and_the_next_message_has_another(layer, caplog):
    await layer.send("jobs", {"type": "begin"})
    await layer.send("jobs", {"type": "crash"})
    await until(lambda: "worked" in log)
    await until(lambda: caplog.records)
    await layer.send("jobs", {"type": "note"})
    await until(lambda: "noted" in log)
    [record] = caplog.records
    assert record.name == "channels.worker"
    assert "in the background" in str(record.exc_info[1])
