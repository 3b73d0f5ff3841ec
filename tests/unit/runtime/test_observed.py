"""The signals of handshakes, messages and handlers, and the tallies of the same."""

import asyncio
import contextvars

import pytest

from channels import signals
from channels._runtime import tallies
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import StopConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.testing import HttpCommunicator, WebsocketCommunicator
from tests.asgi import until

variable = contextvars.ContextVar("variable", default=None)


class Echo(AsyncWebsocketConsumer):
    handshake_timeout = 0.05

    async def connect(self):
        if self.scope["path"] == "/crash/":
            raise ValueError("a crash")
        if self.scope["path"] == "/refuse/":
            await self.close()
        elif self.scope["path"] == "/late/":
            await asyncio.sleep(10)
        else:
            await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "stop":
            raise StopConsumer
        await self.send(text_data, bytes_data)

    async def chat_message(self, event):
        await self.send("é")


class SyncEcho(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(str(variable.get()))


def only(heard, name):
    return [arguments for told, arguments in heard if told == name]


@pytest.fixture
def layer():
    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", old)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(tallies, "tallies", {})
    monkeypatch.setattr(tallies, "counting", True)

    def counted(cls):
        [tally] = [t for (n, _), t in tallies.tallies.items() if n.endswith(cls.__qualname__)]
        return tally

    return counted


def served(path):
    """As a server calls the application, which then raises nothing."""
    communicator = WebsocketCommunicator(Echo.as_asgi(), path)
    communicator.scope["asgi"] = {"version": "3.0"}
    return communicator


async def test_an_echo_is_told_in_order(heard, counted):
    async with WebsocketCommunicator(Echo.as_asgi(), "/") as client:
        await client.send_to("€")
        assert await client.receive_from() == "€"
    names = [name for name, _ in heard]
    assert names == [
        "connection_opened", "handler_started", "handshake_finished", "handler_finished",
        "message_received", "handler_started", "message_sent", "handler_finished",
        "handler_started", "handler_finished", "connection_closed",
    ]  # fmt: skip
    assert [a["message_type"] for a in only(heard, "handler_started")] == [
        "websocket.connect", "websocket.receive", "websocket.disconnect",
    ]  # fmt: skip
    assert {a["source"] for a in only(heard, "handler_finished")} == {"client"}
    assert {a["exception"] for a in only(heard, "handler_finished")} == {None}
    assert [a["size"] for a in only(heard, "message_received")] == [3]
    assert [a["size"] for a in only(heard, "message_sent")] == [3]
    [handshake] = only(heard, "handshake_finished")
    assert handshake["outcome"] == "accepted"
    assert 0 <= handshake["seconds"] < 30
    tally = counted(Echo)
    assert (tally.received, tally.received_bytes, tally.sent, tally.sent_bytes) == (1, 3, 1, 3)
    assert set(tally.handlers) == {"websocket.connect", "websocket.receive"}


async def test_layer_messages_are_told_from_the_clients(heard, layer, counted):
    async with WebsocketCommunicator(Echo.as_asgi(), "/") as client:
        [channel] = layer.channels
        await layer.send(channel, {"type": "chat.message"})
        assert await client.receive_from() == "é"
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "chat_message"})
        assert await client.receive_from() == "é"
    told = [a for a in only(heard, "handler_finished") if a["source"] == "layer"]
    assert [a["message_type"] for a in told] == ["chat.message", "chat_message"]
    assert only(heard, "message_received") == []
    sent, to_group = only(heard, "layer_message_sent")
    assert (sent["channel"], sent["group"], sent["layer"]) == (channel, None, layer)
    assert (to_group["channel"], to_group["group"]) == (None, "room")
    assert to_group["message"] == {"type": "chat_message"}
    assert to_group["seconds"] >= 0
    assert [a["count"] for a in only(heard, "layer_message_received")] == [1, 1]
    tally = counted(Echo)
    assert (tally.received, tally.sent, tally.sent_bytes) == (0, 2, 4)
    assert sum(tally.handlers["chat.message"].counts) == 2
    assert sum(layer.statistics.sends.counts) == sum(layer.statistics.group_sends.counts) == 1


async def test_messages_that_no_handler_takes_count_together(layer, counted):
    client = served("/")
    assert await client.connect() == (True, None)
    [channel] = layer.channels
    for number in range(20):
        await layer.send(channel, {"type": f"unknown.{number}"})
    await layer.send(channel, {"type": "chat.message"})
    assert await client.receive_from() == "é"
    await client.disconnect()
    assert sum(counted(Echo).handlers["other"].counts) == 20


@pytest.mark.parametrize(
    ("path", "outcome"),
    [("/refuse/", "refused"), ("/crash/", "crashed"), ("/late/", "timed out")],
)
async def test_how_a_handshake_ends_without_being_accepted(path, outcome, heard):
    client = served(path)
    assert not (await client.connect())[0]
    await client.disconnect()
    assert [a["outcome"] for a in only(heard, "handshake_finished")] == [outcome]


async def test_a_client_that_leaves_abandons_its_handshake(heard):
    client = served("/late/")
    await client.send_input({"type": "websocket.connect"})
    await until(lambda: only(heard, "handler_started"))
    await client.send_input({"type": "websocket.disconnect", "code": 1006})
    await client.wait()
    assert [a["outcome"] for a in only(heard, "handshake_finished")] == ["abandoned"]


async def test_what_a_handler_raises_is_told_but_for_its_wish_to_stop(heard):
    client = served("/crash/")
    await client.connect()
    await client.disconnect()
    assert "a crash" in str(only(heard, "handler_finished")[0]["exception"])
    heard.clear()
    async with WebsocketCommunicator(Echo.as_asgi(), "/") as client:
        await client.send_to("stop")
        await client.wait()
    assert {a["exception"] for a in only(heard, "handler_finished")} == {None}
    assert len(only(heard, "handler_started")) == len(only(heard, "handler_finished"))


async def test_what_a_receiver_puts_into_the_context_is_there_for_a_sync_handler():
    def put(sender, message_type, **arguments):
        variable.set(message_type)

    signals.handler_started.connect(put)
    try:
        async with WebsocketCommunicator(SyncEcho.as_asgi(), "/") as client:
            await client.send_to("what?")
            assert await client.receive_from() == "websocket.receive"
    finally:
        signals.handler_started.disconnect(put)
    assert issubclass(SyncEcho, SyncConsumer)


async def test_bodies_count_as_messages(heard, counted):
    class Answer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, body + b"!")

    response = await HttpCommunicator(Answer.as_asgi(), "POST", "/", b"body").get_response()
    assert response["body"] == b"body!"
    assert [a["size"] for a in only(heard, "message_received")] == [4]
    assert [a["size"] for a in only(heard, "message_sent")] == [5]
    tally = counted(Answer)
    assert (tally.received_bytes, tally.sent_bytes) == (4, 5)


async def test_nothing_is_counted_while_nobody_asks(monkeypatch):
    monkeypatch.setattr(tallies, "tallies", {})
    monkeypatch.setattr(tallies, "counting", False)
    async with WebsocketCommunicator(Echo.as_asgi(), "/") as client:
        await client.send_to("a")
        await client.receive_from()
    assert tallies.tallies == {}
    assert issubclass(Echo, AsyncConsumer)
