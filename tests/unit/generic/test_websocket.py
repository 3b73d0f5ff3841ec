"""The four generic WebSocket consumers. What they share is tested on the sync and the async one."""

import json
import logging

import pytest
from asgiref.sync import async_to_sync

from channels.exceptions import AcceptConnection, DenyConnection, InvalidChannelLayerError
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import channel_layers, get_channel_layer
from channels.testing import WebsocketCommunicator
from tests.asgi import Server, until


def twins(sync_class, async_class):
    """Run a test with a sync consumer and with its async twin."""
    return pytest.mark.parametrize("consumer", [sync_class, async_class])


class Echo(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data, bytes_data=bytes_data)


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


@twins(Echo, AsyncEcho)
@pytest.mark.parametrize("data", ["text", "", "ünïcödé 🚀", b"bytes", b"", b"\xff\x00"])
async def test_frames_come_and_go(consumer, data):
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    assert await communicator.connect() == (True, None)
    key = "text_data" if isinstance(data, str) else "bytes_data"
    await communicator.send_to(**{key: data})
    assert await communicator.receive_from() == data
    await communicator.disconnect()


@twins(Echo, AsyncEcho)
@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ({"text": "x", "bytes": None}, {"text": "x"}),
        ({"text": None, "bytes": b"x"}, {"bytes": b"x"}),
        ({"text": "", "bytes": None}, {"text": ""}),
        ({"text": None, "bytes": b""}, {"bytes": b""}),
    ],
)
async def test_servers_may_give_both_keys(consumer, frame, answer):
    server = await Server(consumer.as_asgi()).connect()
    server.put("websocket.receive", **frame)
    await until(lambda: len(server.sent) == 2)
    assert server.sent[1] == {"type": "websocket.send", **answer}
    await server.leave()


class TextOnly(WebsocketConsumer):
    def receive(self, text_data):
        self.send(text_data)


class AsyncTextOnly(AsyncWebsocketConsumer):
    async def receive(self, text_data):
        await self.send(text_data)


@twins(TextOnly, AsyncTextOnly)
async def test_receive_may_name_only_what_it_takes(consumer):
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_to(text_data="x")
    assert await communicator.receive_from() == "x"
    await communicator.disconnect()


@twins(TextOnly, AsyncTextOnly)
async def test_a_frame_that_receive_does_not_take_closes_with_one_line(consumer, caplog):
    server = await Server(consumer.as_asgi()).connect()
    server.put("websocket.receive", bytes=b"x")
    await server.ended()
    assert server.sent[-1] == {"type": "websocket.close", "code": 1003}
    [record] = caplog.records
    assert record.exc_info is None


async def test_a_type_error_of_the_application_is_its_own(caplog):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            len(5)

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await server.ended()
    assert server.sent[-1] == {"type": "websocket.close", "code": 1011}


class Deciding(WebsocketConsumer):
    def connect(self):
        match self.scope["path"]:
            case "/subprotocol/":
                self.accept("chat", headers=[(b"x-pair", b"1")])
            case "/headers/":
                self.accept(headers={"x-dict": "2"})
            case "/close/":
                self.close(code=4003, reason="no")
            case "/raise-accept/":
                raise AcceptConnection
            case "/raise-deny/":
                raise DenyConnection


class AsyncDeciding(AsyncWebsocketConsumer):
    async def connect(self):
        match self.scope["path"]:
            case "/subprotocol/":
                await self.accept("chat", headers=[(b"x-pair", b"1")])
            case "/headers/":
                await self.accept(headers={"x-dict": "2"})
            case "/close/":
                await self.close(code=4003, reason="no")
            case "/raise-accept/":
                raise AcceptConnection
            case "/raise-deny/":
                raise DenyConnection


@twins(Deciding, AsyncDeciding)
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (
            "/subprotocol/",
            {
                "type": "websocket.accept",
                "subprotocol": "chat",
                "headers": [(b"x-pair", b"1")],
            },
        ),
        (
            "/headers/",
            {"type": "websocket.accept", "subprotocol": None, "headers": [(b"x-dict", b"2")]},
        ),
        ("/close/", {"type": "websocket.close", "code": 4003, "reason": "no"}),
        ("/raise-accept/", {"type": "websocket.accept", "subprotocol": None}),
        ("/raise-deny/", {"type": "websocket.close"}),
    ],
)
async def test_answers_to_the_handshake(consumer, path, answer):
    server = await Server(consumer.as_asgi(), path=path).connect()
    assert server.sent == [answer]
    await server.leave()


