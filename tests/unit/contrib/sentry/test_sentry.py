"""Crashes as events of the real SDK: one each, of one connection, without secrets."""

import asyncio
import json

import pytest
import sentry_sdk
from django.contrib.auth.models import User
from sentry_sdk.transport import Transport

from channels.consumer import AsyncConsumer
from channels.contrib.sentry import instrument, uninstrument
from channels.contrib.tasks.compat import task_backends
from channels.contrib.tasks.worker import TaskWorker
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.routing import ChannelNameRouter
from channels.testing import WebsocketCommunicator
from channels.worker import Worker
from tests.asgi import until
from tests.conformance.tasks import jobs


class Kept(Transport):
    events = []

    def capture_envelope(self, envelope):
        self.events.extend(item.payload.json for item in envelope.items if item.type == "event")


@pytest.fixture
def events(request):
    Kept.events = []
    sentry_sdk.init(
        dsn="https://key@localhost/1", transport=Kept, send_default_pii=request.param,
        auto_session_tracking=False,
    )  # fmt: skip
    instrument()
    yield Kept.events
    uninstrument()
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


class Crashes(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        sentry_sdk.add_breadcrumb(message=f"crumb {text_data}")
        if text_data.startswith("crash"):
            scope = self.scope
            raise ValueError(f"{text_data} {len(scope)}")
        await self.send(text_data)


class SyncCrashes(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        sentry_sdk.add_breadcrumb(message=f"crumb {text_data}")
        if text_data.startswith("crash"):
            headers = self.scope["headers"]
            raise ValueError(f"{text_data} {len(headers)}")
        self.send(text_data)


class Client:
    """As a server calls the application."""

    def __init__(self, consumer):
        self.queue, self.sent = asyncio.Queue(), asyncio.Queue()
        self.queue.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket", "path": "/ws/", "asgi": {"version": "3.0"}, "subprotocols": [],
            "headers": [(b"cookie", b"sessionid=very-secret")],
            "query_string": b"token=very-secret",
            "user": User(pk=7),
        }  # fmt: skip
        self.task = asyncio.ensure_future(consumer.as_asgi()(scope, self.queue.get, self.sent.put))

    async def say(self, text):
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        async with asyncio.timeout(5):
            return await self.sent.get()


@pytest.mark.filterwarnings("ignore:The send_default_pii option:DeprecationWarning")
@pytest.mark.parametrize("events", [True, False], indirect=True)
@pytest.mark.parametrize("consumer", [Crashes, SyncCrashes])
async def test_a_crash_is_one_event_of_its_connection(events, consumer, request):
    clients = [Client(consumer) for _ in range(2)]
    for number, client in enumerate(clients):
        await client.sent.get()
        await client.say(f"of {number}")
    assert (await clients[0].say("crash"))["type"] == "websocket.close"
    for client in clients:
        client.queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
        async with asyncio.timeout(5):
            await client.task
    (event,) = events
    assert event["exception"]["values"][-1]["type"] == "ValueError"
    assert event["tags"]["consumer"] == consumer.__name__
    channels = event["contexts"]["channels"]
    assert channels["path"] == "/ws/"
    assert channels["connection_id"] == event["tags"]["connection_id"]
    crumbs = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
    assert "crumb of 0" in crumbs
    assert "crumb of 1" not in crumbs
    assert "very-secret" not in json.dumps(event, default=str)
    pii = "True" in request.node.name
    assert event.get("user", {}).get("id") == ("7" if pii else None)


async def test_a_connection_that_was_there_before_ends_without_a_scope():
    uninstrument()
    socket = WebsocketCommunicator(Crashes.as_asgi(), "/")
    await socket.connect()
    instrument()
    try:
        await socket.send_to(text_data="still there")
        assert await socket.receive_from() == "still there"
        await socket.disconnect()
    finally:
        uninstrument()


class Job(AsyncConsumer):
    async def job(self, message):
        sentry_sdk.add_breadcrumb(message=f"crumb {message['n']}")
        if message["n"] < 0:
            return
        raise ValueError(f"of job {message['n']}")


@pytest.fixture
def layer():
    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", old)


@pytest.mark.parametrize("events", [None], indirect=True)
async def test_a_crash_of_a_worker_is_one_event_with_its_channel(events, layer):
    worker = Worker(ChannelNameRouter({"jobs": Job.as_asgi()}), ["jobs"], layer)
    working = asyncio.ensure_future(worker.arun())
    try:
        await layer.send("jobs", {"type": "job", "n": -1})  # does not crash
        for number in range(2):
            await layer.send("jobs", {"type": "job", "n": number})
            await until(lambda: len(events) > number)  # noqa: B023 - called here
    finally:
        worker.stop()
        await working
    assert len(events) == 2
    for number, event in enumerate(events):
        (raised,) = event["exception"]["values"]
        assert (raised["type"], raised["value"]) == ("ValueError", f"of job {number}")
        assert event["tags"]["consumer"] == "Job"
        assert event["contexts"]["channels"]["path"] == "jobs"
        crumbs = [crumb.get("message") for crumb in event["breadcrumbs"]["values"]]
        assert f"crumb {number}" in crumbs
        assert f"crumb {1 - number}" not in crumbs
    first, second = (event["tags"]["connection_id"] for event in events)
    assert first != second


@pytest.mark.parametrize("events", [None], indirect=True)
@pytest.mark.parametrize("job", [jobs.fail, jobs.afail])
async def test_a_task_that_fails_is_one_event_with_its_name_and_id(events, settings, job):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.TASKS = {
        "default": {
            "BACKEND": "channels.contrib.tasks.ChannelsBackend",
            "OPTIONS": {"autostart": False, "max_attempts": 1},
        }
    }
    results = [await job.aenqueue() for _ in range(2)]
    worker = TaskWorker(task_backends["default"])
    working = asyncio.ensure_future(worker.arun())
    await until(lambda: len(events) >= 2)
    worker.stop()
    await working
    assert len(events) == 2
    told = {event["tags"]["task_id"]: event for event in events}
    assert set(told) == {result.id for result in results}
    for event in events:
        assert event["tags"]["task"] == job.module_path
        assert event["exception"]["values"][-1]["type"] == "ValueError"
        assert "consumer" not in event["tags"]
