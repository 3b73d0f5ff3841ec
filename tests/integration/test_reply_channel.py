"""The guide to asking a worker, with a worker process and a real broker."""

import asyncio
import importlib.util
import signal
from pathlib import Path

import pytest

from channels.layers import channel_layers
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.testing import WebsocketCommunicator
from tests.brokers import running
from tests.docs.markdown import blocks_of
from tests.unit.management.project import Project

pytestmark = pytest.mark.server

PAGE = Path(__file__).parents[2] / "docs/howto/ask-a-worker.md"
FILES = {block.text: block.code for block in blocks_of(PAGE) if block.mark == "file"}


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture(params=[RedisChannelLayer, RedisPubSubChannelLayer])
async def layer(request, broker):
    broker.cli("FLUSHALL")
    layer = request.param(hosts=[broker.url])
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)
    await layer.aclose()


@pytest.fixture
def project(tmp_path, broker, layer):
    project = Project(tmp_path)
    for name, text in FILES.items():
        project.write(name, text)
    backend = f"{type(layer).__module__}.{type(layer).__qualname__}"
    config = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [broker.url]}}}
    project.append("mysite/settings.py", f"CHANNEL_LAYERS = {config!r}")
    return project


@pytest.fixture
def consumer(project):
    """The guide's consumer of WebSockets, in this process."""
    spec = importlib.util.spec_from_file_location(
        "guide_consumers", project.folder / "chat/consumers.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SumConsumer.as_asgi()


async def asker(consumer):
    socket = WebsocketCommunicator(consumer, "/ws/sums/")
    assert (await socket.connect())[0]
    return socket


async def test_the_one_who_asked_gets_the_answer_and_nobody_waits_for_one_who_has_gone(
    project, layer, consumer, broker
):
    gone, stays = await asker(consumer), await asker(consumer)
    await gone.send_json_to({"id": 1, "numbers": [1]})
    await gone.disconnect()
    # And one whose whole process has gone.
    other = type(layer)(hosts=[broker.url])
    ghost = await other.new_channel()
    message = {"type": "sum.compute", "numbers": [1], "id": 2, "reply_channel": ghost}
    await layer.send("sums", message)
    await other.aclose()
    await stays.send_json_to({"id": 3, "numbers": [1, 2, 39]})
    with project.manage("runworker", "sums") as worker:
        # What was asked before the worker came is answered, too.
        assert await stays.receive_json_from(timeout=30) == {"id": 3, "total": 42}
        assert await stays.receive_nothing()
        await stays.send_json_to({"id": 4, "numbers": ["x"]})
        answer = await stays.receive_json_from(timeout=30)
        assert answer == {"id": 4, "error": "These are no numbers."}
        worker.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait) == 0
        assert "Traceback" not in worker.output
        assert "failed" not in worker.output
    await stays.disconnect()