class Closing(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        if text_data == "code":
            self.send("bye", close=4001)
        elif text_data == "true":
            self.send("bye", close=True)
        elif text_data == "reason":
            self.close(code=4002, reason="because")
        else:
            self.send()


class AsyncClosing(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "code":
            await self.send("bye", close=4001)
        elif text_data == "true":
            await self.send("bye", close=True)
        elif text_data == "reason":
            await self.close(code=4002, reason="because")
        else:
            await self.send()


@twins(Closing, AsyncClosing)
@pytest.mark.parametrize(
    ("text", "close"),
    [
        ("code", {"code": 4001}),
        ("true", {}),
        ("reason", {"code": 4002, "reason": "because"}),
    ],
)
async def test_closing(consumer, text, close):
    server = await Server(consumer.as_asgi()).connect()
    server.text(text)
    await until(lambda: server.types()[-1] == "websocket.close")
    assert server.sent[-1] == {"type": "websocket.close", **close}
    await server.leave()


@twins(Closing, AsyncClosing)
async def test_sending_nothing_is_an_error(consumer):
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_to(text_data="nothing")
    with pytest.raises(ValueError, match="You must pass one of bytes_data or text_data"):
        await communicator.wait()


# Groups


class Grouped(WebsocketConsumer):
    groups = ["room"]

    def connect(self):
        self.accept()
        assert self.channel_name in self.channel_layer.groups["room"]

    def note(self, event):
        self.send(event["text"])


class AsyncGrouped(AsyncWebsocketConsumer):
    groups = ["room"]

    async def connect(self):
        await self.accept()
        assert self.channel_name in self.channel_layer.groups["room"]

    async def note(self, event):
        await self.send(event["text"])


@twins(Grouped, AsyncGrouped)
async def test_groups_are_joined_before_connect_and_left_afterwards(consumer):
    layer = get_channel_layer()
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    assert (await communicator.connect())[0]
    await layer.group_send("room", {"type": "note", "text": "hello"})
    assert await communicator.receive_from() == "hello"
    # A message may also name a protocol's handler.
    await layer.group_send("room", {"type": "websocket.receive", "text": "x"})
    await communicator.disconnect()
    assert layer.groups == {}


@twins(Grouped, AsyncGrouped)
@pytest.mark.parametrize("layer", [None, object()])
async def test_groups_need_a_layer(consumer, layer, settings):
    settings.CHANNEL_LAYERS = {}
    if layer is not None:

        class Groupless:
            async def new_channel(self):
                return "x"

            async def receive(self, channel):
                raise NotImplementedError

        channel_layers.set("default", Groupless())
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    with pytest.raises(
        InvalidChannelLayerError, match="BACKEND is unconfigured or doesn't support groups"
    ):
        await communicator.connect()


@pytest.mark.parametrize("given", [None, ["a"], ("a",), {"a"}])
@twins(WebsocketConsumer, AsyncWebsocketConsumer)
async def test_groups_may_be_any_collection_and_change(consumer, given):
    class Consumer(consumer):
        groups = given

        def __init__(self):
            super().__init__()
            self.groups = [*self.groups, "added"]

    layer = get_channel_layer()
    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/")
    await communicator.connect()
    assert set(layer.groups) == {*(given or ()), "added"}
    await communicator.disconnect()
    assert layer.groups == {}


@twins(WebsocketConsumer, AsyncWebsocketConsumer)
def test_appending_to_one_instances_groups_changes_no_other(consumer):
    class Consumer(consumer):
        groups = ["a"]

    Consumer().groups.append("b")
    assert Consumer().groups == ["a"]
    consumer().groups.append("b")
    assert consumer().groups == []


# JSON


class Json(JsonWebsocketConsumer):
    def receive_json(self, content, **kwargs):
        self.send_json({"got": content})


class AsyncJson(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json({"got": content})


@twins(Json, AsyncJson)
@pytest.mark.parametrize("content", [{"a": [1, 2.5, None, True]}, [], "text", 7, None, "ü"])
async def test_json(consumer, content):
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_json_to(content)
    assert await communicator.receive_json_from() == {"got": content}
    await communicator.disconnect()


@twins(Json, AsyncJson)
async def test_rubbish_raises_in_tests(consumer):
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_to(text_data="{not json")
    with pytest.raises(json.JSONDecodeError):
        await communicator.wait()

    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_to(bytes_data=b"{}")
    with pytest.raises(ValueError, match="No text section for incoming WebSocket frame!"):
        await communicator.wait()


@twins(Json, AsyncJson)
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"text": "{not json"}, 1007),
        ({"text": ""}, 1007),
        ({"text": "NaN_\n" * 1000}, 1007),
        ({"text": '{"a": NaN}'}, 1007),
        ({"text": "-Infinity"}, 1007),
        ({"text": "[1e999]"}, 1007),
        ({"text": '"\\ud800"'}, 1007),
        ({"text": str(2**64)}, 1007),
        ({"text": "[" * 250 + "]" * 250}, 1007),
        ({"bytes": b"{}"}, 1003),
        ({"text": None, "bytes": b""}, 1003),
    ],
)
async def test_rubbish_closes_with_one_line(consumer, frame, code, caplog):
    server = await Server(consumer.as_asgi()).connect()
    server.put("websocket.receive", **frame)
    await server.ended()
    assert server.sent[-1] == {"type": "websocket.close", "code": code}
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert "\n" not in record.getMessage()


