"""Which handler takes a message, and which methods no message may call."""

import contextlib
import functools
import gc
import tracemalloc
import weakref

import pytest

from channels.consumer import AsyncConsumer, SyncConsumer, find_handler, get_handler_name
from channels.exceptions import ChannelsError, UnknownMessageType
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

CLASSES = [
    AsyncConsumer,
    SyncConsumer,
    AsyncHttpConsumer,
    WebsocketConsumer,
    JsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    AsyncJsonWebsocketConsumer,
]
WEBSOCKETS = CLASSES[3:]


def find(consumer, message_type):
    return find_handler(consumer, {"type": message_type})


@pytest.mark.parametrize(
    ("message_type", "name"),
    [
        ("websocket.connect", "websocket_connect"),
        ("chat_message", "chat_message"),
        ("a.b.c", "a_b_c"),
        ("a..b", "a__b"),
        ("a._b", "a__b"),
        ("ünicode.ï", "ünicode_ï"),
    ],
)
def test_names(message_type, name):
    assert get_handler_name({"type": message_type}) == name


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({}, "Incoming message has no 'type' attribute"),
        ({"text": "x"}, "Incoming message has no 'type' attribute"),
        ({"type": "_private"}, "leading underscore"),
        ({"type": ".private"}, "leading underscore"),
        ({"type": "__class__"}, "leading underscore"),
        ({"type": None}, "must be a string, not NoneType"),
        ({"type": 5}, "must be a string, not int"),
        ({"type": ["chat"]}, "must be a string, not list"),
        ({"type": b"chat"}, "must be a string, not bytes"),
    ],
)
def test_messages_without_a_usable_type(message, complaint):
    for call in (get_handler_name, functools.partial(find_handler, AsyncConsumer())):
        with pytest.raises(ValueError, match=complaint) as caught:
            call(message)
        assert isinstance(caught.value, UnknownMessageType)
        assert isinstance(caught.value, ChannelsError)


@pytest.mark.parametrize("cls", CLASSES)
def test_no_message_calls_what_the_framework_defines(cls):
    """Every public name of every base class is refused, but for the protocol's handlers."""
    consumer = type("Project", (cls,), {})()
    consumer.scope, consumer.channel_name = {}, "name"
    consumer.channel_layer = consumer.base_send = consumer.channel_receive = print
    handlers = {"websocket_connect", "websocket_receive", "websocket_disconnect"}
    handlers |= {"http_request", "http_disconnect", "layer_gap", "receive_json", "send_json"}
    names = {name for name in dir(consumer) if not name.startswith("_")}
    assert names >= {"dispatch", "send", "as_asgi", "scope", "channel_layer", "base_send"}
    for name in names:
        if name in handlers:
            assert find(consumer, name) == getattr(consumer, name)
        else:
            with pytest.raises(ValueError, match=r"No handler|names a method of the framework"):
                find(consumer, name)


@pytest.mark.parametrize("cls", WEBSOCKETS)
@pytest.mark.parametrize("name", ["connect", "receive", "disconnect", "close", "accept", "send"])
def test_what_a_project_overrides_is_a_handler(cls, name):
    project = type("Project", (cls,), {name: lambda self, *args, **kwargs: None})
    for one in (project(), type("Further", (project,), {})()):
        assert find(one, name) == getattr(one, name)
    with pytest.raises(UnknownMessageType, match=f"'{name}' names a method of the framework"):
        find(cls(), name)


@pytest.mark.parametrize("cls", WEBSOCKETS)
def test_the_nearest_class_decides(cls):
    """A method counts as the project's where it is the project's that would be called."""

    class Mixin:
        def close(self, message):
            pass

    before = type("Before", (Mixin, cls), {})()
    assert find(before, "close") == before.close
    with pytest.raises(UnknownMessageType, match="names a method of the framework"):
        find(type("After", (cls, Mixin), {})(), "close")


@pytest.mark.parametrize("cls", [JsonWebsocketConsumer, AsyncJsonWebsocketConsumer])
@pytest.mark.parametrize("message_type", ["send_json", "send.json", "receive_json", "receive.json"])
def test_json_can_be_sent_and_received_through_a_layer(cls, message_type):
    consumer = cls()
    assert find(consumer, message_type) == getattr(consumer, message_type.replace(".", "_"))


@pytest.mark.parametrize("name", ["base_send", "channel_receive", "channel_layer"])
def test_what_the_runtime_puts_on_the_instance_is_no_handler(name):
    consumer = type("Project", (AsyncConsumer,), {name: lambda self, message: None})()
    setattr(consumer, name, print)
    with pytest.raises(UnknownMessageType, match="names a method of the framework"):
        find(consumer, name)


@pytest.mark.parametrize("message_type", ["as.asgi", "channel.layer", "decode.json"])
def test_dots_are_no_way_around_it(message_type):
    consumer = AsyncJsonWebsocketConsumer()
    consumer.channel_layer = print
    with pytest.raises(UnknownMessageType, match="names a method of the framework"):
        find(consumer, message_type)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_is_freed_when_nobody_uses_it(cls):
    project = type("Project", (cls,), {"chat_message": lambda self, message: None})
    for message_type in ("chat.message", "close", "websocket.connect", "unknown"):
        with contextlib.suppress(UnknownMessageType):
            find(project(), message_type)
    gone = weakref.ref(project)
    del project
    gc.collect()
    assert gone() is None


