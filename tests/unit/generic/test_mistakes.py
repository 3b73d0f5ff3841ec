"""What is given to accept(), send() and close() by mistake, in a test and behind a server."""

import pytest
from django.utils.translation import gettext_lazy

from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.testing import HttpCommunicator, WebsocketCommunicator
from tests.asgi import Server

BOTH = pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])


def consumer(base, method, arguments, **named):
    """A consumer that calls the method with each frame."""

    class AsyncChat(base):
        async def receive(self, text_data=None, bytes_data=None):
            await getattr(self, method)(*arguments, **named)

    class Chat(base):
        def receive(self, text_data=None, bytes_data=None):
            getattr(self, method)(*arguments, **named)

    return Chat if base._sync else AsyncChat


@BOTH
@pytest.mark.parametrize(
    ("method", "arguments", "told"),
    [
        ("send", [{"a": 1}], "text_data must be a string, not dict; write send(text_data=json.dum"),
        ("send", [5], "text_data must be a string, not int"),
        ("send", [b"x"], "text_data must be a string, not bytes; write send(bytes_data=...)"),
        ("send", [None, "x"], "bytes_data must be bytes, not str; write send(text_data=...)"),
        ("send", [None, [1]], "bytes_data must be bytes, not list; write send(text_data=json"),
        ("close", ["bye"], "A close code must be a number such as 4000, not str; the reason is"),
    ],
)
async def test_an_argument_of_the_wrong_type_is_told_with_what_to_write(
    base, method, arguments, told
):
    async with WebsocketCommunicator(consumer(base, method, arguments), "/") as socket:
        await socket.send_to(text_data="x")
        with pytest.raises(TypeError) as raised:
            await socket.receive_from()
    assert told in str(raised.value)


@BOTH
@pytest.mark.parametrize("data", [gettext_lazy("Name"), bytearray(b"x"), memoryview(b"x")])
async def test_what_servers_take_is_sent(base, data):
    key = "bytes_data" if isinstance(data, bytearray | memoryview) else "text_data"
    async with WebsocketCommunicator(consumer(base, "send", [], **{key: data}), "/") as socket:
        await socket.send_to(text_data="x")
        message = await socket.receive_output()
    assert message[key.removesuffix("_data")] == data


@BOTH
@pytest.mark.parametrize("offered", [[], ["other"], ["chat"]])
async def test_a_subprotocol_that_nobody_has_offered_leaves_a_line(base, offered, caplog):
    class AsyncChat(base):
        async def connect(self):
            await self.accept("chat")

    class Chat(base):
        def connect(self):
            self.accept("chat")

    server = Server((Chat if base._sync else AsyncChat).as_asgi())
    server.scope["subprotocols"] = offered
    await server.connect()
    assert server.sent[0] == {"type": "websocket.accept", "subprotocol": "chat"}
    lines = [record.message for record in caplog.records if "subprotocol" in record.message]
    await server.leave(1000)
    assert len(lines) == ("chat" not in offered)
    for line in lines:
        assert "Chat accepts with the subprotocol 'chat', which the client has not offered" in line


@BOTH
async def test_groups_that_are_text_are_not_joined_letter_by_letter(base):
    class Chat(base):
        groups = "chat"

    with pytest.raises(TypeError, match=r"groups of .*Chat is text, .*; write groups = \['chat'\]"):
        await WebsocketCommunicator(Chat, "/").connect()


@pytest.mark.parametrize("frame", [{"text": "{}"}, {"bytes": b"{}"}])
@pytest.mark.parametrize(
    "base",
    [AsyncWebsocketConsumer, WebsocketConsumer, AsyncJsonWebsocketConsumer, JsonWebsocketConsumer],
)
async def test_a_receive_that_takes_no_frame_at_all_is_no_mistake_of_the_client(
    base, frame, caplog
):
    class AsyncChat(base):
        async def receive(self, data): ...

    class Chat(base):
        def receive(self, data): ...

    server = await Server((Chat if base._sync else AsyncChat).as_asgi()).connect()
    server.put("websocket.receive", **frame)
    await server.ended()
    assert server.sent[-1] == {"type": "websocket.close", "code": 1011}
    [record] = [record for record in caplog.records if record.exc_info]
    [note] = record.exc_info[1].__notes__
    assert "def receive(self, text_data=None, bytes_data=None" in note


async def test_a_request_is_handled_without_the_constructor_of_the_base_class():
    class Hook(AsyncHttpConsumer):
        def __init__(self):
            self.name = "hook"

        async def handle(self, body):
            await self.send_response(200, body)

    response = await HttpCommunicator(Hook.as_asgi(), "POST", "/", b"body").get_response()
    assert response["body"] == b"body"
