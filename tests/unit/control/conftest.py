"""A layer over a real broker as the project's, another process in its group, and a command."""

import asyncio
import contextlib
import uuid

import pytest

from channels.control import handlers
from channels.control.plane import ANSWER, COMMAND, control_group, planes
from channels.layers import channel_layers
from channels.layers.redis import RedisChannelLayer
from tests.asgi import until
from tests.brokers import running


@pytest.fixture(scope="session")
def control_broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
def prefix():
    return uuid.uuid4().hex


@pytest.fixture
async def layer(control_broker, prefix):
    """The project's."""
    layer = RedisChannelLayer(hosts=[control_broker.url], prefix=prefix)
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)
    await layer.aclose()


class Elsewhere:
    """What another process would send and hear."""

    def __init__(self, layer):
        self.layer = layer
        self.heard = asyncio.Queue()

    async def publish(self, command, reply=None, **data):
        message = {"type": COMMAND, "command": command, "data": data, "reply": reply}
        await self.layer.group_send(control_group(), {**message, "origin": "elsewhere"})

    async def listen(self):
        self.channel = await self.layer.new_channel()
        await self.layer.group_add(control_group(), self.channel)
        self.task = asyncio.create_task(self._listen())

    async def _listen(self):
        while True:
            self.heard.put_nowait(await self.layer.receive(self.channel))

    async def answer(self, message, answer):
        await self.layer.send(
            message["reply"], {"type": ANSWER, "process": "elsewhere", "answer": answer}
        )


@pytest.fixture
async def elsewhere(control_broker, prefix, layer):
    other = RedisChannelLayer(hosts=[control_broker.url], prefix=prefix)
    elsewhere = Elsewhere(other)
    await elsewhere.listen()
    yield elsewhere
    elsewhere.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await elsewhere.task
    await other.aclose()


@pytest.fixture
def calls(monkeypatch):
    """What the command "note" was handled with; "gap" too."""
    calls = []

    def note(**data):
        calls.append(data)
        return data.get("answer")

    monkeypatch.setattr(handlers, "_handlers", {})
    handlers.register("note", note)
    handlers.register(handlers.GAP, note)
    return calls


@pytest.fixture
async def plane():
    """That of the test's event loop, listening."""
    plane = planes.get()
    plane.start()
    yield plane
    plane.stop()
    if plane._listening is not None:
        await until(lambda: plane._listening is None)


@pytest.fixture
async def listening(layer, plane):
    await asyncio.wait_for(plane.listens.wait(), 5)
    return plane
