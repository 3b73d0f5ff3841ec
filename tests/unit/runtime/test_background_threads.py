"""Threads beside the handlers of synchronous consumers: told to end, awaited, and never lost."""

import asyncio
import contextvars
import logging
import threading
from concurrent.futures import CancelledError

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import ImproperlyConfigured

from channels._runtime import background, background_threads
from channels.consumer import SyncConsumer
from channels.exceptions import (
    BackgroundTaskError,
    InvalidMethodError,
    StopConsumer,
    TooManyBackgroundTasks,
)
from channels.generic.sse import SseConsumer
from channels.generic.websocket import WebsocketConsumer
from channels.testing import WebsocketCommunicator
from tests.asgi import DEADLINE, Server, until
from tests.unit.runtime.database_file import database_file, query

pytestmark = pytest.mark.usefixtures("layer")

number = contextvars.ContextVar("number", default=0)


class Tied(WebsocketConsumer):
    """Starts :meth:`work` as it connects; a text names a method to call."""

    made: "list[Tied]"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.log = []
        self.go = threading.Event()
        self.made.append(self)

    def connect(self):
        number.set(5)
        self.future = self.start_background_task(self.work)
        self.accept()

    def work(self):
        self.log.append("working")
        while not self.background_stopping.wait(60):
            pass
        self.log.append("ended")

    def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)
        getattr(self, text_data)()

    def disconnect(self, code):
        self.log.append(("disconnect", code))


def consumer_with(**methods):
    return type("Consumer", (Tied,), {"made": [], **methods})


async def connected(consumer_class):
    """A server with one connection, whose background task works, and the consumer."""
    server = await Server(consumer_class.as_asgi()).connect()
    consumer = consumer_class.made[0]
    await until(lambda: consumer.log)
    return server, consumer


async def idle():
    """Wait until no thread is at work for others any more."""
    await until(lambda: not background_threads._workers().threads)


# The end


async def test_a_thread_is_told_to_end_and_awaited_before_disconnect(caplog):
    before = asyncio.all_tasks()
    server, consumer = await connected(consumer_with())
    assert not consumer.background_stopping.is_set()
    await server.leave(1001)
    assert consumer.log == ["working", "ended", ("disconnect", 1001)]
    assert consumer.future.result() is None
    assert not caplog.records
    await idle()
    assert asyncio.all_tasks() == before


async def test_it_has_a_thread_of_its_own_in_the_context_of_the_handler():
    async def in_loop():
        return threading.current_thread(), await sync_to_async(threading.current_thread)()

    def work(self):
        own = threading.current_thread()
        loop_thread, sensitive = async_to_sync(in_loop)()
        self.log.append((own.name, number.get(), loop_thread is main, sensitive is own))

    main = threading.current_thread()
    server, consumer = await connected(consumer_with(work=work))
    assert consumer.log == [("channels-background", 5, True, True)]
    await server.leave()


async def test_what_it_returns_can_be_had():
    def work(self, *args, **kwargs):
        self.log.append("working")
        return args, kwargs

    def connect(self):
        future = self.start_background_task(self.work, 1, name="x")
        self.log.append(future.result(DEADLINE))
        self.accept()

    server, consumer = await connected(consumer_with(work=work, connect=connect))
    await until(lambda: len(consumer.log) == 2)
    assert consumer.log[1] == ((1,), {"name": "x"})
    await server.leave()


async def test_it_may_send_while_handlers_run():
    def work(self):
        self.log.append("working")
        for count in range(3):
            self.send(str(count))

    server, _ = await connected(consumer_with(work=work))
    await until(lambda: len(server.texts()) == 3)
    assert server.texts() == ["0", "1", "2"]
    await server.leave()


async def test_what_it_sends_after_the_end_is_dropped(heard):
    def work(self):
        self.log.append("working")
        self.background_stopping.wait(DEADLINE)
        self.send("too late")

    server, _ = await connected(consumer_with(work=work))
    await server.leave()
    assert server.texts() == []
    assert [name for name, _ in heard if name == "send_dropped"] == ["send_dropped"]


async def test_one_that_waits_for_a_client_that_does_not_read_ends_too(caplog):
    async def until_it_has_gone(message):
        if message["type"] == "websocket.send":
            stuck.append(message)
            await gone.wait()

    def work(self):
        self.log.append("working")
        self.go.wait(DEADLINE)
        while not self.background_stopping.is_set():
            self.send("x" * 2**20)  # the second one waits
        self.log.append("ended")

    stuck, gone = [], asyncio.Event()
    server, consumer = await connected(consumer_with(work=work))
    server.on_send = until_it_has_gone
    consumer.go.set()
    await until(lambda: stuck)
    gone.set()
    await server.leave()
    assert consumer.log == ["working", "ended", ("disconnect", 1001)]
    assert not caplog.records


