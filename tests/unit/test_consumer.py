import functools
import threading

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured

from channels.consumer import AsyncConsumer, SyncConsumer, get_handler_name
from channels.exceptions import StopConsumer, UnknownMessageType
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.testing import ApplicationCommunicator
from tests.asgi import Server, until


@pytest.mark.parametrize(
    ("message_type", "name"),
    [("chat.message", "chat_message"), ("x", "x"), ("a.b.c", "a_b_c"), ("a_b", "a_b")],
)
def test_handler_names(message_type, name):
    assert get_handler_name({"type": message_type}) == name


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({}, "Incoming message has no 'type' attribute"),
        ({"type": "_private"}, "leading underscore"),
        ({"type": ".private"}, "leading underscore"),
        ({"type": 7}, "must be a string, not int"),
        ({"type": ["x"]}, "must be a string, not list"),
    ],
)
def test_messages_without_a_handler_name(message, error):
    with pytest.raises(ValueError, match=error):
        get_handler_name(message)


async def test_an_async_consumer_has_its_attributes_before_the_first_handler():
    seen = {}

    class Consumer(AsyncConsumer):
        async def test_message(self, message):
            seen.update(vars(self))
            await self.send({"type": "answer"})
            raise StopConsumer

    scope = {"type": "test"}
    communicator = ApplicationCommunicator(Consumer.as_asgi(), scope)
    await communicator.send_input({"type": "test.message"})
    assert await communicator.receive_output() == {"type": "answer"}
    await communicator.wait()
    assert seen["scope"] is scope
    assert isinstance(seen["channel_layer"], InMemoryChannelLayer)
    assert seen["channel_name"].startswith("specific.")
    assert callable(seen["channel_receive"])
    assert callable(seen["base_send"])


async def test_channel_receive_reads_the_consumers_channel():
    class Consumer(AsyncConsumer):
        async def test_message(self, message):
            await self.channel_layer.send(self.channel_name, {"type": "x", "n": 1})
            await self.send({"type": "got", "message": await self.channel_receive()})

    communicator = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "test.message"})
    output = await communicator.receive_output()
    assert output["message"] == {"type": "x", "n": 1}
    communicator.stop()


async def test_a_sync_consumer_runs_in_a_thread_and_sends():
    class Consumer(SyncConsumer):
        def test_message(self, message):
            self.send({"type": "thread", "ident": threading.get_ident()})
            raise StopConsumer

    communicator = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "test.message"})
    assert (await communicator.receive_output())["ident"] != threading.get_ident()
    await communicator.wait()


@pytest.mark.parametrize("base", [AsyncConsumer, SyncConsumer])
async def test_an_unknown_type_raises(base):
    class Consumer(base):
        pass

    communicator = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "no.handler"})
    with pytest.raises(ValueError, match=r"No handler for message type no\.handler") as caught:
        await communicator.wait()
    assert isinstance(caught.value, UnknownMessageType)


def test_as_asgi():
    class Consumer(AsyncConsumer):
        """What it does."""

        def __init__(self, room=None):
            self.room = room

    application = Consumer.as_asgi(room="lobby")
    assert application.consumer_class is Consumer
    assert application.consumer_initkwargs == {"room": "lobby"}
    assert application.__name__ == "Consumer"
    assert application.__doc__ == "What it does."


async def test_each_connection_has_its_own_instance_made_with_the_initkwargs():
    class Consumer(AsyncConsumer):
        def __init__(self, room):
            self.room = room

        async def test_message(self, message):
            await self.send({"type": "answer", "room": self.room, "id": id(self)})

    application = Consumer.as_asgi(room="lobby")
    communicators = [ApplicationCommunicator(application, {"type": "test"}) for _ in range(2)]
    answers = []
    for communicator in communicators:
        await communicator.send_input({"type": "test.message"})
        answers.append(await communicator.receive_output())
    assert [answer["room"] for answer in answers] == ["lobby", "lobby"]
    assert answers[0]["id"] != answers[1]["id"]
    for communicator in communicators:
        communicator.stop()


async def test_an_instance_is_an_application():
    class Consumer(AsyncConsumer):
        async def test_message(self, message):
            await self.send({"type": "answer"})

    communicator = ApplicationCommunicator(Consumer(), {"type": "test"})
    await communicator.send_input({"type": "test.message"})
    assert await communicator.receive_output() == {"type": "answer"}
    communicator.stop()


# What packages do with consumers


async def test_handlers_are_found_however_they_were_added():
    class Partial:
        """A descriptor that gives a partial, as packages that wrap handlers do."""

        def __get__(self, instance, owner):
            async def handler(consumer, message):
                await consumer.send({"type": "partial"})

            return functools.partial(handler, instance)

    class Consumer(AsyncConsumer):
        by_descriptor = Partial()

        async def test_start(self, message):
            async def handler(message):
                await self.send({"type": "instance"})

            self.on_instance = handler

    async def later(self, message):
        await self.send({"type": "class"})

    communicator = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "test.start"})
    await communicator.send_input({"type": "on.instance"})
    assert await communicator.receive_output() == {"type": "instance"}
    Consumer.on_class = later
    await communicator.send_input({"type": "on.class"})
    assert await communicator.receive_output() == {"type": "class"}
    await communicator.send_input({"type": "by.descriptor"})
    assert await communicator.receive_output() == {"type": "partial"}
    communicator.stop()


