"""One connection that is asked to end: what is cut, what is answered, and that nothing is left."""

import asyncio
import gc
import threading
import weakref

import pytest

from channels._runtime import draining
from channels._runtime.connections import connections
from channels.consumer import AsyncConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from tests.asgi import Server, until

EVENTS = [(b"Content-Type", b"text/event-stream; charset=utf-8")]
DENIAL = {"extensions": {"websocket.http.response": {}}}


pytestmark = pytest.mark.usefixtures("layer")


@pytest.fixture
def log():
    return []


def drain():
    """Ask every connection to end; returns what is under way for it."""
    return [connection.drain() for connection in connections.get().open]


def request(consumer_class, body=b"", **event):
    server = Server(consumer_class.as_asgi(), "http", method="POST")
    server.put("http.request", body=body, **event)
    return server.start()


def statuses(server):
    return [message["status"] for message in server.sent if "status" in message]


# WebSockets


@pytest.fixture
def consumer_class(log):
    class Consumer(AsyncWebsocketConsumer):
        async def disconnect(self, code):
            log.append(code)

    return Consumer


async def test_an_idle_socket_is_closed_and_its_client_waited_for(consumer_class, log):
    server = await Server(consumer_class.as_asgi()).connect()
    [task] = drain()
    await task
    assert server.sent[1:] == [{"type": "websocket.close", "code": 1012}]
    assert log == []
    assert not server.task.done()
    await server.leave(1012)
    assert log == [1012]


@pytest.mark.parametrize("code", [None, 1000, 1005, 1006, 1012])
async def test_the_code_is_1012_whatever_the_server_says(consumer_class, log, code):
    server = await Server(consumer_class.as_asgi()).connect()
    await asyncio.gather(*drain())
    await server.leave(code)
    assert log == [1012]


async def test_a_client_that_closes_at_the_same_time_has_its_say(consumer_class, log):
    server = await Server(consumer_class.as_asgi()).connect()
    tasks = drain()
    server.put("websocket.disconnect", code=4001)
    await asyncio.gather(*tasks, server.ended())
    assert log == [4001]


async def test_a_socket_that_is_drained_twice_is_closed_once(consumer_class):
    server = await Server(consumer_class.as_asgi()).connect()
    await asyncio.gather(*drain(), *drain())
    assert server.types() == ["websocket.accept", "websocket.close"]
    await server.leave(1012)


async def test_a_socket_that_the_application_closes_is_left_to_it(consumer_class, log):
    class Closing(consumer_class):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(4000)

    server = await Server(Closing.as_asgi()).connect()
    server.text("x")
    await until(lambda: len(server.sent) == 2)
    assert drain() == [None]
    assert server.sent[1:] == [{"type": "websocket.close", "code": 4000}]
    await server.leave(4000)
    assert log == [4000]


async def test_a_handler_that_runs_is_not_waited_for_by_the_close(consumer_class, log):
    release = asyncio.Event()

    class Busy(consumer_class):
        async def receive(self, text_data=None, bytes_data=None):
            log.append("in")
            await release.wait()
            await self.send("late")  # dropped
            log.append("out")

    server = await Server(Busy.as_asgi()).connect()
    server.text("x")
    await until(lambda: log)
    await asyncio.gather(*drain())
    assert server.types() == ["websocket.accept", "websocket.close"]
    release.set()
    await server.leave(1012)
    assert log == ["in", "out", 1012]
    assert server.texts() == []


@pytest.mark.parametrize("scope", [{}, DENIAL], ids=["close", "denial"])
async def test_a_handshake_that_is_not_handled_yet_is_refused(consumer_class, log, scope):
    """The client has not said it, as far as the application knows."""
    server = Server(consumer_class.as_asgi(), **scope)
    server.start()
    await until(lambda: connections.get().open)
    assert drain() == [None]
    await server.ended()
    expected = ["websocket.http.response.start", "websocket.http.response.body"]
    assert server.types() == (expected if scope else ["websocket.close"])
    assert statuses(server) == ([503] if scope else [])
    assert log == []  # it never connected


async def test_a_handshake_that_is_being_handled_is_answered_first(consumer_class, log):
    entered, release = asyncio.Event(), asyncio.Event()

    class Slow(consumer_class):
        async def connect(self):
            entered.set()
            await release.wait()
            await self.accept()

    server = Server(Slow.as_asgi())
    server.put("websocket.connect")
    server.start()
    await entered.wait()
    assert drain() == [None]
    release.set()
    await until(lambda: len(server.sent) == 2)
    assert server.types() == ["websocket.accept", "websocket.close"]
    assert server.sent[1]["code"] == 1012
    await server.leave(1012)
    assert log == [1012]