def test_what_is_remembered_of_types_is_bounded():
    consumer = type("Project", (AsyncConsumer,), {"__getattr__": lambda self, name: print})()
    tracemalloc.start()
    try:
        for number in range(5_000):
            find(consumer, f"{number}.{'x' * 20_000}")
            find(consumer, f"{number}.{'x' * 20}")
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cls", CLASSES)
def test_an_unknown_type(cls):
    with pytest.raises(ValueError, match=r"No handler for message type chat\.message"):
        find(cls(), "chat.message")


def test_the_same_name_is_free_where_the_framework_does_not_use_it():
    """A plain consumer has no ``receive`` or ``close`` of its own."""

    class Project(AsyncConsumer):
        async def receive(self, message):
            pass

    consumer = Project()
    assert find(consumer, "receive") == consumer.receive


@pytest.mark.parametrize("value", [5, "text", None, ["list"], {}])
def test_an_attribute_that_is_no_method_is_no_handler(value):
    consumer = AsyncConsumer()
    consumer.user = value
    with pytest.raises(UnknownMessageType, match="No handler for message type user"):
        find(consumer, "user")


def test_the_body_of_a_request_is_no_handler():
    with pytest.raises(UnknownMessageType):
        find(AsyncHttpConsumer(), "body")


@pytest.mark.parametrize("cls", CLASSES)
def test_handlers_added_to_the_class_after_it_was_used(cls):
    project = type("Project", (cls,), {})
    consumer = project()
    with pytest.raises(UnknownMessageType):
        find(consumer, "late.handler")

    def late_handler(self, message):
        return message

    project.late_handler = late_handler
    assert find(consumer, "late.handler") == consumer.late_handler
    del project.late_handler
    with pytest.raises(UnknownMessageType):
        find(consumer, "late.handler")


def test_handlers_on_the_instance():
    consumer = AsyncConsumer()
    consumer.own_handler = handler = lambda message: message
    assert find(consumer, "own.handler") is handler
    with pytest.raises(UnknownMessageType):
        find(AsyncConsumer(), "own.handler")


def test_descriptors_that_return_partials():
    class Action:
        def __get__(self, instance, owner):
            return functools.partial(self.call, instance)

        def call(self, instance, message):
            return instance, message

    class Project(AsyncWebsocketConsumer):
        do_it = Action()

    consumer = Project()
    handler = find(consumer, "do.it")
    assert isinstance(handler, functools.partial)
    assert handler({"type": "do.it"}) == (consumer, {"type": "do.it"})


def test_handlers_from_getattr_and_mixins():
    class Mixin:
        def from_mixin(self, message):
            pass

    class Project(Mixin, AsyncWebsocketConsumer):
        def __getattr__(self, name):
            if name.startswith("dynamic_"):
                return lambda message: name
            raise AttributeError(name)

    consumer = Project()
    assert find(consumer, "from.mixin") == consumer.from_mixin
    assert find(consumer, "dynamic.one")({}) == "dynamic_one"
    with pytest.raises(UnknownMessageType):
        find(consumer, "static")


def test_the_error_of_a_hostile_type_is_one_short_line():
    for message_type in ("x\r\nINFO forged", "y" * 10_000, "\x1b[31m", "z\u202e"):
        with pytest.raises(UnknownMessageType) as caught:
            find(AsyncConsumer(), message_type)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"type": "no.such.thing"}, "No handler for message type no.such.thing"),
        ({"type": "groups"}, "No handler for message type groups"),
        ({"type": "accept"}, "names a method of the framework"),
        ({"type": "send"}, "names a method of the framework"),
        ({"type": "close"}, "names a method of the framework"),
        ({"type": "dispatch"}, "names a method of the framework"),
        ({"type": "base.send"}, "names a method of the framework"),
        ({"type": "channel_layer"}, "names a method of the framework"),
        ({"type": "as.asgi"}, "names a method of the framework"),
        ({"type": "_secret"}, "leading underscore"),
        ({"type": ".secret"}, "leading underscore"),
        ({"type": ""}, ""),
        ({"type": "evil\n\x1b[31mline"}, "evil\\n\\x1b[31mline"),
        ({"type": "x" * 5000}, "..."),
        ({"type": 5}, "must be a string"),
        ({"type": None}, "must be a string"),
        ({"no": "type"}, "has no 'type'"),
    ],
)
@pytest.mark.parametrize("consumer_class", [AsyncWebsocketConsumer, WebsocketConsumer])
def test_what_is_said_of_messages_that_nothing_handles(consumer_class, message, complaint):
    with pytest.raises(UnknownMessageType) as caught:
        find_handler(type("Own", (consumer_class,), {"groups": []})(), message)
    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 500