class Relay(WebsocketConsumer):
    """Reads JSON for itself, and passes it on."""

    groups = ("relay",)

    def receive(self, text_data):
        content = json.loads(text_data)
        async_to_sync(self.channel_layer.group_send)("relay", {"type": "told", "n": [content]})

    def told(self, event):
        self.send(json.dumps(event["n"]))


class AsyncRelay(AsyncWebsocketConsumer):
    groups = ("relay",)

    async def receive(self, text_data):
        content = json.loads(text_data)
        await self.channel_layer.group_send("relay", {"type": "told", "n": [content]})

    async def told(self, event):
        await self.send(json.dumps(event["n"]))


@twins(Relay, AsyncRelay)
@pytest.mark.parametrize("text", ["NaN", "[1e999]", '"\\ud800"', str(2**64), "[" * 300 + "]" * 300])
async def test_what_no_layer_carries_harms_only_the_connection_that_brought_it(
    consumer, text, caplog, settings
):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    bystander = await Server(consumer.as_asgi()).connect()
    server = await Server(consumer.as_asgi()).connect()
    server.text(text)
    await server.ended()
    assert server.sent[-1] == {"type": "websocket.close", "code": 1011}
    [record] = caplog.records
    assert record.exc_info is None
    assert "SerializationError: The message cannot be sent: message['n'][0]" in record.getMessage()
    assert f"sent by receive() in {__file__}:" in record.getMessage()
    bystander.text("7")
    await until(bystander.texts)
    assert bystander.texts() == ["[7]"]
    await bystander.leave()


@twins(WebsocketConsumer, AsyncWebsocketConsumer)
async def test_half_a_character_is_refused_before_a_server_gets_it(consumer):
    class Consumer(consumer):
        pass

    if consumer is WebsocketConsumer:

        def receive(self, text_data):
            self.send("\ud800" + text_data)
    else:

        async def receive(self, text_data):
            await self.send("\ud800" + text_data)

    Consumer.receive = receive
    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_to(text_data="\u017e")
    with pytest.raises(ValueError, match="text_data has half a character"):
        await communicator.wait()


async def test_a_project_may_catch_the_error_itself():
    class Consumer(AsyncJsonWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None, **kwargs):
            try:
                await super().receive(text_data, bytes_data, **kwargs)
            except json.JSONDecodeError:
                await self.send_json({"error": "not JSON"})

    server = await Server(Consumer.as_asgi()).connect()
    server.text("{")
    await until(server.texts)
    assert server.texts() == ['{"error": "not JSON"}']
    await server.leave()


