"""Tasks beside the handlers of asynchronous consumers: they end with the connection, or end it."""

import asyncio
import gc
import logging
import sys
from functools import partial

import pytest

from channels._runtime import background
from channels.consumer import AsyncConsumer
from channels.exceptions import (
    BackgroundTaskError,
    ChannelsError,
    InvalidMethodError,
    StopConsumer,
    TooManyBackgroundTasks,
)
from channels.generic.http import AsyncHttpConsumer
from channels.generic.sse import AsyncSseConsumer
from channels.testing import WebsocketCommunicator
from tests.asgi import DEADLINE, Server, until
from tests.unit.runtime.recorder import Recorder

pytestmark = pytest.mark.usefixtures("layer")


class Tied(Recorder):
    """Starts :meth:`work` as it connects; a text names a method to call."""

    grace = 5.0

    async def connect(self):
        self.task = self.start_background_task(self.work)
        await self.accept()

    async def work(self):
        self.log.append("working")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # its end takes some time
            self.log.append("ended")

    async def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)
        await getattr(self, text_data)()

    async def crash(self):
        raise LookupError("of the handler")

    async def stop(self):
        raise StopConsumer


async def connected(consumer_class, **options):
    """A server with one connection, whose background task works, and the consumer."""
    server = await Server(consumer_class.as_asgi(), **options).connect()
    consumer = consumer_class.made[0]
    await until(lambda: consumer.log)
    return server, consumer


def made(consumer_class=Tied, /, **methods):
    return type("Consumer", (consumer_class,), methods)


# The end


async def test_a_task_is_cancelled_and_awaited_before_disconnect():
    before = asyncio.all_tasks()
    server, consumer = await connected(made())
    assert not consumer.task.done()
    await server.leave(1001)
    assert consumer.log == ["working", "ended", ("disconnect", 1001)]
    assert consumer.task.cancelled()
    assert asyncio.all_tasks() == before


async def test_it_goes_on_until_the_running_handler_has_ended():
    async def leave(self):
        server.put("websocket.disconnect", code=1001)
        await until(lambda: server.received == 3)
        self.log.append(self.task.done())

    server, consumer = await connected(made(leave=leave))
    server.text("leave")
    await server.ended()
    assert consumer.log == ["working", "leave", False, "ended", ("disconnect", 1001)]


@pytest.mark.parametrize(("text", "code"), [("crash", 1011), ("stop", 1000), ("close", 1000)])
async def test_it_ends_when_a_handler_ends_the_connection(text, code):
    server, consumer = await connected(made())
    server.text(text)
    await until(lambda: "websocket.close" in server.types())
    server.put("websocket.disconnect", code=code)
    await server.ended()
    assert consumer.log == ["working", text, "ended", ("disconnect", code)]


async def test_it_ends_when_the_server_does():
    server, consumer = await connected(made())
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert consumer.log == ["working", "ended", ("disconnect", 1012)]
    assert server.sent[-1] == {"type": "websocket.close", "code": 1012}


async def test_it_ends_when_the_handshake_is_refused():
    async def connect(self):
        await super(consumer_class, self).connect()

    async def accept(self, *args, **kwargs):
        await self.close()

    consumer_class = made(connect=connect, accept=accept)
    server, consumer = await connected(consumer_class)
    await server.leave(1006)
    assert consumer.log == ["working", "ended", ("disconnect", 1006)]


async def test_it_ends_when_a_response_is_complete():
    log = []

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            self.start_background_task(self.work)
            await asyncio.sleep(0)
            await self.send_response(200, b"done")

        async def work(self):
            try:
                await asyncio.Event().wait()
            finally:
                log.append("ended")

        async def disconnect(self):
            log.append("disconnect")

    server = Server(Consumer.as_asgi(), "http", method="POST")
    server.put("http.request", body=b"", more_body=False)
    server.start()
    await server.ended()
    assert log == ["ended", "disconnect"]
    assert server.sent[-1]["body"] == b"done"


