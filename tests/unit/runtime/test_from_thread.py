"""Sending from threads. What it means for the pool is in tests/integration/test_sync_threads.py."""

import asyncio
import gc
import threading
import weakref

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import override_settings

from channels._runtime import from_thread, threads
from channels._runtime.from_thread import KEPT, SendFromThread
from channels._runtime.outlet import start_inline
from channels._runtime.pool import ASIDE_PER_THREAD
from channels.exceptions import EventLoopRunning
from channels.generic.websocket import WebsocketConsumer
from tests.asgi import Server, until
from tests.unit.runtime.endings import check_it_ends


class Client:
    """What a server sends to; it reads or does not."""

    def __init__(self):
        self.sent = []
        self.reads = asyncio.Event()
        self.reads.set()

    async def send(self, message):
        await self.reads.wait()
        if message["type"] == "bad":
            raise ValueError("refused")
        if message.get("text") == "bad":
            raise ValueError("refused late")
        self.sent.append(message.get("text", message["type"]))


def text(content):
    return {"type": "websocket.send", "text": content}


@pytest.fixture
async def client():
    return Client()


@pytest.fixture(params=[True, False], ids=["pooled", "sensitive"])
def pooled(request):
    return request.param


@pytest.fixture
async def send(client, pooled):
    return SendFromThread(client.send, asyncio.get_running_loop(), pooled=pooled)


async def in_thread(function, *arguments):
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def test_send_returns_when_the_server_has_taken_the_message_and_raises_its_errors(
    client, send
):
    await in_thread(send, text("good"))
    assert client.sent == ["good"]
    with pytest.raises(ValueError, match="refused"):
        await in_thread(send, {"type": "bad"})
    assert send.settled


@pytest.mark.parametrize("close", [False, True])
def test_a_loop_that_has_stopped_is_not_waited_for(close, monkeypatch):
    monkeypatch.setattr(from_thread, "_LOOK", 0.01)

    sent = []

    async def send(message):
        sent.append(message)

    loop = asyncio.new_event_loop()
    if close:
        loop.close()
    SendFromThread(send, loop)({"type": "x"})
    if not close:
        loop.run_until_complete(asyncio.sleep(0))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert sent == ([] if close else [{"type": "x"}])


def eager(loop, coro, **options):
    """As ``asyncio.eager_task_factory`` of Python 3.12: runs what it can before there is a task."""
    rest = start_inline(coro)
    if rest is not None:
        return asyncio.Task(rest, loop=loop, **options)
    over = loop.create_future()
    over.set_result(None)
    return over


@pytest.mark.parametrize("factory", [eager, getattr(asyncio, "eager_task_factory", eager)])
async def test_tasks_that_begin_at_once_do_not_stop_it(client, send, factory):
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    for n in "123":
        await asyncio.wait_for(in_thread(send, text(n)), 5)
        send(text(n + " on the loop"))
        async with asyncio.timeout(5):
            await send.settle()
    loop.set_task_factory(None)
    assert client.sent == [n + end for n in "123" for end in ("", " on the loop")]
    assert send.settled


async def test_a_client_that_does_not_read_holds_up_no_handler(client):
    send = SendFromThread(client.send, asyncio.get_running_loop())
    client.reads.clear()
    await in_thread(send, text("1"))
    assert not send.settled
    for n in "23":
        await in_thread(send, text(n))
    assert client.sent == []
    waiting = asyncio.create_task(send.settle())
    client.reads.set()
    await waiting
    assert client.sent == ["1", "2", "3"]
    assert send.settled


async def test_more_than_is_kept_is_waited_for(client):
    send = SendFromThread(client.send, asyncio.get_running_loop())
    client.reads.clear()
    large = "x" * KEPT
    await in_thread(send, text(large))
    second = asyncio.ensure_future(in_thread(send, text("2" * KEPT)))
    _, waiting = await asyncio.wait((second,), timeout=4 * from_thread._PATIENCE)
    assert waiting
    client.reads.set()
    await second
    await send.settle()
    assert [message[:2] for message in client.sent] == ["xx", "22"]


@pytest.mark.parametrize("kind", ["websocket.accept", "http.response.start"])
async def test_a_handler_waits_until_its_accept_was_sent(client, kind):
    """An accept may save a session; the handler is to find it saved."""
    send = SendFromThread(client.send, asyncio.get_running_loop())
    client.reads.clear()
    accepting = asyncio.ensure_future(in_thread(send, {"type": kind}))
    _, waiting = await asyncio.wait((accepting,), timeout=4 * from_thread._PATIENCE)
    assert waiting
    client.reads.set()
    await accepting


