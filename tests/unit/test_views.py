import asyncio
import json
import logging

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from channels._runtime.connections import connections
from channels.exceptions import ChannelsError, InvalidChannelLayerError
from channels.layers import get_channel_layer
from channels.revocation import adisconnect_group
from channels.views import Event, as_event, group_event_stream
from tests.asgi import until

COMMENT = b":\n\n"


@pytest.fixture
def request_of_asgi(rf):
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    return ASGIRequest(scope, rf.get("/"))


class Client:
    """Reads the stream of a response."""

    def __init__(self, response):
        self.parts = aiter(response.streaming_content)

    async def read(self):
        async with asyncio.timeout(5):
            return await anext(self.parts)

    async def leave(self):
        await self.parts.aclose()


@pytest.fixture
async def client(request_of_asgi):
    """Has joined the groups ``news`` and ``more``."""
    client = Client(group_event_stream(request_of_asgi, "news", "more"))
    assert await client.read() == COMMENT
    yield client
    await client.leave()
    # Django leaves it to the event loop to close what is behind its own generator.
    await until(lambda: not (get_channel_layer().groups or get_channel_layer().channels))


async def test_messages_of_all_groups_become_events(client):
    layer = get_channel_layer()
    await layer.group_send("news", {"type": "news.item", "text": "a\nb", "n": 1})
    await layer.group_send("more", {"type": "more"})
    event, data, *_ = (await client.read()).decode().split("\n")
    assert event == "event: news.item"
    assert json.loads(data.removeprefix("data: ")) == {"text": "a\nb", "n": 1}
    assert await client.read() == b"event: more\ndata: {}\n\n"


def test_the_response_is_not_kept_back_by_proxies(request_of_asgi):
    response = group_event_stream(request_of_asgi, "news")
    assert response.headers["Content-Type"] == "text/event-stream"
    assert "no-cache" in response.headers["Cache-Control"]
    assert response.headers["X-Accel-Buffering"] == "no"


async def test_a_view_may_choose_and_shape_the_events(request_of_asgi):
    def encode(message):
        return None if message["secret"] else Event(message["text"], id=message["id"])

    client = Client(group_event_stream(request_of_asgi, "news", encode=encode))
    await client.read()
    layer = get_channel_layer()
    for number, secret in enumerate([True, False]):
        message = {"type": "x", "secret": secret, "text": f"{number}", "id": f"{number}"}
        await layer.group_send("news", message)
    assert await client.read() == b"id: 1\ndata: 1\n\n"
    await client.leave()


async def test_a_silent_stream_is_kept_alive(request_of_asgi):
    client = Client(group_event_stream(request_of_asgi, "news", keep_alive=0.01))
    assert [await client.read() for _ in range(3)] == [COMMENT] * 3
    await client.leave()


async def test_the_end_of_the_process_ends_the_stream(client):
    reading = asyncio.create_task(client.read())
    await asyncio.sleep(0)
    for connection in list(connections.get().open):
        assert connection.drain() is None
    with pytest.raises(StopAsyncIteration):
        await reading
    assert connections.get().open == set()


async def test_the_stream_of_a_user_who_may_not_go_on_ends(request_of_asgi):
    request_of_asgi.user = object()
    client = Client(group_event_stream(request_of_asgi, "news"))
    assert await client.read() == COMMENT
    [stream] = connections.get().open
    assert str(stream) == "The stream of /"
    assert stream.unsent() is None
    assert stream.consumer is None
    assert stream.channel_name in get_channel_layer().groups["news"]
    assert stream.scope["user"] is request_of_asgi.user
    stream.disconnect(4401, "signed out")
    with pytest.raises(StopAsyncIteration):
        await client.read()


async def test_a_stream_that_begins_while_the_process_ends_is_over_at_once(
    request_of_asgi, monkeypatch
):
    monkeypatch.setattr(connections.get(), "refusing", True)
    client = Client(group_event_stream(request_of_asgi, "news"))
    assert await client.read() == COMMENT
    with pytest.raises(StopAsyncIteration):
        await client.read()


async def test_a_client_that_cannot_keep_up_is_let_go(request_of_asgi, settings, caplog):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            "CONFIG": {"capacity": 2, "overflow": "disconnect"},
        }
    }
    client = Client(group_event_stream(request_of_asgi, "news"))
    await client.read()
    with caplog.at_level(logging.ERROR, "channels.layers"):
        for _ in range(3):
            await get_channel_layer().group_send("news", {"type": "x"})
    with pytest.raises(StopAsyncIteration):
        await client.read()
    assert "A client of news cannot keep up" in caplog.text


async def test_nothing_is_left_of_a_stream_that_could_not_begin(request_of_asgi):
    client = Client(group_event_stream(request_of_asgi, "no such name!"))
    with pytest.raises(TypeError):
        await client.read()
    assert connections.get().open == set()
    await until(lambda: not get_channel_layer().channels)


def test_without_a_layer(request_of_asgi, settings):
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(InvalidChannelLayerError, match="no channel layer 'default'"):
        group_event_stream(request_of_asgi, "news")


def test_over_wsgi():
    with pytest.raises(ChannelsError, match="needs an ASGI server"):
        group_event_stream(HttpRequest(), "news")


def test_by_default_an_event_has_the_type_of_the_message():
    assert as_event({"type": "a.b", "n": 1}) == Event('{"n": 1}', "a.b")


async def test_the_stream_of_a_group_that_is_disconnected_ends(request_of_asgi):
    client = Client(group_event_stream(request_of_asgi, "news"))
    assert await client.read() == COMMENT
    await adisconnect_group("news")
    with pytest.raises(StopAsyncIteration):
        await client.read()
