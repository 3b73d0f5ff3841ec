"""Tests as the tutorial writes them."""

from django.contrib.auth.models import User
from django.test import TestCase
from mysite.asgi import application

from channels.db import database_sync_to_async
from channels.testing import (
    ApplicationCommunicator,
    ChannelsLiveServerTestCase,
    HttpCommunicator,
    WebsocketCommunicator,
)

from .consumers import Chat, Events


class ChatTests(TestCase):
    """Communicators."""

    async def test_room(self) -> None:
        user = await database_sync_to_async(User.objects.create_user)("anna")
        communicator = WebsocketCommunicator(
            application, "/ws/chat/kitchen/", headers=[(b"origin", b"http://testserver")]
        )
        communicator.scope["user"] = user
        connected, _ = await communicator.connect(timeout=5)
        assert connected
        await communicator.send_json_to({"text": "Soup"})
        line = await communicator.receive_json_from()
        assert line["text"] == "Soup"
        text: str | bytes = await communicator.receive_from()
        assert text
        assert await communicator.receive_nothing()
        await communicator.disconnect()

    async def test_with(self) -> None:
        async with WebsocketCommunicator(Chat.as_asgi(), "/") as anna:
            await anna.send_to(text_data="Soup")

    async def test_http(self) -> None:
        response = await HttpCommunicator(Events.as_asgi(), "GET", "/").get_response()
        assert response["status"] == 200

    async def test_events(self) -> None:
        raw = ApplicationCommunicator(application, {"type": "websocket"})
        await raw.send_input({"type": "websocket.connect"})
        event = await raw.receive_output(timeout=1)
        assert event["type"] == "websocket.accept"


class PageTests(ChannelsLiveServerTestCase):
    """A real server."""

    serve_static = True

    def test_urls(self) -> None:
        assert self.live_server_url.startswith("http")
        assert self.live_server_ws_url.startswith("ws")