async def test_a_stream_of_events_is_fed_by_one():
    log = []

    class Consumer(AsyncSseConsumer):
        async def connect(self):
            await self.accept()
            self.start_background_task(self.work, 3, event="tick")

        async def work(self, count, *, event):
            for number in range(count):
                await self.send_event(str(number), event=event)
            await asyncio.Event().wait()

        async def disconnect(self):
            log.append("disconnect")

    server = Server(Consumer.as_asgi(), "http", method="GET")
    server.put("http.request", body=b"", more_body=False)
    server.start()
    body = await until(lambda: b"".join(m.get("body", b"") for m in server.sent) * len(server.sent))
    await until(lambda: b"data: 2" in server.sent[-1].get("body", b""))
    server.put("http.disconnect")
    await server.ended()
    assert body
    assert log == ["disconnect"]


async def test_one_of_a_worker_ends_with_the_instance():
    log, events = [], asyncio.Queue()

    class Consumer(AsyncConsumer):
        async def begin(self, event):
            self.start_background_task(self.work)

        async def work(self):
            log.append("working")
            try:
                await asyncio.Event().wait()
            finally:
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


async def test_a_task_that_has_ended_leaves_nothing(caplog):
    async def work(self):
        self.log.append("working")
        return 7

    server, consumer = await connected(made(work=work))
    assert await consumer.task == 7
    await server.leave()
    assert consumer.log == ["working", ("disconnect", 1001)]
    assert not caplog.records


async def test_one_that_is_cancelled_by_the_project_is_no_crash(caplog):
    async def connect(self):
        self.early = self.start_background_task(self.work)
        self.early.cancel()  # before it has begun
        self.task = self.start_background_task(self.work)
        await self.accept()

    async def cancel(self):
        self.task.cancel()

    server, consumer = await connected(made(connect=connect, cancel=cancel))
    server.text("cancel")
    await until(lambda: "ended" in consumer.log)
    await server.leave()
    assert consumer.log == ["working", "cancel", "ended", ("disconnect", 1001)]
    assert not caplog.records


async def stubborn(self):
    self.log.append("working")
    while not self.released.is_set():
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.log.append("no")


async def test_one_that_ignores_its_cancellation_is_reported_and_left(caplog):
    def init(self, *args, **kwargs):
        super(consumer_class, self).__init__()
        self.released = asyncio.Event()

    consumer_class = made(work=stubborn, __init__=init, background_grace=0.02)
    server, consumer = await connected(consumer_class)
    await server.leave()
    assert consumer.log == ["working", "no", ("disconnect", 1001)]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    assert text.startswith("Consumer at /ws/: the background task stubborn was still running ")
    consumer.released.set()
    await asyncio.wait_for(consumer.task, DEADLINE)
    await until(lambda: not background._left)


async def test_what_one_raises_as_it_ends_is_reported(caplog, heard):
    async def work(self):
        self.log.append("working")
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("too late")

    server, consumer = await connected(made(work=work))
    await server.leave()
    assert consumer.log[-1] == ("disconnect", 1001)
    [record] = caplog.records
    assert record.getMessage() == "Consumer at /ws/ failed while it was disconnecting"
    assert "too late" in str(record.exc_info[1])
    [(_, crash)] = [call for call in heard if call[0] == "consumer_crashed"]
    assert crash["exception"] is record.exc_info[1]


async def test_a_server_that_ends_twice_does_not_interrupt_the_end():
    """What waits for the tasks is cancelled, and waits on; the tasks are not cancelled again."""

    async def work(self):
        self.log.append("working")
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append("ending")
            await self.released.wait()
            self.log.append("ended")

    def init(self, *args, **kwargs):
        super(consumer_class, self).__init__()
        self.released = asyncio.Event()

    consumer_class = made(work=work, __init__=init)
    server, consumer = await connected(consumer_class)
    server.put("websocket.disconnect", code=1001)
    await until(lambda: "ending" in consumer.log)
    server.task.cancel()
    await asyncio.sleep(0)
    consumer.released.set()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert consumer.log[:3] == ["working", "ending", "ended"]
    assert len(consumer.codes()) == 1


# A crash


def raising(error):
    async def work(self):
        self.log.append("working")
        await asyncio.sleep(0)
        raise error

    return work


