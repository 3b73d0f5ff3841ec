"""Declared messages, from the client's text to the handler or to the error reply, in both kinds."""

import json
import logging

import msgspec
import pytest
from django.core.exceptions import PermissionDenied

from channels._runtime import clock
from channels.exceptions import InvalidMethodError, MessageRefused
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.messages import accepts
from channels.security.permissions import Permission
from channels.testing import WebsocketCommunicator
from tests.asgi import Server, until


class Say(msgspec.Struct):
    text: str


class Allowed(Permission):
    def has_permission(self, scope, message_type=None):
        scope["asked"] = message_type
        return scope["may"]


class AsyncChat(AsyncJsonWebsocketConsumer):
    @accepts("chat.say")
    async def say(self, message: Say):
        await self.send_json({"said": message.text})

    @accepts("chat.rule", Say, permissions=Allowed())
    async def rule(self, message):
        await self.send_json({"ruled": message.text})

    @accepts("chat.raise", Say)
    async def refuse(self, message):
        if message.text == "denied":
            raise PermissionDenied
        raise MessageRefused("room_full", "The room is full.", [("$.room", "It is full.")])

    @accepts("chat.plain", Say)
    def plain(self, message):
        pass

    async def chat_hidden(self, event):
        await self.send_json({"hidden": event["text"]})


class SyncChat(JsonWebsocketConsumer):
    @accepts("chat.say")
    def say(self, message: Say):
        self.send_json({"said": message.text})

    @accepts("chat.rule", Say, permissions=Allowed())
    def rule(self, message):
        self.send_json({"ruled": message.text})

    @accepts("chat.raise", Say)
    def refuse(self, message):
        if message.text == "denied":
            raise PermissionDenied
        raise MessageRefused("room_full", "The room is full.", [("$.room", "It is full.")])

    def chat_hidden(self, event):
        self.send_json({"hidden": event["text"]})


@pytest.fixture(params=[AsyncChat, SyncChat])
def chat(request):
    return type(request.param.__name__, (request.param,), {})


class User:
    def __init__(self, is_authenticated):
        self.is_authenticated = is_authenticated


def connection(cls, **scope):
    communicator = WebsocketCommunicator(cls.as_asgi(), "/")
    communicator.scope.update(scope)
    return communicator


async def ask(socket, content):
    text = content if isinstance(content, str) else json.dumps(content)
    await socket.send_to(text_data=text)
    return await socket.receive_json_from()


async def test_a_handler_gets_a_typed_object(chat):
    async with connection(chat) as socket:
        assert await ask(socket, {"type": "chat.say", "text": "hi"}) == {"said": "hi"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("[]", "malformed"),
        ("5", "malformed"),
        ("null", "malformed"),
        ("{}", "malformed"),
        ({"type": 5}, "malformed"),
        ({"type": ["chat.say"]}, "malformed"),
        ("{", "malformed"),
        ("", "malformed"),
        ("[" * 300 + "]" * 300, "malformed"),
        ('{"type": "chat.say", "text": 123456789012345678901234567890}', "malformed"),
        ({"type": "chat.hidden", "text": "x"}, "unknown_type"),
        ({"type": "say", "text": "x"}, "unknown_type"),
        ({"type": "send_json"}, "unknown_type"),
        ({"type": "chat.say"}, "invalid"),
        ({"type": "chat.say", "text": 5}, "invalid"),
        ('{"type": "chat.say", "text": "a", "text": 5}', "invalid"),
    ],
)
async def test_anything_else_gets_an_error(chat, content, code):
    async with connection(chat) as socket:
        answer = await ask(socket, content)
        assert answer["type"] == "error"
        assert answer["code"] == code
        assert answer["detail"]
        assert answer.get("of") == ("chat.say" if code == "invalid" else None)
        assert await ask(socket, {"type": "chat.say", "text": "hi"}) == {"said": "hi"}


async def test_an_error_has_one_format(chat):
    async with connection(chat) as socket:
        assert await ask(socket, {"type": "chat.say", "ref": "7", "text": 5}) == {
            "type": "error",
            "code": "invalid",
            "of": "chat.say",
            "ref": "7",
            "detail": "The message does not have the shape that is declared for its type.",
            "errors": [{"path": "$.text", "message": "Expected `str`, got `int`"}],
        }


@pytest.mark.parametrize(
    ("user", "code"), [(None, "forbidden"), (True, "forbidden"), (False, "unauthorized")]
)
async def test_who_may_not_send_a_type_does_not_learn_its_shape(chat, user, code):
    scope = {"may": False} if user is None else {"may": False, "user": User(user)}
    async with connection(chat, **scope) as socket:
        for content in ({"text": "x"}, {}):
            answer = await ask(socket, {"type": "chat.rule", **content})
            assert (answer["code"], answer["of"]) == (code, "chat.rule")
            assert "errors" not in answer
    async with connection(chat, may=True) as socket:
        assert await ask(socket, {"type": "chat.rule", "text": "x"}) == {"ruled": "x"}


