"""Whole connections: how they end, what stays behind, crashes, and sends that come too late."""

import asyncio
import gc
import logging
import threading
import time
import weakref

import pytest

from channels._runtime import lifecycle
from channels._runtime.backstage import untold
from channels._runtime.connections import connections
from channels.exceptions import StopConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import InMemoryChannelLayer, channel_layers
from tests.asgi import DEADLINE, Server, until
from tests.unit.runtime.recorder import Recorder

pytestmark = pytest.mark.usefixtures("layer")


# Disconnect is certain


def refusing(consumer_class):
    class Refusing(consumer_class):
        async def connect(self):
            await self.close()

    return Refusing


async def test_disconnect_on_client_close():
    class Consumer(Recorder):
        pass

    server = await Server(Consumer.as_asgi()).connect()
    await server.leave(code=1005)
    assert Consumer.made[0].codes() == [1005]


async def test_disconnect_when_refused():
    class Consumer(refusing(Recorder)):
        pass

    server = await Server(Consumer.as_asgi()).connect()
    assert server.types() == ["websocket.close"]
    await server.leave(code=1006)
    assert Consumer.made[0].codes() == [1006]


async def test_disconnect_when_the_application_is_cancelled():
    class Consumer(Recorder):
        pass

    server = await Server(Consumer.as_asgi()).connect()
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert Consumer.made[0].codes() == [1012]
    assert server.sent[-1] == {"type": "websocket.close", "code": 1012}


async def test_disconnect_when_cancelled_in_a_handler():
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("in")
            await asyncio.Event().wait()

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await until(lambda: Consumer.made[0].log)
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert Consumer.made[0].codes() == [1012]


@pytest.mark.parametrize("order", [1, -1])
async def test_disconnect_when_everything_is_cancelled(order):
    """As ``asyncio.run()`` does when its coroutine has ended, in no particular order."""

    async def take_time(*_):
        for _ in range(5):
            await asyncio.sleep(0)

    class Consumer(Recorder):
        async def disconnect(self, code):
            await take_time()
            await super().disconnect(code)

    before = asyncio.all_tasks()
    server = await Server(Consumer.as_asgi()).connect()
    server.on_send = take_time
    [others] = asyncio.all_tasks() - before - {server.task}
    for task in (others, server.task)[::order]:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert server.sent[-1] == {"type": "websocket.close", "code": 1012}
    assert Consumer.made[0].codes() == [1012]
    assert asyncio.all_tasks() == before


async def test_nothing_is_left_of_a_connection_cancelled_before_it_begins():
    class Consumer(Recorder):
        pass

    before = asyncio.all_tasks()
    server = Server(Consumer.as_asgi()).start()
    await until(lambda: asyncio.all_tasks() - before - {server.task})
    [dispatching] = asyncio.all_tasks() - before - {server.task}
    dispatching.cancel()
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert asyncio.all_tasks() == before
    assert not connections.get().open
    assert Consumer.made[0].log == []


@pytest.mark.parametrize("turns", range(8))
async def test_disconnect_when_cancelled_while_the_connection_ends(turns):
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("in")
            raise RuntimeError("boom")

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    while not Consumer.made[0].log:
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    server.task.cancel()
    await asyncio.wait([server.task], timeout=DEADLINE)
    assert Consumer.made[0].codes() == [1011]


@pytest.mark.parametrize("handler", ["connect", "receive", "note"])
async def test_disconnect_when_a_handler_raises(handler):
    async def boom(self, *args, **kwargs):
        raise RuntimeError("boom")

    class Consumer(Recorder):
        pass

    setattr(Consumer, handler, boom)
    server = await Server(Consumer.as_asgi()).connect()
    consumer = Consumer.made[0]
    server.text("x")
    if handler == "note":
        await consumer.channel_layer.send(consumer.channel_name, {"type": "note"})
    await server.ended()
    assert consumer.codes() == [1011]


