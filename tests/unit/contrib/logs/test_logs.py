"""Records that say which connection they are about, as JSON."""

import asyncio
import gc
import json
import logging
import re
import sys

import pytest
from django.contrib.auth.models import AnonymousUser, User

from channels import signals
from channels.consumer import AsyncConsumer
from channels.contrib.logs import (
    ConnectionFilter,
    JSONFormatter,
    connection_fields,
    connection_id,
)
from channels.contrib.tasks.compat import task_backends
from channels.contrib.tasks.worker import TaskWorker
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.testing import WebsocketCommunicator
from channels.worker import Worker
from tests.asgi import until
from tests.conformance.tasks import jobs

logger = logging.getLogger("tests.project")


@pytest.fixture
def lines():
    """What is logged, as JSON."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(json.loads(self.format(record)))

    handler = Handler()
    handler.addFilter(ConnectionFilter(user=True))
    handler.setFormatter(JSONFormatter())
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


class Chat(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        logger.error("%s", text_data, extra={"room": 7})
        await self.start_background_task(self.later)
        await self.send(connection_id())

    async def later(self):
        logger.error("later")


class SyncChat(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        logger.error("%s", text_data)
        self.send(connection_id())


@pytest.mark.parametrize("consumer", [Chat, SyncChat])
async def test_every_line_of_a_connection_has_its_id(lines, consumer):
    clients = [WebsocketCommunicator(consumer.as_asgi(), "/chat/?token=x") for _ in range(2)]
    ids = []
    for client in clients:
        client.scope["user"] = User(pk=5)
        await client.connect()
        await client.send_to(text_data="hello")
        ids.append(await client.receive_from())
    for client in clients:
        await client.disconnect()
    assert ids[0] != ids[1]
    assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]+", ids[0])
    assert [line["connection_id"] for line in lines][:: len(lines) // 2] == ids
    first = lines[0]
    assert (first["message"], first["consumer"], first["path"]) == (
        "hello",
        consumer.__name__,
        "/chat/",
    )
    assert first["user_id"] == 5
    assert connection_id() is None
    assert connection_fields() == {}


async def test_what_is_not_known_is_left_out(lines):
    class Plain(AsyncConsumer):
        async def start(self, event):
            self.scope["user"] = AnonymousUser()
            logger.error("anonymous")
            del self.scope["user"]
            logger.error("nobody", extra={"path": "given"})

    queue = asyncio.Queue()
    queue.put_nowait({"type": "start"})
    task = asyncio.ensure_future(Plain.as_asgi()({"type": "test"}, queue.get, None))
    async with asyncio.timeout(5):
        while len(lines) < 2:
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert "path" not in lines[0]
    assert "user_id" not in lines[0]
    assert lines[1]["path"] == "given"


def test_outside_of_a_connection(lines):
    try:
        raise ValueError("reason")
    except ValueError:
        logger.exception("failed", stack_info=True)
    (line,) = lines
    assert "connection_id" not in line
    assert line["level"] == "ERROR"
    assert line["logger"] == "tests.project"
    assert "ValueError: reason" in line["exception"]
    assert line["stack"].startswith("Stack")
    assert line["time"].endswith("+00:00")


def test_what_is_no_json():
    def line(**attributes):
        return json.loads(JSONFormatter().format(logging.makeLogRecord(attributes)))

    odd = line(msg="odd \ud800", thing=object, large=2**70)
    assert odd["message"] == "odd \\ud800"
    assert odd["large"] == str(2**70)
    assert "tests.project" in line(msg="object", thing=logger)["thing"]


def test_the_span_that_is_running(lines):
    from opentelemetry import trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext

    with trace.use_span(NonRecordingSpan(SpanContext(15, 16, is_remote=False))):
        logger.error("within")
    logger.error("without")
    assert lines[0]["trace_id"] == "0" * 31 + "f"
    assert lines[0]["span_id"] == "0" * 14 + "10"
    assert "trace_id" not in lines[1]


def test_without_opentelemetry(lines, monkeypatch):
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    logger.error("plain")
    assert "trace_id" not in lines[0]


async def test_a_task_that_outlives_its_connection_knows_the_id_alone():
    go_on, found = asyncio.Event(), []

    class Leaves(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            self_id = connection_id()
            found.append((self_id, asyncio.create_task(outlive())))

    async def outlive():
        await go_on.wait()
        return connection_fields()

    socket = WebsocketCommunicator(Leaves.as_asgi(), "/")
    await socket.connect()
    await socket.send_to(text_data="x")
    await until(lambda: found)
    await socket.disconnect()
    del socket
    gc.collect()
    go_on.set()
    [(known, task)] = found
    assert await task == {"connection_id": known}


async def test_lines_of_workers_have_an_id_for_each_consumer(lines):
    class Jobs(AsyncConsumer):
        async def job(self, message):
            logger.error("job")

    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    worker = Worker(Jobs.as_asgi(), ["first", "second"], layer)
    working = asyncio.ensure_future(worker.arun())
    try:
        for count, channel in enumerate(("first", "second", "first")):
            await layer.send(channel, {"type": "job"})
            await until(lambda count=count: len(lines) > count)
    finally:
        worker.stop()
        await working
        channel_layers.set("default", old)
    assert [line["path"] for line in lines] == ["first", "second", "first"]
    first, second, again = (line["connection_id"] for line in lines)
    assert first == again != second


async def test_lines_of_background_tasks_have_none(lines, settings):
    settings.TASKS = {
        "default": {
            "BACKEND": "channels.contrib.tasks.ChannelsBackend",
            "OPTIONS": {"autostart": False, "max_attempts": 1},
        }
    }
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

    class Asks(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await jobs.aadd.aenqueue(1, 2)
            await self.send(connection_id())

    def started(**others):
        logger.error("started")

    signals.task_attempt_started.connect(started, weak=False)
    try:
        async with WebsocketCommunicator(Asks.as_asgi(), "/") as client:
            await client.send_to(text_data="x")
            assert await client.receive_from()
        worker = TaskWorker(task_backends["default"])
        working = asyncio.ensure_future(worker.arun())
        await until(lambda: lines)
        worker.stop()
        await working
    finally:
        signals.task_attempt_started.disconnect(started)
    assert {"connection_id", "consumer", "path"}.isdisjoint(lines[0])