ERRORS = [LookupError("x"), SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_a_crash_ends_the_connection_as_that_of_a_handler(error, caplog, heard, monkeypatch):
    monkeypatch.setattr("channels._runtime.exits.is_interrupt", lambda error: False)
    server, consumer = await connected(made(work=raising(error)))
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1] == {"type": "websocket.close", "code": 1011}
    await server.leave(1011)
    assert consumer.log == ["working", ("disconnect", 1011)]
    [record] = caplog.records
    assert record.getMessage() == "Consumer at /ws/ crashed"
    assert record.exc_info[1] is error
    assert [call[1]["exception"] for call in heard if call[0] == "consumer_crashed"] == [error]


async def test_nothing_more_is_handled_after_a_crash():
    async def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)
        if text_data == "first":
            self.go.set()
            await until(self.task.done)

    async def work(self):
        self.go = asyncio.Event()
        self.log.append("working")
        await self.go.wait()
        raise LookupError

    server, consumer = await connected(made(work=work, receive=receive, disconnect_grace=5.0))
    server.text("first")
    server.text("second")
    await until(lambda: "websocket.close" in server.types())
    await server.leave(1011)
    assert consumer.log == ["working", "first", ("disconnect", 1011)]


async def test_a_handler_that_runs_has_its_grace(caplog):
    async def wait(self):
        self.go.set()
        await asyncio.Event().wait()

    async def work(self):
        self.go = asyncio.Event()
        self.log.append("working")
        await self.go.wait()
        raise LookupError

    server, _ = await connected(made(work=work, wait=wait, disconnect_grace=0.02))
    server.text("wait")
    await until(lambda: "websocket.close" in server.types())
    await server.leave(1011)
    late, crash = [record.getMessage() for record in caplog.records]
    assert "the handler of websocket.receive was still running 0.02 s after a background" in late
    assert crash == "Consumer at /ws/ crashed"


async def test_a_crash_before_the_handshake_is_answered_refuses_it():
    async def connect(self):
        self.start_background_task(self.work)
        await asyncio.Event().wait()

    consumer_class = made(work=raising(LookupError()), connect=connect, disconnect_grace=0.0)
    server, consumer = await connected(consumer_class)
    await until(lambda: server.sent)
    assert "websocket.accept" not in server.types()
    await server.leave(1006)
    assert len(consumer.codes()) == 1


async def test_the_client_is_not_to_blame():
    """What a decoder raises means nothing here: the task may have read anything."""

    async def work(self):
        self.log.append("working")
        await asyncio.sleep(0)
        error = ValueError()
        error._channels_close_code = 1007
        raise error

    server, _ = await connected(made(work=work))
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1]["code"] == 1011
    await server.leave(1011)


async def test_an_error_that_a_handler_has_awaited_is_told_once(caplog):
    async def wait(self):
        self.go.set()
        await self.task

    async def work(self):
        self.go = asyncio.Event()
        self.log.append("working")
        await self.go.wait()
        raise LookupError

    server, _ = await connected(made(work=work, wait=wait))
    server.text("wait")
    await until(lambda: "websocket.close" in server.types())
    await server.leave(1011)
    assert [record.getMessage() for record in caplog.records] == ["Consumer at /ws/ crashed"]


async def test_each_of_two_errors_is_told(caplog):
    async def connect(self):
        self.start_background_task(self.work, "a")
        self.start_background_task(self.work, "b")
        await self.accept()

    async def work(self, name):
        self.log.append(name)
        await asyncio.sleep(0)
        raise LookupError(name)

    server, _ = await connected(made(work=work, connect=connect))
    await until(lambda: "websocket.close" in server.types())
    await server.leave(1011)
    assert sorted(str(record.exc_info[1]) for record in caplog.records) == ["a", "b"]


async def test_a_crash_at_the_moment_when_the_client_leaves_is_told(caplog):
    async def leave(self):
        self.go.set()
        await until(self.task.done)
        server.put("websocket.disconnect", code=1001)
        await until(lambda: server.received == 3)

    async def work(self):
        self.go = asyncio.Event()
        self.log.append("working")
        await self.go.wait()
        raise LookupError

    server, consumer = await connected(made(work=work, leave=leave, disconnect_grace=5.0))
    server.text("leave")
    await server.ended()
    assert consumer.codes() == [1001]
    [record] = caplog.records
    assert record.getMessage() == "Consumer at /ws/ failed while it was disconnecting"