async def test_disconnect_runs_once_even_if_it_raises(caplog):
    class Consumer(Recorder):
        async def disconnect(self, code):
            await super().disconnect(code)
            raise RuntimeError("boom")

    server = await Server(Consumer.as_asgi()).connect()
    await server.leave()
    assert Consumer.made[0].codes() == [1001]
    assert [r.getMessage() for r in caplog.records] == [f"{Consumer.__qualname__} at /ws/ crashed"]


async def test_disconnect_follows_stop_consumer():
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise StopConsumer

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await server.ended()
    assert Consumer.made[0].codes() == [1000]
    assert server.sent[-1] == {"type": "websocket.close", "code": 1000}


async def test_disconnect_when_the_servers_receive_fails():
    class Consumer(Recorder):
        pass

    server = await Server(Consumer.as_asgi()).connect()

    async def receive():
        raise ConnectionResetError("gone")

    failing = Server(Consumer.as_asgi())
    failing.receive = receive
    await failing.start().ended()
    assert Consumer.made[1].codes() == []  # it never connected
    await server.leave()


async def test_a_disconnect_message_from_the_layer_closes_the_socket(layer):
    class Consumer(Recorder):
        pass

    server = await Server(Consumer.as_asgi()).connect()
    name = Consumer.made[0].channel_name
    await layer.send(name, {"type": "websocket.disconnect", "code": 4000})
    await server.ended()
    assert Consumer.made[0].codes() == [4000]
    assert server.types()[-1] == "websocket.close"


async def test_a_server_that_never_confirms_the_close_does_not_keep_the_consumer(monkeypatch):
    monkeypatch.setattr(lifecycle, "CLOSE_TIMEOUT", 0.01)

    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(4001)

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await server.ended()
    assert Consumer.made[0].codes() == [4001]


async def test_a_client_stays_connected_when_the_server_did_not_take_the_close(monkeypatch):
    monkeypatch.setattr(lifecycle, "CLOSE_TIMEOUT", 0.01)

    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            try:
                await self.close(code=999)
            except ValueError:
                await asyncio.sleep(0.05)
                await self.send("still here")

    async def refuse_close(message):
        if message["type"] == "websocket.close":
            raise ValueError("invalid close code")

    server = await Server(Consumer.as_asgi()).connect()
    server.on_send = refuse_close
    server.text("x")
    await until(server.texts)
    await server.leave(code=1001)
    assert Consumer.made[0].codes() == [1001]


async def test_disconnect_within_100_ms_while_a_handler_runs(caplog, heard):
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("in")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.log.append("cancelled")
                raise

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await until(lambda: Consumer.made[0].log)
    started = time.monotonic()
    await server.leave()
    assert time.monotonic() - started < 1  # 0.1 promised; the machine may be busy
    assert Consumer.made[0].log == ["in", "cancelled", ("disconnect", 1001)]
    assert "websocket.receive was still running 0.05 s after the client had gone" in caplog.text
    assert [a["message_type"] for n, a in heard if n == "handler_cancelled"] == [
        "websocket.receive"
    ]


async def test_a_handler_may_finish_within_its_grace():
    class Consumer(Recorder):
        disconnect_grace = 30

        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("in")
            await release.wait()
            self.log.append("done")

    release = asyncio.Event()
    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await until(lambda: Consumer.made[0].log)
    server.put("websocket.disconnect", code=1001)
    await asyncio.sleep(0)
    release.set()
    await server.ended()
    assert Consumer.made[0].log == ["in", "done", ("disconnect", 1001)]


async def test_a_handler_that_swallows_its_cancellation_is_followed_by_disconnect():
    class Consumer(Recorder):
        disconnect_grace = 0

        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("in")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.log.append("swallowed")

        async def disconnect(self, code):
            await asyncio.sleep(0)  # would raise, were the cancellation still pending
            await super().disconnect(code)

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await until(lambda: Consumer.made[0].log)
    await server.leave()
    assert Consumer.made[0].log == ["in", "swallowed", ("disconnect", 1001)]
    assert server.task.cancelling() == 0