def test_its_database_connection_is_closed_with_it(tmp_path, django_db_blocker):
    found = []

    def work(self):
        self.log.append("working")
        connection = query()
        found.append((threading.current_thread(), connection))
        self.background_stopping.wait(60)

    async def check():
        server, _ = await connected(consumer_with(work=work))
        await until(lambda: found)
        [(thread, connection)] = found
        assert connection.connection is not None
        await server.leave()
        await until(lambda: not thread.is_alive())
        assert connection.connection is None

    path = tmp_path / "db.sqlite3"
    with django_db_blocker.unblock(), database_file(path, CONN_MAX_AGE=None):
        asyncio.run(check())


async def test_one_that_does_not_end_is_reported_and_left(caplog):
    def work(self):
        self.log.append("working")
        self.go.wait(DEADLINE)
        self.log.append("at last")

    server, consumer = await connected(consumer_with(work=work, background_grace=0.02))
    await server.leave()
    assert consumer.log == ["working", ("disconnect", 1001)]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert text.startswith("Consumer at /ws/: the background task work was still running ")
    consumer.go.set()
    await until(lambda: consumer.log[-1] == "at last")
    await until(lambda: not background._left)
    await idle()


async def test_the_end_of_the_event_loop_tells_it_too():
    server, consumer = await connected(consumer_with())
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == "work"]
    task.cancel()
    await asyncio.wait((task,))
    assert consumer.log == ["working", "ended"]
    with pytest.raises(CancelledError):
        consumer.future.result(0)
    await server.leave()


async def test_one_that_has_not_begun_when_the_event_loop_ends_never_does(monkeypatch):
    start, held = threading.Thread.start, []

    def hold(thread):
        if thread.name == "channels-background":
            held.append(thread)
        else:
            start(thread)

    monkeypatch.setattr(threading.Thread, "start", hold)
    await idle()
    consumer_class = consumer_with()
    server = await Server(consumer_class.as_asgi()).connect()
    await until(lambda: held)
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == "work"]
    task.cancel()
    await asyncio.wait((task,))
    start(held[0])
    await idle()
    await server.leave()
    assert consumer_class.made[0].log == [("disconnect", 1001)]


async def test_one_of_a_stream_of_events_ends_with_it():
    log = []

    class Consumer(SseConsumer):
        def connect(self):
            self.accept()
            self.start_background_task(self.work)

        def work(self):
            self.send_event("begun")
            self.background_stopping.wait(60)
            log.append("ended")

        def disconnect(self):
            log.append("disconnect")

    server = Server(Consumer.as_asgi(), "http", method="GET")
    server.put("http.request", body=b"", more_body=False)
    server.start()
    await until(lambda: server.sent and b"begun" in server.sent[-1].get("body", b""))
    server.put("http.disconnect")
    await server.ended()
    assert log == ["ended", "disconnect"]


async def test_one_of_a_worker_ends_with_the_instance():
    log, events = [], asyncio.Queue()

    class Consumer(SyncConsumer):
        def begin(self, event):
            self.start_background_task(self.work)

        def work(self):
            log.append("working")
            self.background_stopping.wait(60)
            log.append("ended")

    async def receive():
        event = await events.get()
        if event is None:
            raise StopConsumer
        return event

    running = asyncio.create_task(Consumer()({"type": "channel", "channel": "c"}, receive, None))
    events.put_nowait({"type": "begin"})
    await until(lambda: log)
    events.put_nowait(None)
    await asyncio.wait_for(running, DEADLINE)
    assert log == ["working", "ended"]


# A crash


def raising(error):
    def work(self):
        self.log.append("working")
        raise error

    return work


@pytest.mark.parametrize(
    "error", [LookupError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
)
async def test_a_crash_ends_the_connection(error, caplog, heard):
    server, consumer = await connected(consumer_with(work=raising(error)))
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1] == {"type": "websocket.close", "code": 1011}
    await server.leave(1011)
    assert consumer.log == ["working", ("disconnect", 1011)]
    [record] = caplog.records
    assert record.getMessage() == "Consumer at /ws/ crashed"
    [crash] = [call[1]["exception"] for call in heard if call[0] == "consumer_crashed"]
    assert error in (crash, crash.__cause__)
    with pytest.raises(Exception):  # noqa: B017, PT011 - what it is, the log has told
        consumer.future.result(0)