async def test_stopconsumer_ends_the_connection_in_peace(caplog):
    server, consumer = await connected(made(work=raising(StopConsumer())))
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1] == {"type": "websocket.close", "code": 1000}
    await server.ended()
    assert consumer.log == ["working", ("disconnect", 1000)]
    assert not caplog.records


async def test_stopconsumer_at_the_end_means_nothing(caplog):
    async def work(self):
        self.log.append("working")
        try:
            await asyncio.Event().wait()
        finally:
            raise StopConsumer

    server, consumer = await connected(made(work=work))
    await server.leave()
    assert consumer.codes() == [1001]
    assert not caplog.records


async def test_a_test_gets_what_a_task_raises():
    async def work(self):
        await asyncio.sleep(0)
        raise LookupError("for the test")

    socket = WebsocketCommunicator(made(work=work).as_asgi(), "/ws/")
    with pytest.raises(LookupError, match="for the test"):
        await socket.connect()
        await socket.receive_output()


# To start one


async def test_a_task_has_begun_before_the_next_handler_runs():
    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "first":
            self.start_background_task(self.note, {"text": "task"})
        self.log.append(text_data)

    consumer_class = made(Recorder, receive=receive)
    server = await Server(consumer_class.as_asgi()).connect()
    server.text("first")
    server.text("second")
    await until(lambda: len(consumer_class.made[0].log) == 3)
    assert consumer_class.made[0].log == ["first", "task", "second"]
    await server.leave()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("crash", [False, True])
async def test_tasks_may_be_eager(crash):
    """They begin, and may end, before they are known."""

    async def work(self):
        self.log.append("working")
        if crash:
            raise LookupError

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    server, consumer = await connected(made(work=work))
    if crash:
        await until(lambda: server.sent)
    await server.leave(1001)
    assert consumer.log[0] == "working"
    assert len(consumer.codes()) == 1
    assert not consumer._channels_connection.background(background.BackgroundTasks)._tasks


async def test_a_task_may_start_another():
    async def work(self):
        self.start_background_task(super(consumer_class, self).work)

    consumer_class = made(work=work)
    server, consumer = await connected(consumer_class)
    await server.leave()
    assert consumer.log == ["working", "ended", ("disconnect", 1001)]


async def test_they_are_bounded():
    async def more(self):
        with pytest.raises(TooManyBackgroundTasks) as refused:
            self.start_background_task(self.work)
        self.log.append(str(refused.value))
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task
        self.start_background_task(self.work)  # there is room again

    server, consumer = await connected(made(more=more, max_background_tasks=1))
    server.text("more")
    await until(lambda: consumer.log.count("working") == 2)
    await server.leave()
    text = "Consumer at /ws/ runs 1 background tasks already, and its max_background_tasks is 1"
    assert text in consumer.log
    assert consumer.log.count("ended") == 2


async def test_none_is_started_when_the_connection_has_ended():
    async def disconnect(self, code):
        with pytest.raises(BackgroundTaskError, match="the connection has ended, and nothing"):
            self.start_background_task(asyncio.sleep, 1)
        self.log.append(code)

    for consumer_class in (made(disconnect=disconnect), made(Recorder, disconnect=disconnect)):
        server = await Server(consumer_class.as_asgi()).connect()
        await server.leave()
        consumer = consumer_class.made[0]
        assert consumer.log[-1] == 1001
        with pytest.raises(BackgroundTaskError, match="has ended"):
            consumer.start_background_task(asyncio.sleep, 1)


async def test_none_is_started_without_a_connection():
    with pytest.raises(BackgroundTaskError, match="AsyncConsumer has no connection"):
        AsyncConsumer().start_background_task(asyncio.sleep, 1)
    assert issubclass(TooManyBackgroundTasks, BackgroundTaskError)
    assert issubclass(BackgroundTaskError, ChannelsError)


async def test_none_is_started_in_another_thread():
    async def receive(self, text_data=None, bytes_data=None):
        with pytest.raises(BackgroundTaskError, match="in another thread"):
            await asyncio.to_thread(self.start_background_task, self.work)
        self.log.append("refused")

    server, consumer = await connected(made(receive=receive))
    server.text("x")
    await until(lambda: "refused" in consumer.log)
    await server.leave()