async def test_what_was_left_and_failed_is_raised_once_by_settle(client):
    send = SendFromThread(client.send, asyncio.get_running_loop())
    client.reads.clear()
    await in_thread(send, text("bad"))
    await in_thread(send, text("good"))
    client.reads.set()
    with pytest.raises(ValueError, match="refused late"):
        await send.settle()
    await send.settle()
    assert client.sent == ["good"]


async def test_settling_can_be_cancelled_and_ends_the_sending(client):
    send = SendFromThread(client.send, asyncio.get_running_loop())
    client.reads.clear()
    await in_thread(send, text("1"))
    settling = asyncio.create_task(send.settle())
    await asyncio.sleep(0)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    await until(lambda: send.settled)
    assert client.sent == []


async def test_send_on_the_event_loops_own_thread_does_not_wait(client, send):
    for n in "123":
        send(text(n))
    assert client.sent == []
    await send.settle()
    assert client.sent == ["1", "2", "3"]


async def test_what_is_sent_in_a_thread_comes_after_what_was_sent_on_the_loop(client, send):
    client.reads.clear()
    send(text("1"))
    later = asyncio.ensure_future(in_thread(send, text("2")))
    await asyncio.sleep(0.01)
    client.reads.set()
    await later
    await send.settle()
    assert client.sent == ["1", "2"]


async def test_on_the_event_loops_own_thread_more_than_is_kept_is_refused(client, send):
    client.reads.clear()
    send(text("x" * 3 * KEPT))  # of any size, if it is the only one
    with pytest.raises(EventLoopRunning, match=r"await sync_to_async\(self\.send\)"):
        send(text("y"))
    client.reads.set()
    await send.settle()
    send(text("y"))
    await send.settle()


async def test_in_the_thread_of_another_event_loop(client, send):
    async def elsewhere():
        send(text("1"))

    await in_thread(asyncio.run, elsewhere())
    assert client.sent == ["1"]


async def test_middleware_can_use_djangos_thread_for_whatever_a_handler_sends(client, pooled):
    """``sync_to_async`` on the way to the server must not wait for the thread that sends."""

    async def middleware(message):
        await sync_to_async(threading.get_ident)()
        await client.send(message)

    send = SendFromThread(middleware, asyncio.get_running_loop(), pooled=pooled)

    async def stream():
        send(text("on the loop"))
        await sync_to_async(send)(text("back in the handler's thread"))

    async with asyncio.timeout(5):
        await threads.run(async_to_sync(stream), pooled=pooled)
        await send.settle()
    assert client.sent == ["on the loop", "back in the handler's thread"]


async def test_a_thread_that_waits_for_async_code_sends(client, pooled):
    async def middleware(message):
        await sync_to_async(threading.get_ident)()
        await client.send(message)

    send = SendFromThread(middleware, asyncio.get_running_loop(), pooled=pooled)

    async def stream():
        await sync_to_async(send)(text("1"))

    async with asyncio.timeout(5):
        await threads.run(async_to_sync(stream), pooled=pooled)
        await send.settle()
    assert client.sent == ["1"]


async def test_nothing_is_kept_of_what_was_sent(client):
    class Text(str):
        __slots__ = ("__weakref__",)

    send = SendFromThread(client.send, asyncio.get_running_loop())
    message = {"type": "websocket.send", "text": Text("x")}
    gone = weakref.ref(message["text"])
    await in_thread(send, message)
    client.sent.clear()
    del message
    await in_thread(gc.collect)
    assert gone() is None


# In a consumer


@pytest.mark.parametrize("from_server", [True, False])
async def test_a_handler_sends_on_the_event_loop(from_server):
    """Directly, and in what it has run there; the next handler begins when all is sent."""

    class Consumer(WebsocketConsumer):
        def connect(self):
            async_to_sync(self.greet)()

        async def greet(self):
            self.accept()
            self.send("hello")

        def receive(self, text_data=None, bytes_data=None):
            async_to_sync(self.stream)(text_data)
            self.send("after")

        async def stream(self, text_data):
            for word in text_data.split():
                self.send(word)

    server = Server(Consumer.as_asgi())
    if not from_server:
        del server.scope["asgi"]
    await server.connect()
    server.text("a b")
    server.text("c")
    await until(lambda: len(server.texts()) == 6)
    assert server.types()[0] == "websocket.accept"
    assert server.texts() == ["hello", "a", "b", "after", "c", "after"]
    await server.leave()