async def test_what_the_client_sent_before_it_left_is_handled():
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await asyncio.sleep(0)
            await super().receive(text_data)

    server = await Server(Consumer.as_asgi()).connect()
    for n in range(20):
        server.text(str(n))
    await server.leave()
    assert Consumer.made[0].log == [*map(str, range(20)), ("disconnect", 1001)]


async def test_a_sync_handler_is_waited_for():
    """A thread cannot be cancelled, so ``disconnect`` waits rather than run beside it."""
    entered, release, log = threading.Event(), threading.Event(), []

    class Consumer(WebsocketConsumer):
        disconnect_grace = 0

        def receive(self, text_data=None, bytes_data=None):
            entered.set()
            release.wait(5)
            log.append("done")

        def disconnect(self, code):
            log.append(code)

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await until(entered.is_set)
    server.put("websocket.disconnect", code=1001)
    await asyncio.sleep(0.02)
    assert log == []
    release.set()
    await server.ended()
    assert log == ["done", 1001]


# Nothing stays behind


async def test_the_channel_leaves_its_groups_even_if_disconnect_raised(layer):
    class Consumer(Recorder):
        async def connect(self):
            for group in ("a", "b"):
                await self.channel_layer.group_add(group, self.channel_name)
            await self.accept()

        async def disconnect(self, code):
            raise RuntimeError("boom")

    server = await Server(Consumer.as_asgi()).connect()
    assert set(layer.groups) == {"a", "b"}
    await server.leave()
    assert layer.groups == {}
    await layer.group_send("a", {"type": "note"})
    assert layer.channels == {}


async def test_no_consumer_and_no_task_outlives_its_connection(layer):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["room"]

        async def connect(self):
            alive.append(weakref.ref(self))
            await self.accept()

    alive, before = [], asyncio.all_tasks()
    servers = [await Server(Consumer.as_asgi()).connect() for _ in range(20)]
    for number, server in enumerate(servers):
        if number % 2:
            server.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await server.task
        else:
            await server.leave()
    del servers, server
    await asyncio.sleep(0)
    gc.collect()
    assert [reference for reference in alive if reference() is not None] == []
    assert asyncio.all_tasks() == before
    assert layer.groups == {}


async def test_undelivered_messages_are_counted_when_the_client_leaves(layer):
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            for _ in range(3):
                await layer.send(self.channel_name, {"type": "note", "text": "x"})
            self.server.put("websocket.disconnect", code=1001)
            await until(lambda: not self.server.events.qsize())

    server = await Server(Consumer.as_asgi()).connect()
    Consumer.made[0].server = server
    server.text("x")
    await server.ended()
    statistics = layer.statistics
    assert statistics.dropped == {"closed": 3}
    assert statistics.sent == statistics.delivered + 3


# A crash is visible


async def test_a_crash_is_logged_once_signalled_and_closed_with_1011(caplog, heard):
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise RuntimeError("boom")

    server = await Server(Consumer.as_asgi(), path="/ws/a\nb/").connect()
    server.text("x")
    await server.ended()
    assert server.sent[-1] == {"type": "websocket.close", "code": 1011}
    [record] = caplog.records
    assert record.name == "channels.consumer"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"{Consumer.__qualname__} at /ws/a\\nb/ crashed"
    assert str(record.exc_info[1]) == "boom"
    told = [n for n, _ in heard if n.startswith("con")]
    assert told == ["connection_opened", "consumer_crashed", "connection_closed"]
    assert heard[-1][1]["code"] == 1011
    assert heard[-1][1]["duration"] >= 0


class Unsayable(ValueError):
    def __str__(self):
        raise RuntimeError("this has no text")


