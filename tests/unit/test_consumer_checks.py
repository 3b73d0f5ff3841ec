"""The check that tells of methods of the wrong kind, before a client finds them."""

import functools

import pytest
from django.urls import path

from channels.auth import AuthMiddlewareStack
from channels.consumer_checks import check_methods
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter

application = None  # each test's


@pytest.fixture
def check(settings, monkeypatch):
    """The messages about consumers of these classes."""

    def run(*classes):
        routes = [path(f"{number}/", cls.as_asgi()) for number, cls in enumerate(classes)]
        made = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter(routes))})
        monkeypatch.setitem(globals(), "application", made)
        settings.ASGI_APPLICATION = f"{__name__}.application"
        return check_methods(None)

    return run


class PlainInAsync(AsyncJsonWebsocketConsumer):
    def connect(self):
        self.accept()

    def receive_json(self, content):
        if content:
            return
        self.content = content

    @classmethod
    def encode_json(cls, content):
        return "{}"  # may be awaited, for all that can be seen


class CoroutineInSync(JsonWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        pass

    async def disconnect(self, code):
        pass

    @classmethod
    async def encode_json(cls, content):
        return "{}"


class Page(AsyncHttpConsumer):
    def handle(self, body):
        self.body = body


def decorated(method):
    @functools.wraps(method)
    def call(*args):
        return method(*args)

    return call


class Right(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()

    @decorated
    async def disconnect(self, code):
        pass

    def receive_json(self, content):
        return self.send_json(content)

    # No plain method: nobody can know what these return.
    websocket_connect = functools.partialmethod(AsyncJsonWebsocketConsumer.websocket_connect)

    def helper(self):
        pass


class RightInSync(JsonWebsocketConsumer):
    def connect(self):
        self.accept()


def test_plain_methods_where_coroutines_are_needed(check):
    messages = check(PlainInAsync, Right)
    assert {message.id for message in messages} == {"channels.W014"}
    told = sorted(message.msg for message in messages)
    assert [text.partition("() is ")[0] for text in told] == [
        f"{__name__}.PlainInAsync.connect",
        f"{__name__}.PlainInAsync.receive_json",
    ]
    assert "a plain method, which AsyncJsonWebsocketConsumer awaits" in told[0]
    assert "Write `async def" in messages[0].hint
    assert "or derive the class from JsonWebsocketConsumer" in messages[0].hint


def test_coroutines_where_plain_methods_are_needed(check):
    messages = check(CoroutineInSync, RightInSync)
    told = sorted(message.msg for message in messages)
    assert [text.partition("() is ")[0] for text in told] == [
        f"{__name__}.CoroutineInSync.disconnect",
        f"{__name__}.CoroutineInSync.encode_json",
        f"{__name__}.CoroutineInSync.receive",
    ]
    assert "a coroutine, which JsonWebsocketConsumer does not await" in told[0]


def test_a_request(check):
    [message] = check(Page)
    assert message.hint == "Write `async def handle(...)`."


def test_what_is_right_is_not_told_of(check):
    assert check(Right, RightInSync) == []


def test_without_an_application(settings):
    settings.ASGI_APPLICATION = None
    assert check_methods(None) == []


class OwnHandler(AsyncJsonWebsocketConsumer):
    def start_background_task(self):
        self.begun = True


def test_a_name_that_is_no_handlers_in_either_kind_is_free(check):
    assert check(OwnHandler) == []