async def test_dispatch_can_be_called_without_a_connection():
    sent = []

    class Consumer(AsyncConsumer):
        def __init__(self):  # without super().__init__()
            pass

        async def test_message(self, message):
            await self.send({"type": "answer"})

    async def base_send(message):
        sent.append(message)

    consumer = Consumer()
    consumer.base_send = base_send
    consumer.channel_layer = None
    await consumer.dispatch({"type": "test.message"})
    assert sent == [{"type": "answer"}]


async def test_dispatch_is_overridden_cooperatively_in_diamonds():
    order = []

    class One(AsyncConsumer):
        async def dispatch(self, message):
            order.append("one")
            await super().dispatch(message)

    class Two(AsyncConsumer):
        async def dispatch(self, message):
            order.append("two")
            await super().dispatch(message)

    class Both(One, Two):
        async def test_message(self, message):
            order.append("handler")
            raise StopConsumer

    communicator = ApplicationCommunicator(Both.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "test.message"})
    await communicator.wait()
    assert order == ["one", "two", "handler"]


async def test_call_is_overridden():
    class Consumer(AsyncConsumer):
        async def __call__(self, scope, receive, send):
            scope["extra"] = "yes"
            await super().__call__(scope, receive, send)

        async def test_message(self, message):
            await self.send({"type": "answer", "extra": self.scope["extra"]})

    communicator = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "test.message"})
    assert (await communicator.receive_output())["extra"] == "yes"
    communicator.stop()


def test_there_is_no_metaclass():
    assert type(AsyncConsumer) is type
    assert type(SyncConsumer) is type


async def test_a_third_partys_layer_is_read_with_receive():
    class Minimal:
        """Knows only what the oldest layers do; hides that it is more."""

        def __init__(self):
            self.inner = InMemoryChannelLayer()
            for name in ("send", "receive", "new_channel", "group_add", "group_send"):
                setattr(self, name, getattr(self.inner, name))

    class Consumer(AsyncConsumer):
        async def websocket_connect(self, message):
            await self.send({"type": "websocket.accept"})

        async def note(self, message):
            await self.send({"type": "websocket.send", "text": message["text"]})

    layer = Minimal()
    old = channel_layers.set("default", layer)
    try:
        server = await Server(Consumer()).connect()
        [name] = [server.application.channel_name]
        for number in range(20):
            await layer.send(name, {"type": "note", "text": str(number)})
        await until(lambda: len(server.texts()) == 20)
        assert server.texts() == [str(number) for number in range(20)]
        await server.leave()
    finally:
        channel_layers.set("default", old)


async def test_another_alias(settings):
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        "other": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 3}},
    }

    class Consumer(AsyncConsumer):
        channel_layer_alias = "other"

        async def test_message(self, message):
            await self.send({"type": "answer", "capacity": self.channel_layer.capacity})

    communicator = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "test.message"})
    assert (await communicator.receive_output())["capacity"] == 3
    communicator.stop()


def test_a_sync_handler_sends_to_the_layer_from_its_thread():
    """The whole under ``async_to_sync``, as a plain test function would drive it."""

    class Consumer(SyncConsumer):
        def test_message(self, message):
            send = async_to_sync(self.channel_layer.send)
            send(self.channel_name, {"type": "note", "text": "self"})

        def note(self, message):
            self.send({"type": "answer", "text": message["text"]})

    async def drive():
        communicator = ApplicationCommunicator(Consumer.as_asgi(), {"type": "test"})
        await communicator.send_input({"type": "test.message"})
        output = await communicator.receive_output()
        communicator.stop()
        return output

    assert async_to_sync(drive)() == {"type": "answer", "text": "self"}


async def test_a_wrong_layer_is_one_line_in_the_log_and_a_500(settings, caplog):
    """Not a traceback of the server's for everybody who tries to connect."""
    settings.CHANNEL_LAYERS = {"wrong": {"BACKEND": "no.such.Layer"}}

    class Consumer(AsyncConsumer):
        channel_layer_alias = "wrong"

    server = Server(Consumer.as_asgi(), extensions={"websocket.http.response": {}})
    server.put("websocket.connect")
    await server.start().ended()
    assert server.sent[0]["status"] == 500
    [record] = [record for record in caplog.records if record.name == "channels.consumer"]
    assert record.exc_info is None
    assert "Cannot import BACKEND 'no.such.Layer'" in record.message


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt("Ctrl-C")])
@pytest.mark.parametrize("base", [AsyncConsumer, SyncConsumer])
async def test_what_a_constructor_raises_reaches_the_server(base, error):
    class Consumer(base):
        def __init__(self):
            raise error

    with pytest.raises(type(error)) as raised:
        await Consumer.as_asgi()({"type": "test"}, None, None)
    assert raised.value is error


@pytest.mark.parametrize("name", ["permissions", "refuse_by_close", "client_limits"])
def test_what_says_who_may_connect_is_no_argument_that_could_be_ignored(name):
    class Generic(AsyncWebsocketConsumer):
        pass

    class Own(AsyncWebsocketConsumer):
        def __init__(self, permissions=None, refuse_by_close=False, client_limits=None):
            super().__init__()

    with pytest.raises(ImproperlyConfigured, match=f"{name} = ... in the class"):
        Generic.as_asgi(**{name: None})
    assert Own.as_asgi(**{name: None}).consumer_initkwargs == {name: None}