@pytest.mark.parametrize("error", [LookupError, Unsayable])
async def test_a_crash_that_cannot_be_logged_ends_its_connection_all_the_same(error, capsys):
    left = []

    class Consumer(AsyncJsonWebsocketConsumer):
        @classmethod
        async def decode_json(cls, text_data):
            raise error

        async def disconnect(self, code):
            left.append(code)

    def unfit(record):
        raise AttributeError("this record has no request")

    logger = logging.getLogger("channels.consumer")
    logger.addFilter(unfit)
    try:
        server = await Server(Consumer.as_asgi()).connect()
        server.text("x")
        await until(lambda: "websocket.close" in server.types())
        await server.leave()
    finally:
        logger.removeFilter(unfit)
    code = 1007 if error is Unsayable else 1011
    assert server.sent[-1]["code"] == code
    assert left == [code]
    assert "this record has no request" in capsys.readouterr().err


async def test_a_crash_of_a_consumer_that_has_put_away_its_scope_ends_its_connection(caplog):
    left = []

    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            self.scope = None
            raise LookupError

        async def disconnect(self, code):
            left.append(code)
            raise LookupError

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await server.ended()
    assert server.sent[-1]["code"] == 1011
    assert left == [1011]
    assert [record.name for record in caplog.records] == ["asyncio", "asyncio"]
    assert "LookupError" in caplog.text  # what it was about


async def test_a_crash_before_accept_refuses_with_500_where_the_server_can(caplog):
    class Consumer(Recorder):
        async def connect(self):
            raise RuntimeError("boom")

    scope = {"extensions": {"websocket.http.response": {}}}
    server = await Server(Consumer.as_asgi(), **scope).connect()
    await server.ended()
    assert server.sent[0]["type"] == "websocket.http.response.start"
    assert server.sent[0]["status"] == 500
    assert len(caplog.records) == 1

    server = await Server(Consumer.as_asgi()).connect()
    await server.ended()
    assert server.types() == ["websocket.close"]


async def test_a_server_that_refuses_the_code_is_closed_all_the_same():
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise RuntimeError("boom")

    async def like_autobahn(message):
        code = message.get("code", 1000)
        if message["type"] == "websocket.close" and code != 1000 and code < 3000:
            raise ValueError("invalid close code")

    server = await Server(Consumer.as_asgi()).connect()
    server.on_send = like_autobahn
    server.text("x")
    await server.ended()
    assert server.sent[-1] == {"type": "websocket.close"}


async def test_a_disconnect_without_a_code_has_1005():
    class Consumer(Recorder):
        pass

    server = await Server(Consumer.as_asgi()).connect()
    await server.leave(code=None)
    assert Consumer.made[0].codes() == [1005]


async def test_a_crash_is_raised_to_a_caller_that_is_no_server(caplog):
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            raise RuntimeError("boom")

    server = Server(Consumer.as_asgi())
    del server.scope["asgi"]
    await server.connect()
    server.text("x")
    with pytest.raises(RuntimeError, match="boom"):
        await server.ended()
    assert caplog.records == []
    assert Consumer.made[0].codes() == [1011]


async def test_a_crash_after_a_refusal_disconnects_with_1011_if_the_caller_is_no_server():
    class Consumer(Recorder):
        async def connect(self):
            await self.close(4001)
            raise RuntimeError("boom")

    server = Server(Consumer.as_asgi())
    del server.scope["asgi"]
    await server.connect()
    with pytest.raises(RuntimeError, match="boom"):
        await server.ended()
    assert Consumer.made[0].codes() == [1011]


async def test_a_refusal_keeps_its_code_when_reading_the_client_fails():
    class Consumer(Recorder):
        async def connect(self):
            await self.close(4001)

    server = Server(Consumer.as_asgi())
    receive = server.receive

    async def receive_once():
        if server.received:
            await until(server.types)
            raise ConnectionResetError
        return await receive()

    server.receive = receive_once
    await server.connect()
    await server.ended()
    assert Consumer.made[0].codes() == [4001]


async def test_a_cancellation_after_a_refusal_leaves_its_code_if_the_caller_is_no_server():
    class Consumer(Recorder):
        async def connect(self):
            await self.close(4001)

    server = Server(Consumer.as_asgi())
    del server.scope["asgi"]
    await server.connect()
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert Consumer.made[0].codes() == [4001]


