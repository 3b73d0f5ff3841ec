"""What is called around handlers, and what happens when it fails."""

import logging

import pytest

from channels._runtime.observing import observe
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.signals import listened
from channels.testing import WebsocketCommunicator


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "crash":
            raise ValueError(text_data)
        if text_data == "stop":
            raise StopConsumer
        await self.send(text_data)


class Hook:
    """Notes what it is told; wants to know the end of those in ``wanted``."""

    def __init__(self, wanted=()):
        self.wanted = wanted
        self.begun, self.ended = [], []

    def begin(self, consumer, message_type, source):
        self.begun.append((type(consumer), message_type, source))
        return message_type if message_type in self.wanted else None

    def end(self, begun, exception):
        self.ended.append((begun, exception))


class Failing:
    def __init__(self, begun):
        self.begun = begun

    def begin(self, consumer, message_type, source):
        if self.begun is None:
            raise RuntimeError("at the beginning")
        return self.begun

    def end(self, begun, exception):
        raise RuntimeError("at the end")


@pytest.fixture
def around(nobody_listens):
    yield listened.around
    listened.around(None)
    assert not listened.messages


async def talk(*texts):
    async with WebsocketCommunicator(Echo.as_asgi(), "/") as client:
        for text in texts:
            await client.send_to(text)
            if text == "hello":
                assert await client.receive_from() == text
            else:
                await client.wait()


async def test_a_hook_is_called_around_the_handlers_that_it_wants(around):
    hook = Hook(wanted=["websocket.receive", "websocket.disconnect"])
    around(hook)
    await talk("hello")
    types = ["websocket.connect", "websocket.receive", "websocket.disconnect"]
    assert hook.begun == [(Echo, each, "client") for each in types]
    assert hook.ended == [("websocket.receive", None), ("websocket.disconnect", None)]


@pytest.mark.parametrize(("text", "kind"), [("crash", ValueError), ("stop", type(None))])
async def test_a_hook_is_told_what_a_handler_raises_but_for_its_wish_to_stop(around, text, kind):
    hook = Hook(wanted=["websocket.receive"])
    around(hook)
    try:
        await talk(text)
    except ValueError:
        assert text == "crash"
    [(_, exception)] = hook.ended
    assert type(exception) is kind


@pytest.mark.parametrize("begun", [None, "begun"])
async def test_a_hook_that_fails_disturbs_no_handler(around, begun, caplog):
    around(Failing(begun))
    with caplog.at_level(logging.ERROR, "channels.signals"):
        await talk("hello")
    assert "What is called around handlers has failed: RuntimeError(" in caplog.text


async def test_nobody_listens_any_more(nobody_listens):
    consumer = Echo()
    assert observe(consumer, {"type": "websocket.receive"}, "client") is None