async def test_an_error_of_the_application_is_not_blamed_on_the_client(caplog):
    class Consumer(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content, **kwargs):
            raise ValueError("my own")

    server = await Server(Consumer.as_asgi()).connect()
    server.text("{}")
    await server.ended()
    assert server.sent[-1]["code"] == 1011


class Shouting(JsonWebsocketConsumer):
    def receive_json(self, content, **kwargs):
        self.send_json(content, close=4000)

    @classmethod
    def decode_json(cls, text_data):
        return text_data.upper()

    @classmethod
    def encode_json(cls, content):
        return content + "!"


class AsyncShouting(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json(content, close=4000)

    @classmethod
    async def decode_json(cls, text_data):
        return text_data.upper()

    @classmethod
    async def encode_json(cls, content):
        return content + "!"


@twins(Shouting, AsyncShouting)
async def test_the_codec_may_be_overridden(consumer):
    server = await Server(consumer.as_asgi()).connect()
    server.text("hey")
    await until(lambda: len(server.sent) == 3)
    assert server.texts() == ["HEY!"]
    assert server.sent[-1] == {"type": "websocket.close", "code": 4000}
    await server.leave()


async def test_methods_replaced_on_the_instance_are_used():
    calls = []

    class Consumer(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content, **kwargs):
            await self.send_json(content)

    consumer = Consumer()

    async def accept(*args, **kwargs):
        calls.append("accept")

    async def send_json(content, close=False):
        calls.append(content)

    consumer.accept = accept
    consumer.send_json = send_json
    server = Server(consumer).start()
    server.put("websocket.connect")
    server.text("1")
    await until(lambda: len(calls) == 2)
    assert calls == ["accept", 1]
    await server.leave()


def test_a_sync_consumer_in_a_plain_test_function():
    async def drive():
        communicator = WebsocketCommunicator(Json.as_asgi(), "/")
        await communicator.connect()
        await communicator.send_json_to(1)
        answer = await communicator.receive_json_from()
        await communicator.disconnect()
        return answer

    assert async_to_sync(drive)() == {"got": 1}


@pytest.mark.parametrize("base", [WebsocketConsumer, AsyncWebsocketConsumer])
@pytest.mark.parametrize(
    "headers",
    [[(b"x-one", b"1")], [("X-One", "1"), ("X-Two", "2")], [["X-One", b"1"]], [("x", 1)], []],
)
async def test_a_test_gets_the_headers_as_they_were_given(base, headers):
    class Sync(base):
        def connect(self):
            self.accept(headers=headers)

    class Async(base):
        async def connect(self):
            await self.accept(headers=headers)

    consumer = Sync if base is WebsocketConsumer else Async
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    assert await communicator.connect() == (True, None)
    assert communicator.response_headers == headers
    await communicator.disconnect()


class Mistaken(AsyncJsonWebsocketConsumer):
    """Its methods are coroutines, as they should be; one of them has another mistake."""

    mistake = ""
    error = TypeError("a mistake of the project")

    def __init_subclass__(cls, mistake, **kwargs):
        super().__init_subclass__(**kwargs)

        async def fail(*args, **kwargs):
            raise cls.error

        setattr(cls, mistake, classmethod(fail) if mistake.endswith("code_json") else fail)

    async def receive_json(self, content):
        await self.send_json(content)


@pytest.mark.parametrize("method", ["connect", "disconnect", "decode_json", "encode_json"])
async def test_a_type_error_of_the_projects_own_code_is_raised_as_it_is(method):
    class Consumer(Mistaken, mistake=method):
        pass

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/")
    with pytest.raises(TypeError) as raised:
        await communicator.connect()
        await communicator.send_json_to({})
        if method != "disconnect":
            await communicator.receive_from()
        await communicator.disconnect()
    assert raised.value is Consumer.error


async def test_a_json_consumer_that_expects_nothing_ignores_what_comes():
    class Silent(JsonWebsocketConsumer):
        pass

    server = await Server(Silent.as_asgi()).connect()
    server.text('{"type": "x"}')
    server.text("{")
    await until(lambda: server.types()[-1] == "websocket.close")
    assert server.types() == ["websocket.accept", "websocket.close"]
    await server.leave()