async def test_a_handshake_that_waits_for_a_message_is_refused(log):
    """Its handler has returned without an answer."""

    class Waiting(AsyncConsumer):
        async def websocket_connect(self, message):
            log.append("connect")

        async def websocket_disconnect(self, message):
            log.append(message["code"])

    server = Server(Waiting.as_asgi(), **DENIAL)
    server.put("websocket.connect")
    server.start()
    await until(lambda: log)
    drain()
    await server.ended()
    assert statuses(server) == [503]
    assert log == ["connect", 1012]


async def test_a_crash_while_the_close_is_on_its_way_leaves_no_task(consumer_class, log):
    """The close comes to its end after the connection has, and reads nobody again."""
    release, closing = asyncio.Event(), asyncio.Event()

    class Crashing(consumer_class):
        async def receive(self, text_data=None, bytes_data=None):
            await closing.wait()
            raise RuntimeError("boom")

    before = asyncio.all_tasks()
    server = await Server(Crashing.as_asgi()).connect()
    server.text("x")
    await until(lambda: server.received == 2)

    async def on_send(message):
        if message["type"] == "websocket.close":
            closing.set()
            await release.wait()

    server.on_send = on_send
    tasks = drain()
    await server.ended()
    assert log == [1012]
    release.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


# HTTP