async def test_a_failing_layer_refuses_the_connection(caplog):
    class Broken(InMemoryChannelLayer):
        async def new_channel(self, prefix="specific."):
            raise ConnectionError("broker down")

    class Consumer(Recorder):
        pass

    channel_layers.set("default", Broken())
    server = await Server(Consumer.as_asgi()).connect()
    await server.ended()
    assert server.types() == ["websocket.close"]
    assert Consumer.made[0].log == []
    assert [r.exc_info[1].args for r in caplog.records] == [("broker down",)]


# Sends after the client has gone


async def test_a_send_after_the_client_has_gone_is_dropped_and_signalled(heard):
    class Gone(OSError):
        pass

    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send("one")
            await self.send("two")
            self.log.append("unharmed")

    server = await Server(Consumer.as_asgi()).connect()

    async def gone(message):
        raise Gone

    server.on_send = gone
    server.text("x")
    await until(lambda: Consumer.made[0].log)
    await server.leave(1006)
    assert Consumer.made[0].log == ["unharmed", ("disconnect", 1006)]
    dropped = [a["message_type"] for n, a in heard if n == "send_dropped"]
    assert dropped == ["websocket.send"]


async def test_a_send_in_disconnect_is_dropped(heard):
    class Consumer(Recorder):
        async def disconnect(self, code):
            await self.send("bye")

    server = await Server(Consumer.as_asgi()).connect()
    await server.leave()
    assert server.types() == ["websocket.accept"]
    assert "send_dropped" in [n for n, _ in heard]


async def test_a_send_after_close_is_dropped():
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(4000)
            await self.send("late")
            await self.close(4001)

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await until(lambda: len(server.sent) == 2)
    await server.leave(4000)
    assert server.sent[1:] == [{"type": "websocket.close", "code": 4000}]


# HTTP


async def test_http_disconnect_cancels_a_stream():
    log = []

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers()
            try:
                while True:
                    await self.send_body(b"tick", more_body=True)
                    await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

        async def disconnect(self):
            log.append("disconnect")

    server = Server(Consumer.as_asgi(), "http", method="GET")
    server.put("http.request", body=b"")
    server.start()
    await until(lambda: len(server.sent) > 3)
    server.put("http.disconnect")
    await server.ended()
    assert log == ["cancelled", "disconnect"]


async def test_an_http_crash_answers_500(caplog):
    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            raise RuntimeError("boom")

    server = Server(Consumer.as_asgi(), "http", method="GET")
    server.put("http.request", body=b"")
    await server.start().ended()
    assert server.sent[0]["status"] == 500
    assert len(caplog.records) == 1


@pytest.mark.parametrize("converts", [False, True])
def test_a_connection_whose_event_loop_was_closed_ends_in_silence(converts, caplog, heard):
    """Nothing runs any more what it would have to await."""

    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("begun")
            try:
                await asyncio.Event().wait()
            except GeneratorExit:
                if not converts:
                    raise
                raise ValueError("what a handler makes of it") from None

    async def begin():
        server = await Server(Consumer.as_asgi()).connect()
        untold(server.task)
        server.text("x")
        await until(lambda: Consumer.made[0].log)
        return asyncio.all_tasks() - {asyncio.current_task()}

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(begin())
    loop.close()
    for task in sorted(tasks, key=lambda task: task.get_coro().__name__):
        task.get_coro().close()
    assert len(tasks) == 2
    assert Consumer.made[0].log == ["begun"]
    assert caplog.records == []
    assert [name for name, _ in heard if name.startswith("con")] == ["connection_opened"]


async def test_disconnect_runs_once_when_the_first_event_is_the_clients_last(heard):
    class Consumer(Recorder):
        pass

    server = Server(Consumer.as_asgi())
    server.put("websocket.disconnect", code=1006)
    await server.start().ended()
    assert Consumer.made[0].log == [("disconnect", 1006)]
    told = [name for name, _ in heard if name.startswith("connection")]
    assert told == ["connection_opened", "connection_closed"]
