"""A plain method where a coroutine is needed, and the reverse, is named with what to write."""

import asyncio

import pytest

from channels._runtime.kinds import refuse_coroutine, refuse_plain, twin
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import ChannelsError, InvalidMethodError
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import get_channel_layer
from channels.testing import HttpCommunicator, WebsocketCommunicator
from tests.asgi import Server, until

pytestmark = pytest.mark.usefixtures("layer")

NAMES = ["connect", "receive", "disconnect", "receive_json", "decode_json", "encode_json", "note"]


def plain(self, *args, **kwargs):
    return None


async def coroutine(*args, **kwargs):
    raise AssertionError("never runs")


async def generator(*args, **kwargs):
    yield


def make(base, name, method):
    class Chat(base):
        groups = ["notes"]

        if issubclass(base, AsyncConsumer) and not issubclass(base, SyncConsumer):

            async def note(self, message):
                pass
        else:

            def note(self, message):
                pass

    def receive_json(self, content):
        return self.send_json(content)

    async def async_receive_json(self, content):
        await self.send_json(content)

    Chat.receive_json = receive_json if issubclass(base, SyncConsumer) else async_receive_json
    setattr(Chat, name, method)
    return Chat


async def provoke(consumer_class, name):
    """What a test gets to see that does what calls the method."""
    communicator = WebsocketCommunicator(consumer_class.as_asgi(), "/")
    await communicator.connect()
    if name == "note":
        await get_channel_layer().group_send("notes", {"type": "note"})
    elif name == "disconnect":
        await communicator.disconnect()
    else:
        await communicator.send_json_to({"a": 1})
    await communicator.receive_output()


@pytest.mark.parametrize("name", NAMES)
async def test_a_plain_method_in_an_async_consumer(name):
    base = AsyncJsonWebsocketConsumer
    with pytest.raises(InvalidMethodError) as caught:
        await provoke(make(base, name, plain), name)
    assert str(caught.value) == (
        f"make.<locals>.Chat.{name}() is a plain method, and AsyncJsonWebsocketConsumer awaits it; "
        f"write `async def {name}(...)`, or derive make.<locals>.Chat from JsonWebsocketConsumer"
    )
    assert isinstance(caught.value, ChannelsError)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("name", NAMES)
async def test_a_coroutine_in_a_sync_consumer(name):
    base = JsonWebsocketConsumer
    with pytest.raises(InvalidMethodError) as caught:
        await provoke(make(base, name, coroutine), name)
    assert str(caught.value) == (
        f"make.<locals>.Chat.{name}() is a coroutine, and JsonWebsocketConsumer does not await it: "
        f"nothing of it runs; write `def {name}(...)`, or derive make.<locals>.Chat from "
        "AsyncJsonWebsocketConsumer"
    )


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
@pytest.mark.parametrize("name", ["connect", "receive", "note"])
async def test_a_method_with_yield(base, name):
    with pytest.raises(InvalidMethodError, match=r"contains `yield`.* remove the `yield`"):
        await provoke(make(base, name, generator), name)


class Page(AsyncHttpConsumer):
    async def handle(self, body):
        await self.send_response(200, b"")


async def test_a_request_is_handled_by_a_plain_method():
    page = type("Page", (Page,), {"handle": plain})
    with pytest.raises(InvalidMethodError, match=r"Page\.handle\(\) is a plain method"):
        await HttpCommunicator(page.as_asgi(), "GET", "/").get_response()


async def test_a_request_ends_with_a_plain_method(caplog):
    page = type("Page", (Page,), {"disconnect": plain})
    communicator = HttpCommunicator(page.as_asgi(), "GET", "/")
    await communicator.get_response()
    await communicator.wait()
    [record] = caplog.records
    assert isinstance(record.exc_info[1], InvalidMethodError)


async def test_behind_a_server_it_is_one_entry(caplog):
    class Chat(AsyncWebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            pass

    server = await Server(Chat.as_asgi()).connect()
    server.text("x")
    await until(lambda: len(server.sent) > 1)
    await server.leave(1011)
    [record] = caplog.records
    assert "write `async def receive(...)`" in str(record.exc_info[1])


async def test_a_type_error_of_the_method_itself_stays_what_it_is():
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await None

    communicator = WebsocketCommunicator(Chat.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_to(text_data="x")
    with pytest.raises(TypeError) as caught:
        await communicator.receive_output()
    assert type(caught.value) is TypeError


async def test_a_plain_method_may_return_what_is_to_be_awaited():
    class Chat(AsyncWebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            return asyncio.ensure_future(self.send(text_data))

    communicator = WebsocketCommunicator(Chat.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_to(text_data="x")
    assert await communicator.receive_from() == "x"
    await communicator.disconnect()


def test_other_errors_and_results_pass():
    consumer = AsyncWebsocketConsumer()
    refuse_plain(consumer, "connect", TypeError("never raised"))
    try:
        raise TypeError("connect() takes 1 positional argument")
    except TypeError as error:
        refuse_plain(consumer, "connect", error)
    for result in (None, {}, "text", 0):
        assert refuse_coroutine(WebsocketConsumer(), "encode_json", result) is result


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (AsyncConsumer, ("AsyncConsumer", "SyncConsumer")),
        (SyncConsumer, ("SyncConsumer", "AsyncConsumer")),
        (WebsocketConsumer, ("WebsocketConsumer", "AsyncWebsocketConsumer")),
        (AsyncHttpConsumer, ("AsyncHttpConsumer", "")),
        (object, ("object", "")),
    ],
)
def test_the_class_of_the_other_kind(cls, expected):
    assert twin(cls) == twin(type("object", (cls,), {})) == expected


@pytest.mark.parametrize("behind_a_server", [True, False])
@pytest.mark.parametrize("attribute", ["channel_layer", "channel_name"])
async def test_no_channel_layer_is_noted_at_the_error(behind_a_server, attribute, caplog):
    class Chat(AsyncWebsocketConsumer):
        channel_layer_alias = "absent"

        async def connect(self):
            name = self.channel_name if attribute == "channel_name" else "name"
            await self.channel_layer.group_add("room", name)

    if behind_a_server:
        server = await Server(Chat.as_asgi()).connect()
        await server.leave(1006)
        error = caplog.records[0].exc_info[1]
    else:
        with pytest.raises(AttributeError) as caught:
            await WebsocketCommunicator(Chat.as_asgi(), "/").connect()
        error = caught.value
    [note] = error.__notes__
    assert (
        "Chat.channel_layer is None, because the setting CHANNEL_LAYERS has no entry 'absent'"
        in note
    )


async def test_an_attribute_of_another_none_is_not_explained():
    class Chat(AsyncWebsocketConsumer):
        async def connect(self):
            self.user = None
            await self.user.leave()

    with pytest.raises(AttributeError) as caught:
        await WebsocketCommunicator(Chat.as_asgi(), "/").connect()
    assert not hasattr(caught.value, "__notes__")
