"""A consumer's permissions: asked before anything of it begins, for each kind of connection."""

import asyncio
import logging
import threading

import pytest

from channels import signals
from channels._runtime.connections import connections
from channels.consumer import AsyncConsumer
from channels.exceptions import InvalidPermission, ScopeError
from channels.generic.http import AsyncHttpConsumer
from channels.generic.longpoll import AsyncLongPollConsumer, LongPollConsumer
from channels.generic.sse import AsyncSseConsumer, SseConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.security.permissions import IsAuthenticated, IsStaff, Permission
from channels.testing import HttpCommunicator, WebsocketCommunicator
from tests.asgi import Server, until

pytestmark = pytest.mark.usefixtures("layer")

EXTENSIONS = {"websocket.http.response": {}}


class User:
    pk = 5
    is_active = True
    is_staff = False

    def __init__(self, is_authenticated=True):
        self.is_authenticated = is_authenticated


ANONYMOUS = User(is_authenticated=False)


class AsyncSocket(AsyncWebsocketConsumer):
    permissions = IsStaff
    groups = ["everybody"]
    calls: list

    async def connect(self):
        self.calls.append("connect")
        await self.accept()

    async def disconnect(self, code):
        self.calls.append(code)


class SyncSocket(WebsocketConsumer):
    permissions = IsStaff
    groups = ["everybody"]
    calls: list

    def connect(self):
        self.calls.append("connect")
        self.accept()

    def disconnect(self, code):
        self.calls.append(code)


@pytest.fixture(params=[AsyncSocket, SyncSocket])
def socket(request):
    """A class of its own for each test."""
    return type(request.param.__name__, (request.param,), {"calls": []})


@pytest.fixture
def refused():
    told = []

    def listen(signal, sender, scope, reason, status):
        told.append((sender, status))

    signals.connection_refused.connect(listen)
    yield told
    signals.connection_refused.disconnect(listen)


def nothing_is_left():
    layer = get_channel_layer()
    return not (connections.get().open or layer.groups or list(layer.channels))


@pytest.mark.parametrize(("user", "status"), [(ANONYMOUS, 401), (User(), 403)])
class TestSockets:
    async def test_the_handshake_is_refused(self, socket, user, status, refused, caplog):
        server = await Server(socket.as_asgi(), extensions=EXTENSIONS, user=user).connect()
        await server.ended()
        assert server.sent[0]["status"] == status
        assert server.types() == ["websocket.http.response.start", "websocket.http.response.body"]
        assert refused == [(socket, status)]
        assert socket.calls == []
        assert nothing_is_left()
        (line,) = caplog.messages
        assert line.startswith("Refused websocket /ws/: it asks for IsStaff()")

    async def test_a_page_is_told_by_a_close(self, socket, user, status, refused):
        socket.refuse_by_close = True
        server = await Server(socket.as_asgi(), user=user, subprotocols=["v1"]).connect()
        await server.ended()
        assert server.sent == [
            {"type": "websocket.accept", "subprotocol": "v1"},
            {"type": "websocket.close", "code": 4000 + status},
        ]
        assert refused == [(socket, status)]
        assert socket.calls == []
        assert nothing_is_left()

    async def test_in_a_test(self, socket, user, status):
        communicator = WebsocketCommunicator(socket.as_asgi(), "/")
        communicator.scope["user"] = user
        assert (await communicator.connect())[0] is False
        socket.refuse_by_close = True
        communicator = WebsocketCommunicator(socket.as_asgi(), "/")
        communicator.scope["user"] = user
        assert (await communicator.connect())[0] is True
        assert (await communicator.receive_output())["code"] == 4000 + status


async def test_those_who_may_come_in(socket):
    user = User()
    user.is_staff = True
    server = await Server(socket.as_asgi(), user=user).connect()
    assert server.types() == ["websocket.accept"]
    await server.leave(1001)
    assert socket.calls == ["connect", 1001]


async def test_the_client_is_closed_when_its_handshake_has_come(socket):
    socket.refuse_by_close = True
    server = Server(socket.as_asgi(), user=User()).start()
    await asyncio.sleep(0.01)
    assert server.sent == []
    server.put("websocket.connect")
    await server.ended()
    assert server.types() == ["websocket.accept", "websocket.close"]


class AsyncStream(AsyncSseConsumer):
    permissions = IsAuthenticated() & IsStaff()


class Stream(SseConsumer):
    permissions = IsAuthenticated() & IsStaff()


class Page(AsyncHttpConsumer):
    permissions = IsAuthenticated() & IsStaff()

    async def handle(self, body):
        await self.send_response(200, body)


class AsyncPoll(AsyncLongPollConsumer):
    permissions = IsAuthenticated() & IsStaff()


class Poll(LongPollConsumer):
    permissions = IsAuthenticated() & IsStaff()


@pytest.mark.parametrize("consumer", [AsyncStream, Stream, Page, AsyncPoll, Poll])
@pytest.mark.parametrize(("user", "status"), [(ANONYMOUS, 401), (User(), 403)])
async def test_http_gets_its_statuses(consumer, user, status):
    communicator = HttpCommunicator(consumer.as_asgi(), "GET", "/")
    communicator.scope.update(user=user)
    assert (await communicator.get_response())["status"] == status