async def test_what_is_no_coroutine_function_is_refused():
    async def wrong(self):
        for target, advice in [
            (self.work(), "without calling it"),
            (self.codes, "write `async def`"),
            (None, "without calling it"),
        ]:
            with pytest.raises(InvalidMethodError, match=advice):
                self.start_background_task(target)
        with pytest.raises(TypeError, match="unexpected keyword"):
            self.start_background_task(self.work, number=1)
        self.log.append("refused")

    server, consumer = await connected(made(wrong=wrong))
    server.text("wrong")
    await until(lambda: "refused" in consumer.log)
    await server.leave()


async def test_what_can_be_awaited_will_do():
    async def connect(self):
        await self.accept()
        self.task = self.start_background_task(asyncio.gather, asyncio.sleep(0, "a"))
        self.log.append(await self.task)
        self.start_background_task(asyncio.gather, asyncio.Event().wait())

    server, consumer = await connected(made(connect=connect))
    await server.leave()
    assert consumer.log[0] == ["a"]


def test_names_for_the_log():
    class Work:
        async def __call__(self):
            pass

    assert background.name_of(partial(asyncio.sleep, 1)) == "sleep"
    assert background.name_of(Work()) == "Work"


async def test_messages_cannot_start_one(caplog):
    made_class = made(Recorder)
    server = await Server(made_class.as_asgi()).connect()
    consumer = made_class.made[0]
    await consumer.channel_layer.send(consumer.channel_name, {"type": "start_background_task"})
    await until(lambda: caplog.records)
    assert "names a method of the framework" in caplog.text
    await server.leave()


async def test_a_handler_of_the_same_name_is_the_projects():
    class Own(Recorder):
        async def start_background_task(self, event):
            self.log.append("own")

    server = await Server(Own.as_asgi()).connect()
    consumer = Own.made[0]
    await consumer.channel_layer.send(consumer.channel_name, {"type": "start_background_task"})
    await until(lambda: consumer.log)
    await server.leave()
    assert consumer.log == ["own", ("disconnect", 1001)]


# Tasks that handlers make themselves


async def test_tasks_as_tutorials_make_them_go_on_beside_the_handlers():
    async def connect(self):
        await self.accept()
        self.task = asyncio.create_task(self.tick("a"))
        self.other = asyncio.get_running_loop().create_task(self.tick("b"))

    async def tick(self, name):
        while True:
            await self.send(name)
            await asyncio.sleep(0.001)

    async def disconnect(self, code):
        self.task.cancel()
        self.other.cancel()
        self.log.append(code)

    consumer_class = made(Recorder, connect=connect, tick=tick, disconnect=disconnect)
    server = await Server(consumer_class.as_asgi()).connect()
    server.text("handled meanwhile")
    await until(lambda: server.texts().count("a") > 2 and server.texts().count("b") > 2)
    await server.leave()
    assert consumer_class.made[0].log == ["handled meanwhile", 1001]


async def test_a_group_of_tasks_in_a_handler():
    async def receive(self, text_data=None, bytes_data=None):
        async with asyncio.TaskGroup() as tasks:
            for name in "ab":
                tasks.create_task(self.send(name))
            if text_data == "crash":
                tasks.create_task(fail())

    async def fail():
        raise LookupError

    server = await Server(made(Recorder, receive=receive).as_asgi()).connect()
    server.text("x")
    await until(lambda: server.texts() == ["a", "b"])
    server.text("crash")
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1]["code"] == 1011
    await server.leave(1011)


async def test_what_a_task_without_a_connection_raises_is_told_by_asyncio(caplog):
    async def receive(self, text_data=None, bytes_data=None):
        self.task = asyncio.create_task(self.fail())

    async def fail(self):
        raise LookupError("not lost")

    consumer_class = made(Recorder, receive=receive, fail=fail)
    server = await Server(consumer_class.as_asgi()).connect()
    server.text("x")
    await server.leave()
    consumer_class.made.clear()
    await until(lambda: gc.collect() and caplog.records)
    assert "Task exception was never retrieved" in caplog.text
    assert "not lost" in caplog.text
