"""Crashes as events of the real SDK: one each, of one connection, without secrets."""

import asyncio
import json

import pytest
import sentry_sdk
from django.contrib.auth.models import User
from sentry_sdk.transport import Transport

from channels.contrib.sentry import instrument, uninstrument
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.testing import WebsocketCommunicator


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