class TestBodies:
    def post(self, *parts, length):
        headers = [(b"content-length", str(length).encode())]
        server = Server(Page.as_asgi(), "http", method="POST", headers=headers, user=User())
        for number, part in enumerate(parts, 1):
            server.put("http.request", body=part, more_body=number < len(parts))
        return server.start()

    async def test_what_the_client_still_sends_is_read_so_that_it_sees_the_answer(self):
        server = self.post(b"a" * 10, b"b" * 10, length=20)
        await server.ended()
        assert server.sent[0]["status"] == 403
        assert [message.get("more_body", False) for message in server.sent[1:]] == [True, False]
        assert server.received == 2

    async def test_it_is_answered_before_that(self):
        server = self.post(length=20)
        await until(lambda: server.sent)
        assert server.sent[0]["status"] == 403
        server.put("http.request", body=b"a" * 20)
        await server.ended()
        assert server.sent[-1]["body"] == b"Forbidden"

    async def test_it_is_not_read_for_ever(self, monkeypatch):
        monkeypatch.setattr("channels._runtime.entry.LINGER", 0.01)
        server = self.post(length=20)
        await server.ended()
        assert server.sent[-1]["body"] == b"Forbidden"

    async def test_a_client_that_leaves_meanwhile(self):
        server = self.post(length=20)
        await until(lambda: server.sent)
        server.put("http.disconnect")
        await server.ended()

    async def test_reading_that_fails_meanwhile(self):
        server = self.post(length=20)
        await until(lambda: server.sent)
        server.events.put_nowait(None)  # a server that breaks
        await server.ended()


class Slow(Permission):
    """Answers when it is told to."""

    def __init__(self):
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def has_permission(self, scope, message_type=None):
        self.asked.set()
        await self.answer.wait()
        return scope["allowed"]


class TestWhileItIsAsked:
    def server(self, allowed=True, **attributes):
        self.calls = []
        self.rule = Slow()
        names = {"permissions": self.rule, "calls": self.calls, **attributes}
        application = type("Waiting", (AsyncSocket,), names).as_asgi()
        server = Server(application, extensions=EXTENSIONS, allowed=allowed)
        server.put("websocket.connect")
        return server.start()

    async def test_the_time_for_the_handshake_passes(self):
        server = self.server(handshake_timeout=0.05)
        await server.ended()
        assert server.sent[0]["status"] == 503
        assert self.calls == []

    async def test_a_client_that_leaves_is_not_waited_for(self, caplog):
        server = self.server(disconnect_grace=0.01)
        await self.rule.asked.wait()
        await server.leave()
        assert server.sent == []
        assert self.calls == []

    @pytest.mark.parametrize("allowed", [True, False])
    async def test_a_client_that_has_left_is_given_no_answer(self, allowed):
        server = self.server(allowed, disconnect_grace=5.0)
        await self.rule.asked.wait()
        server.put("websocket.disconnect", code=1001)
        await until(lambda: server.received == 2)
        self.rule.answer.set()
        await server.ended()
        assert server.sent == []
        assert self.calls == []

    async def test_a_server_that_ends(self):
        server = self.server()
        await self.rule.asked.wait()
        server.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server.task
        assert self.calls == []
        assert nothing_is_left()


async def test_a_server_that_breaks_before_the_client_can_be_closed():
    class Closing(AsyncSocket):
        refuse_by_close = True
        calls = []

    server = Server(Closing.as_asgi(), user=User())
    server.events.put_nowait(None)
    server.start()
    await server.ended()
    assert Closing.calls == []


class Raising(Permission):
    def has_permission(self, scope, message_type=None):
        raise RuntimeError("no database")


class Unfinished(Permission):
    def has_permission(self, scope, message_type=None):
        pass


@pytest.mark.parametrize("rule", [Raising(), Unfinished(), IsStaff()])
async def test_a_permission_that_fails_lets_nobody_in(socket, rule, caplog):
    socket.permissions = rule
    server = await Server(socket.as_asgi(), extensions=EXTENSIONS).connect()
    await server.ended()
    assert server.sent[0]["status"] == 500
    assert socket.calls == []
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "crashed" in record.message
    communicator = WebsocketCommunicator(socket.as_asgi(), "/")
    with pytest.raises((RuntimeError, InvalidPermission, ScopeError)):
        await communicator.connect()


async def test_a_worker_has_no_client_to_ask_about():
    handled = []

    class Job(AsyncConsumer):
        permissions = IsStaff

        async def job(self, message):
            handled.append(message["type"])

    events = asyncio.Queue()
    events.put_nowait({"type": "job"})
    task = asyncio.create_task(
        Job.as_asgi()({"type": "channel", "channel": "jobs"}, events.get, None)
    )
    await until(lambda: handled)
    task.cancel()
    await asyncio.wait([task])


async def test_a_permission_may_depend_on_the_instance(socket):
    class Own(AsyncWebsocketConsumer):
        @property
        def permissions(self):
            return IsStaff() if self.scope["path"] == "/ws/" else None

    server = await Server(Own.as_asgi(), user=User()).connect()
    await server.ended()
    assert server.types() == ["websocket.close"]
    server = await Server(Own.as_asgi(), user=User(), path="/free/").connect()
    assert server.types() == ["websocket.accept"]
    await server.leave()


async def test_a_handler_may_be_called_permissions():
    got = []

    class Handling(AsyncWebsocketConsumer):
        async def permissions(self, event):
            got.append(event["type"])

    async with WebsocketCommunicator(Handling.as_asgi(), "/"):
        layer = get_channel_layer()
        await layer.send(next(iter(layer.channels)), {"type": "permissions"})
        await until(lambda: got == ["permissions"])


def test_a_mistake_in_the_declaration_is_told_when_the_class_is_made():
    with pytest.raises(InvalidPermission, match="IsAuthenticated"):
        type("Listed", (AsyncWebsocketConsumer,), {"permissions": [IsStaff]})


async def test_the_database_is_asked_in_a_thread(socket):
    threads = []

    class Where(Permission):
        def has_permission(self, scope, message_type=None):
            threads.append(threading.current_thread())
            return False

    socket.permissions = Where()
    await (await Server(socket.as_asgi()).connect()).ended()
    assert threads
    assert threads[0] is not threading.current_thread()