async def test_the_next_handler_waits_for_the_client(monkeypatch):
    begun = []

    class Consumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            begun.append(text_data)
            self.send(text_data)

    server = await Server(Consumer.as_asgi()).connect()
    reads = asyncio.Event()

    async def take(message):
        await reads.wait()

    server.on_send = take
    server.text("1")
    server.text("2")
    await until(lambda: begun)
    await asyncio.sleep(3 * from_thread._PATIENCE)
    assert begun == ["1"]
    reads.set()
    await until(lambda: server.texts() == ["1", "2"])
    await server.leave()


async def test_a_failure_that_comes_late_is_a_crash(caplog):
    class Consumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send("x")

    server = await Server(Consumer.as_asgi()).connect()
    reads = asyncio.Event()

    async def take(message):
        if message["type"] == "websocket.send":
            await reads.wait()
            raise RuntimeError("the server is broken")

    server.on_send = take
    server.text("1")
    await asyncio.sleep(3 * from_thread._PATIENCE)
    reads.set()
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1]["code"] == 1011
    [record] = [record for record in caplog.records if record.exc_info]
    assert str(record.exc_info[1]) == "the server is broken"
    await server.leave()


async def test_a_cancellation_waits_for_no_client_that_does_not_read():
    sent, leave, left = threading.Event(), threading.Event(), []

    class Consumer(WebsocketConsumer):
        send_timeout = None

        def receive(self, text_data=None, bytes_data=None):
            self.send("x")
            sent.set()
            leave.wait(10)

        def disconnect(self, code):
            left.append(code)

    server = await Server(Consumer.as_asgi()).connect()
    never = asyncio.Event()

    async def take(message):
        if message["type"] == "websocket.send":
            await never.wait()

    server.on_send = take
    server.text("1")
    await until(sent.is_set)
    server.task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await server.ended()
    assert server.task.cancelled()
    assert left == [1012]


@pytest.mark.parametrize("message", [text("last"), {"type": "http.response.start"}])
def test_what_is_cancelled_before_it_is_sent_is_not_waited_for(message, pooled):
    """Neither in the thread, nor by the event loop, which ends."""
    sends = []

    async def take(message):
        """The server's."""

    async def handle(function):
        sends.append(SendFromThread(take, asyncio.get_running_loop(), pooled=pooled))
        try:
            await threads.run(function, pooled=pooled)
        finally:
            await sends[0].settle()

    check_it_ends(handle, lambda: sends[0](message))
    assert sends[0].settled


async def test_another_event_loops_thread_waits_in_a_test_for_what_it_has_sent(client):
    send = SendFromThread(client.send, asyncio.get_running_loop(), pooled=False)
    client.reads.clear()

    async def elsewhere():
        send(text("1"))

    sending = asyncio.ensure_future(in_thread(asyncio.run, elsewhere()))
    _, waiting = await asyncio.wait((sending,), timeout=2 * from_thread._PATIENCE)
    assert waiting
    client.reads.set()
    await sending
    assert client.sent == ["1"]
    assert send.settled


async def test_of_too_many_handlers_that_wait_for_clients_the_slowest_client_is_disconnected(
    layer, monkeypatch, heard
):
    monkeypatch.setattr(from_thread, "_LOOK", 0.01)
    threads.renew()
    with override_settings(CHANNELS_SYNC_THREADS=1):

        class Consumer(WebsocketConsumer):
            def receive(self, text_data=None, bytes_data=None):
                for _ in range(2):
                    self.send("x" * KEPT)

        reads, servers = asyncio.Event(), []

        async def take(message):
            if message["type"] == "websocket.send":
                await reads.wait()

        def waiting():
            return len(threads.pool().waiting())

        for n in range(ASIDE_PER_THREAD + 1):
            servers.append(await Server(Consumer.as_asgi()).connect())
            servers[-1].on_send = take
            servers[-1].text("x")
            if n < ASIDE_PER_THREAD:
                await until(lambda n=n: waiting() == n + 1)
        await until(lambda: any(server.task.done() for server in servers))
        [stalled] = [server for server in servers if server.task.done()]
        stalled.task.result()
        reads.set()
        for server in servers:
            if server is not stalled:
                await server.leave()
        assert waiting() == 0
    threads.renew()
    [arguments] = [arguments for name, arguments in heard if name == "client_stalled"]
    assert arguments["consumer"].scope is stalled.scope
    for server in servers:
        assert [len(sent) for sent in server.texts()] == ([] if server is stalled else [KEPT] * 2)