async def test_a_stream_of_events_ends(log):
    class Stream(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers(headers=EVENTS)
            try:
                while True:
                    await self.send_body(b"data: x\n\n", more_body=True)
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

        async def disconnect(self):
            log.append("disconnect")

    server = request(Stream)
    await until(lambda: len(server.sent) > 3)
    await asyncio.gather(*drain())
    await server.ended()
    assert server.sent[-1] == {"type": "http.response.body", "body": b""}
    assert log == ["cancelled", "disconnect"]


async def test_ctrl_c_ends_streams_of_events_and_nothing_else(consumer_class):
    class Events(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers(headers=EVENTS)
            await self.send_body(b": here", more_body=True)
            await asyncio.Event().wait()

    stream = request(Events)
    await until(lambda: len(stream.sent) == 2)
    socket = await Server(consumer_class.as_asgi()).connect()
    draining._end_streams(connections.get())
    stream.put("http.disconnect")
    await stream.ended()
    assert stream.sent[-1] == {"type": "http.response.body", "body": b""}
    assert socket.types() == ["websocket.accept"]
    await socket.leave()


async def test_a_stream_of_events_that_waits_for_messages_ends(log, layer):
    class Stream(AsyncHttpConsumer):
        async def handle(self, body):
            await self.channel_layer.group_add("news", self.channel_name)
            await self.send_headers(headers=EVENTS)
            await self.send_body(b"", more_body=True)

        async def disconnect(self):
            log.append("disconnect")

    server = request(Stream)
    await until(lambda: len(server.sent) == 2)
    await asyncio.gather(*drain())
    await server.ended()
    assert server.sent[-1] == {"type": "http.response.body", "body": b""}
    assert log == ["disconnect"]
    assert layer.groups == {}


async def test_other_streams_end_between_two_messages(log):
    """What is being sent may have an end of its own; what waits for messages has none."""
    entered, release = asyncio.Event(), asyncio.Event()

    class Stream(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers()
            await self.send_body(b"x", more_body=True)
            await self.channel_layer.send(self.channel_name, {"type": "more"})

        async def more(self, message):
            entered.set()
            await release.wait()
            await self.send_body(b"y", more_body=True)

        async def disconnect(self):
            log.append("disconnect")

    server = request(Stream)
    await entered.wait()
    assert drain() == [None]
    release.set()
    await server.ended()
    assert [message.get("body") for message in server.sent] == [None, b"x", b"y", b""]
    assert log == ["disconnect"]


async def test_a_download_that_is_being_sent_is_not_cut(log):
    release = asyncio.Event()

    class Download(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers()
            await self.send_body(b"begin", more_body=True)
            await release.wait()
            await self.send_body(b"end")

        async def disconnect(self):
            log.append("disconnect")

    server = request(Download)
    await until(lambda: len(server.sent) == 2)
    assert drain() == [None]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(server.sent) == 2
    release.set()
    await server.ended()
    assert [m.get("body") for m in server.sent] == [None, b"begin", b"end"]
    assert log == ["disconnect"]


async def test_an_idle_long_poll_gets_503(log):
    class Poll(AsyncHttpConsumer):
        async def http_request(self, message):
            log.append("request")

        async def disconnect(self):
            log.append("disconnect")

    server = request(Poll)
    await until(lambda: log)
    assert drain() == [None]
    await server.ended()
    assert statuses(server) == [503]
    assert not server.sent[-1].get("more_body")
    assert log == ["request", "disconnect"]


async def test_a_request_that_is_being_handled_is_answered(log):
    entered, release = asyncio.Event(), asyncio.Event()

    class Slow(AsyncHttpConsumer):
        async def handle(self, body):
            entered.set()
            await release.wait()
            await self.send_response(201, b"made")

    server = request(Slow)
    await entered.wait()
    assert drain() == [None]
    release.set()
    await server.ended()
    assert statuses(server) == [201]
    assert server.sent[-1]["body"] == b"made"


async def test_an_upload_is_not_cut(log):
    class Upload(AsyncHttpConsumer):
        async def http_request(self, message):
            log.append(message["body"])
            await super().http_request(message)

        async def handle(self, body):
            await self.send_response(200, body)

    server = request(Upload, b"one ", more_body=True)
    await until(lambda: log == [b"one "])
    drain()
    server.put("http.request", body=b"two ", more_body=True)
    await until(lambda: len(log) == 2)
    drain()
    server.put("http.request", body=b"three")
    await server.ended()
    assert statuses(server) == [200]
    assert server.sent[-1]["body"] == b"one two three"


async def test_a_request_of_which_nothing_has_come_is_waited_for(log):
    class Answer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, b"x")

    server = Server(Answer.as_asgi(), "http", method="POST").start()
    await until(lambda: connections.get().open)
    drain()
    server.put("http.request", body=b"")
    await server.ended()
    assert statuses(server) == [200]


# What is left


@pytest.mark.parametrize("end", ["drain", "leave", "cancel", "stall"])
async def test_nothing_keeps_a_connection_that_has_ended(consumer_class, layer, end):
    alive, before = [], asyncio.all_tasks()
    consumer_class.groups = ("room",)

    class Consumer(consumer_class):
        async def connect(self):
            alive.append(weakref.ref(self))
            await self.accept()

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data)

    async def live():
        server = await Server(Consumer.as_asgi()).connect()
        if end == "drain":
            await asyncio.gather(*drain())
        elif end == "cancel":
            server.task.cancel()
            await asyncio.wait((server.task,))
            return
        elif end == "stall":
            server.on_send = lambda message: asyncio.Event().wait()
            server.text("x")
            pending = connections.get().pending_sends
            await until(lambda: pending)
            now = asyncio.get_running_loop().time()
            pending.look(now)
            pending.look(now + 3600)
            await server.ended()
            pending.look(now + 3601)
            return
        await server.leave()

    await live()
    here = connections.get()
    assert (here.open, here.pending_sends) == (set(), {})
    await asyncio.sleep(0)
    gc.collect()
    assert [reference() for reference in alive] == [None]
    assert asyncio.all_tasks() == before
    assert layer.groups == {}


async def test_a_connection_is_open_from_its_beginning_to_its_end(consumer_class, log):
    """Until its disconnect has run and its channel is closed, it has not ended."""
    entered, release = threading.Event(), asyncio.Event()

    class Slow(consumer_class):
        async def disconnect(self, code):
            entered.set()
            await release.wait()
            log.append(code)

    here = connections.get()
    server = await Server(Slow.as_asgi()).connect()
    server.put("websocket.disconnect", code=1001)
    await until(entered.is_set)
    assert len(here.open) == 1
    ended = asyncio.create_task(here.ended(5))
    release.set()
    assert await ended
    assert log == [1001]
    await server.ended()


async def test_a_stream_that_starts_late_is_ended_too(monkeypatch):
    """Its headers come when everybody has been asked to end."""
    monkeypatch.setattr(draining, "_AGAIN", 0.02)
    asked = asyncio.Event()

    class Late(AsyncHttpConsumer):
        async def handle(self, body):
            await asked.wait()
            await self.send_headers(headers=EVENTS)
            while True:
                await self.send_body(b"data: x\n\n", more_body=True)
                await asyncio.sleep(0.01)

    server = request(Late)
    await until(lambda: connections.get().open)
    ending = asyncio.create_task(draining.drain(connections.get(), draining.Plan(deadline=5)))
    await until(lambda: connections.get().refusing)
    asked.set()
    assert await ending
    assert server.sent[-1] == {"type": "http.response.body", "body": b""}
