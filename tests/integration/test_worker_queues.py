"""What waits for workers: it is delivered when one comes, once, until it expires."""

import asyncio
import contextlib
import logging
import signal
import time

import pytest

from channels import signals
from channels.consumer import AsyncConsumer
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.worker import Worker
from tests.brokers import running
from tests.unit.management.project import Project
from tests.unit.worker.working import hearing, working

from ..asgi import until

pytestmark = pytest.mark.server

LAYERS = [InMemoryChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer]


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture(params=LAYERS)
async def make_layer(request, broker):
    """Makes the layer of one process; in memory there is but one."""
    layers = []

    def make_layer(**options):
        if request.param is not InMemoryChannelLayer:
            layers.append(request.param(hosts=[broker.url], **options))
        elif not layers:
            layers.append(InMemoryChannelLayer(**options))
        return layers[-1]

    broker.cli("FLUSHALL")
    yield make_layer
    for layer in layers:
        await layer.aclose()


class Noting(AsyncConsumer):
    """Notes what it is given, and by which worker."""

    def __init__(self, name, noted):
        self.name, self.noted = name, noted

    async def job(self, message):
        self.noted.append((self.name, message["n"]))
        await asyncio.sleep(0.002)


async def test_what_was_sent_while_no_worker_was_there_is_delivered_in_order(make_layer):
    sender, noted = make_layer(), []
    for n in range(50):
        await sender.send("jobs", {"type": "job", "n": n})
    application = Noting.as_asgi(name="only", noted=noted)
    async with working(Worker(application, ["jobs"], make_layer())):
        await until(lambda: len(noted) == 50, 30)
    assert [n for _, n in noted] == list(range(50))


async def test_what_has_expired_is_dropped_counted_and_logged(make_layer, caplog):
    caplog.set_level(logging.WARNING, "channels.layers")
    sender, noted = make_layer(expiry=0.2), []
    receiver = make_layer(expiry=0.2)
    with hearing(signals.message_dropped) as dropped:
        for n in range(3):
            await sender.send("jobs", {"type": "job", "n": n})
        sent = time.monotonic()
        await until(lambda: time.monotonic() - sent > 0.3)
        application = Noting.as_asgi(name="only", noted=noted)
        async with working(Worker(application, ["jobs"], receiver)):
            await sender.send("jobs", {"type": "job", "n": 3})
            await until(lambda: noted, 30)
            await until(lambda: sum(drop["count"] for drop in dropped) == 3, 30)
    assert [n for _, n in noted] == [3]
    assert {(drop["channel"], drop["reason"]) for drop in dropped} == {("jobs", "expired")}
    layers = {sender, receiver}
    assert sum(layer.statistics.dropped.get("expired", 0) for layer in layers) == 3
    assert "(expired), the last one to jobs" in caplog.text


async def test_a_full_queue_refuses_and_loses_nothing(make_layer):
    sender, noted = make_layer(capacity=5), []
    refused = 0
    for n in range(8):
        try:
            await sender.send("jobs", {"type": "job", "n": n})
        except ChannelFull:
            refused += 1
    application = Noting.as_asgi(name="only", noted=noted)
    async with working(Worker(application, ["jobs"], make_layer(capacity=5))):
        await until(lambda: len(noted) == 5, 30)
    assert ([n for _, n in noted], refused) == ([0, 1, 2, 3, 4], 3)


async def test_workers_share_the_load_and_each_message_is_handled_once(make_layer):
    sender, noted = make_layer(), []
    async with contextlib.AsyncExitStack() as stack:
        for name, concurrency in (("one", 1), ("two", 1), ("three", 4)):
            application = Noting.as_asgi(name=name, noted=noted)
            worker = Worker(application, ["jobs"], make_layer(), concurrency=concurrency)
            await stack.enter_async_context(working(worker))
        for n in range(90):
            await sender.send("jobs", {"type": "job", "n": n})
        await until(lambda: len(noted) >= 90, 30)
    assert sorted(n for _, n in noted) == list(range(90))
    assert {name for name, _ in noted} == {"one", "two", "three"}


APPLICATION = """
import asyncio
from channels.consumer import AsyncConsumer
from channels.layers.redis.queues import reader
from channels.routing import ChannelNameRouter, ProtocolTypeRouter

reader._BLOCK, reader._ABANDONED = 0.5, 1.0  # seconds; they would be 5 and 10

class Jobs(AsyncConsumer):
    async def job(self, message):
        print(f"<{message['n']}>", flush=True)
        await asyncio.sleep(0.02)
        print(f"[{message['n']}]", flush=True)

application = ProtocolTypeRouter({"channel": ChannelNameRouter({"jobs": Jobs.as_asgi()})})
"""


@pytest.mark.parametrize(
    "make_layer",
    [RedisChannelLayer, pytest.param(RedisPubSubChannelLayer, marks=pytest.mark.slow)],
    indirect=True,
)
async def test_a_worker_that_is_killed_loses_only_what_it_had_taken(make_layer, broker, tmp_path):
    layer = make_layer()
    project = Project(tmp_path)
    project.write("mysite/asgi.py", APPLICATION)
    backend = f"{type(layer).__module__}.{type(layer).__qualname__}"
    config = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [broker.url]}}}
    project.append("mysite/settings.py", f"CHANNEL_LAYERS = {config!r}")
    with (
        project.manage("runworker", "jobs:3") as killed,
        project.manage("runworker", "jobs:3") as other,
    ):
        for worker in (killed, other):
            await asyncio.to_thread(worker.wait_for, "Listening to")
        for n in range(200):
            while True:
                try:
                    await layer.send("jobs", {"type": "job", "n": n})
                    break
                except ChannelFull:
                    await asyncio.sleep(0.01)
            if n == 100:
                await asyncio.to_thread(killed.wait_for, "]")
                killed.process.send_signal(signal.SIGKILL)

        # What the killed one was handed and had not taken is handled by the other.
        await until(lambda: broker.cli("XLEN", "{asgi:0}:queue:jobs") == 0, 30)
        await layer.send("jobs", {"type": "job", "n": "last"})
        await asyncio.to_thread(other.wait_for, "[last]")
        await until(lambda: other.output.count("<") == other.output.count("["), 30)
        output = killed.output + other.output
    begun = [output.count(f"<{n}>") for n in range(200)]
    assert max(begun) == 1  # none twice
    done = [output.count(f"[{n}]") for n in range(200)]
    assert sum(done) >= 200 - 3  # it was killed with three messages at most