async def test_a_handler_can_refuse(chat):
    async with connection(chat) as socket:
        answer = await ask(socket, {"type": "chat.raise", "text": "x", "ref": 3})
        assert answer == {
            "type": "error",
            "code": "room_full",
            "of": "chat.raise",
            "ref": 3,
            "detail": "The room is full.",
            "errors": [{"path": "$.room", "message": "It is full."}],
        }
        answer = await ask(socket, {"type": "chat.raise", "text": "denied"})
        assert answer["code"] == "forbidden"


async def test_layer_messages_reach_no_declared_handler(chat, caplog):
    server = await Server(chat.as_asgi()).connect()
    layer = get_channel_layer()
    name = next(iter(layer.channels))
    await layer.send(name, {"type": "say", "text": 5})
    await layer.send(name, {"type": "chat.hidden", "text": "layer"})
    await until(server.texts)
    assert [json.loads(text) for text in server.texts()] == [{"hidden": "layer"}]
    assert "names a handler of clients' messages" in caplog.text
    await server.leave()


async def test_another_consumer_may_use_that_name_for_a_layer_message():
    class Other(AsyncJsonWebsocketConsumer):
        async def say(self, event):
            await self.send_json(event["text"])

    async with connection(Other) as socket:
        layer = get_channel_layer()
        await layer.send(next(iter(layer.channels)), {"type": "say", "text": "hi"})
        assert await socket.receive_json_from() == "hi"


async def test_handlers_are_guarded_where_a_base_class_passes_nothing_on(caplog):
    class Silent:
        def __init_subclass__(cls, **kwargs):
            pass

    class Guarded(Silent, AsyncChat):
        @accepts("chat.late", Say)
        async def late(self, message):
            raise AssertionError

    server = await Server(Guarded.as_asgi()).connect()
    layer = get_channel_layer()
    await layer.send(next(iter(layer.channels)), {"type": "late"})
    await until(lambda: "names a handler" in caplog.text)
    await server.leave()


async def test_a_project_may_look_first(chat):
    if chat.__mro__[1] is AsyncChat:

        async def receive_json(self, content):
            if content != "ping":
                await AsyncChat.receive_json(self, content)
            else:
                await self.send_json("pong")
    else:

        def receive_json(self, content):
            if content != "ping":
                SyncChat.receive_json(self, content)
            else:
                self.send_json("pong")

    chat.receive_json = receive_json
    async with connection(chat) as socket:
        assert await ask(socket, '"ping"') == "pong"
        assert await ask(socket, {"type": "chat.say", "text": "hi"}) == {"said": "hi"}


async def test_a_plain_method_is_told_what_to_write():
    async with connection(AsyncChat) as socket:
        await socket.send_json_to({"type": "chat.plain", "text": "x"})
        with pytest.raises(InvalidMethodError, match="async def plain"):
            await socket.receive_from()
        with pytest.raises(InvalidMethodError):
            await socket.wait()


async def test_what_a_handler_raises_is_a_crash():
    class Failing(AsyncChat):
        async def say(self, message):
            raise TypeError("broken")

    server = await Server(Failing.as_asgi()).connect()
    server.text('{"type": "chat.say", "text": "x"}')
    await until(lambda: server.types()[-1] == "websocket.close")
    assert server.sent[-1]["code"] == 1011
    await server.leave()


class TestTooMany:
    async def test_the_first_one_may_be_the_last(self, chat):
        chat.max_refused_messages = 0
        for content, code in (({}, 1008), ({"type": "chat.rule"}, 4403)):
            server = await Server(chat.as_asgi(), may=False).connect()
            server.text(json.dumps(content))
            server.text('{"type": "chat.say", "text": "x"}')
            await until(lambda server=server: server.types()[-1] == "websocket.close")
            assert server.sent[-1]["code"] == code
            assert len(server.texts()) == 1
            await server.leave()

    async def test_those_of_a_minute_are_counted(self, chat, monkeypatch):
        chat.max_refused_messages = 2
        now = clock.now()
        async with connection(chat) as socket:
            for seconds in (0, 30, 61, 90):
                monkeypatch.setattr(clock, "now", lambda seconds=seconds: now + seconds)
                assert (await ask(socket, {}))["code"] == "malformed"
            assert (await ask(socket, {}))["code"] == "malformed"
            assert (await socket.receive_output())["code"] == 1008

    async def test_there_may_be_no_bound(self, chat):
        chat.max_refused_messages = None
        async with connection(chat) as socket:
            for _ in range(100):
                assert (await ask(socket, {}))["code"] == "malformed"


async def test_the_log_is_told_of_the_code_and_of_no_content(chat, caplog):
    async with connection(chat) as socket:
        await ask(socket, {"type": "chat.say", "text": ["x-secret"]})
        await ask(socket, {"type": "x-secret"})
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.partition(": ")[2] for text in told] == ["invalid", "unknown_type"]
    assert "x-secret" not in caplog.text


async def test_without_declarations_nothing_has_changed():
    class Plain(AsyncJsonWebsocketConsumer):
        pass

    server = await Server(Plain.as_asgi()).connect()
    server.text('{"type": "x"}')
    server.text("{")
    await until(lambda: len(server.sent) == 2)
    assert server.sent[-1]["code"] == 1007
    await server.leave()