async def test_stopconsumer_ends_the_connection_in_peace(caplog):
    server, _ = await connected(consumer_with(work=raising(StopConsumer())))
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1] == {"type": "websocket.close", "code": 1000}
    await server.ended()
    assert not caplog.records


async def test_a_test_gets_what_a_thread_raises():
    def work(self):
        raise LookupError("for the test")

    socket = WebsocketCommunicator(consumer_with(work=work).as_asgi(), "/ws/")
    with pytest.raises(LookupError, match="for the test"):
        await socket.connect()
        await socket.receive_output()


# To start one


async def test_they_are_bounded_by_connection():
    def more(self):
        with pytest.raises(TooManyBackgroundTasks, match="its max_background_tasks is 1"):
            self.start_background_task(self.work)
        self.log.append("refused")

    server, consumer = await connected(consumer_with(more=more, max_background_tasks=1))
    server.text("more")
    await until(lambda: "refused" in consumer.log)
    await server.leave()
    assert consumer.log.count("working") == 1


async def test_they_are_bounded_by_process(settings):
    settings.CHANNELS_BACKGROUND_THREADS = 1
    await idle()

    def more(self):
        with pytest.raises(TooManyBackgroundTasks, match="this process runs 1 in threads already"):
            self.start_background_task(self.work)
        self.log.append("refused")

    server, consumer = await connected(consumer_with(more=more))
    server.text("more")
    await until(lambda: "refused" in consumer.log)
    await server.leave()


async def test_they_take_no_thread_of_the_pool(settings):
    """Loops of as many connections as handlers may run at a time do not stop the handlers."""
    settings.CHANNELS_SYNC_THREADS = 1
    background_threads.threads.renew()
    try:
        server, consumer = await connected(consumer_with(note=lambda self: None))
        server.text("note")
        await until(lambda: "note" in consumer.log)
        await server.leave()
    finally:
        del settings.CHANNELS_SYNC_THREADS
        background_threads.threads.renew()


async def test_none_is_started_when_the_connection_has_ended():
    def disconnect(self, code):
        with pytest.raises(BackgroundTaskError, match="the connection has ended"):
            self.start_background_task(self.work)
        self.log.append((code, self.background_stopping.is_set()))

    for connect in (Tied.connect, WebsocketConsumer.connect):
        consumer_class = consumer_with(disconnect=disconnect, connect=connect)
        server = await Server(consumer_class.as_asgi()).connect()
        await server.leave()
        assert consumer_class.made[0].log[-1] == (1001, True)


async def test_one_that_comes_at_the_moment_of_the_end_is_not_begun():
    threads = made_threads(asyncio.get_running_loop())
    future = threads.start(int, (), {})
    await threads.end()
    await until(future.done)
    with pytest.raises(BackgroundTaskError):
        future.result(0)


def made_threads(loop):
    consumer = SyncConsumer()
    consumer.scope = {"type": "websocket"}
    intake = type("Intake", (), {"loop": loop})
    return background_threads.BackgroundThreads(consumer, consumer.scope, None, intake, over=False)


async def test_what_is_no_plain_function_is_refused():
    async def coroutine():
        pass

    def wrong(self):
        for target, advice in [(coroutine, "plain ones"), (None, "without calling it")]:
            with pytest.raises(InvalidMethodError, match=advice):
                self.start_background_task(target)
        with pytest.raises(InvalidMethodError, match="plain ones"):
            self.start_background_task(lambda arg: coroutine(), 1).result(DEADLINE)

    server, _ = await connected(consumer_with(wrong=wrong))
    server.text("wrong")
    await until(lambda: "websocket.close" in server.types())
    await server.leave(1011)


async def test_none_is_started_on_a_loop_that_has_been_closed():
    loop = asyncio.new_event_loop()
    threads = made_threads(loop)
    loop.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            threads.start(int, (), {})
    assert threads._count == 0


async def test_an_attribute_of_the_same_name_is_the_projects():
    def connect(self):
        self.background_stopping = "mine"
        self.max_background_tasks = None
        self.log.append(self.background_stopping)
        self.accept()

    server, consumer = await connected(consumer_with(connect=connect))
    await server.leave()
    assert consumer.log == ["mine", ("disconnect", 1001)]


@pytest.mark.parametrize("setting", [-1, True, "4", None])
def test_the_setting_is_a_number(settings, setting):
    settings.CHANNELS_BACKGROUND_THREADS = setting
    with pytest.raises(ImproperlyConfigured, match="must be a whole number from 0, not"):
        background_threads.thread_limit()


def test_a_child_has_threads_of_its_own():
    before = background_threads._workers()
    background_threads._renew()
    assert background_threads._workers() is not before
