import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from channels import signals
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import (
    BrokerError,
    InvalidChannelLayerError,
    InvalidWorkerOption,
    ListenerFailed,
    NoClient,
    StopConsumer,
)
from channels.layers import InMemoryChannelLayer
from channels.routing import ChannelNameRouter
from channels.worker import Worker

from ...asgi import until
from .working import DEADLINE, Scripted, hearing, working


class Recorder:
    """An ASGI application that notes what reaches it, and can be told to fail."""

    def __init__(self):
        self.seen = asyncio.Queue()
        self.starts = 0

    async def __call__(self, scope, receive, send):
        self.starts += 1
        while True:
            message = await receive()
            await self.seen.put((scope["channel"], message.get("n")))
            if message["type"] == "fail":
                raise ValueError("asked to fail")
            if message["type"] == "stop":
                raise StopConsumer
            if message["type"] == "return":
                return
            if message["type"] == "reply":
                await send({"type": "answer"})

    async def next(self):
        return await asyncio.wait_for(self.seen.get(), DEADLINE)


@pytest.fixture
def layer():
    return InMemoryChannelLayer()


def errors(caplog):
    return [record for record in caplog.records if record.name == "channels.worker"]


def test_a_worker_needs_a_layer():
    with pytest.raises(InvalidChannelLayerError, match="CHANNEL_LAYERS"):
        Worker(Recorder(), ["a"], None)


async def test_one_instance_serves_a_channel_in_order(layer):
    application = Recorder()
    async with working(Worker(application, ["a"], layer)):
        for n in range(20):
            await layer.send("a", {"type": "x", "n": n})
        assert [await application.next() for _ in range(20)] == [("a", n) for n in range(20)]
    assert application.starts == 1


async def test_each_channel_has_its_own_scope_and_instance(layer):
    scopes = []

    async def application(scope, receive, send):
        scopes.append(dict(scope))
        await receive()
        met.release()
        await asyncio.Event().wait()

    met = asyncio.Semaphore(0)
    worker = Worker(application, ["a", "b"], layer)
    worker.drain_timeout = 0.01
    async with working(worker):
        await layer.send("a", {"type": "x"})
        await layer.send("b", {"type": "x"})
        for _ in range(2):
            await asyncio.wait_for(met.acquire(), DEADLINE)
    assert sorted(scope["channel"] for scope in scopes) == ["a", "b"]
    assert all(scope.keys() == {"type", "channel"} for scope in scopes)
    assert all(scope["type"] == "channel" for scope in scopes)


@pytest.mark.parametrize("ending", ["fail", "stop", "return"])
async def test_a_fresh_instance_serves_what_follows_the_end_of_one(layer, caplog, ending):
    application = Recorder()
    for n, kind in enumerate([ending, "x", ending, "x"]):
        await layer.send("a", {"type": kind, "n": n})
    async with working(Worker(application, ["a"], layer)):
        assert [await application.next() for _ in range(4)] == [("a", n) for n in range(4)]
    assert application.starts == 3
    failures = [record for record in errors(caplog) if record.exc_info]
    assert len(failures) == (2 if ending == "fail" else 0)
    assert all("channel a" in record.getMessage() for record in failures)


async def test_messages_already_received_outlive_the_instance(layer):
    """Several messages in the input of an instance that ends: none is lost, none comes twice."""
    application = Recorder()
    worker = Worker(application, [], layer)
    queue = worker.get_or_create_application_instance("a", {"type": "channel", "channel": "a"})
    for n in range(6):
        queue.put_nowait({"type": "fail", "n": n})
    async with working(worker):
        assert [await application.next() for _ in range(6)] == [("a", n) for n in range(6)]
    assert application.seen.empty()


async def test_a_message_leaves_the_layer_when_a_handler_is_free_for_it(layer):
    release = asyncio.Semaphore(0)
    began = asyncio.Queue()

    async def application(scope, receive, send):
        while True:
            began.put_nowait((await receive())["n"])
            await release.acquire()

    async with working(Worker(application, ["a"], layer)):
        for n in range(10):
            await layer.send("a", {"type": "x", "n": n})
        for n in range(3):
            assert await asyncio.wait_for(began.get(), DEADLINE) == n
            for _ in range(20):  # every task that can run has run
                await asyncio.sleep(0)
            assert layer.channels["a"].qsize() == 9 - n
            release.release()
        assert await asyncio.wait_for(began.get(), DEADLINE) == 3
        async with asyncio.timeout(DEADLINE):
            assert [(await layer.receive("a"))["n"] for _ in range(6)] == [4, 5, 6, 7, 8, 9]
        release.release()


async def test_a_message_that_no_instance_has_begun_with_goes_back(layer, caplog):
    """The application starts for longer than the worker may drain."""
    started = asyncio.Event()

    async def application(scope, receive, send):
        started.set()
        await asyncio.Event().wait()

    worker = Worker(application, ["a"], layer)
    worker.drain_timeout = 0.02
    async with working(worker):
        await layer.send("a", {"type": "x", "n": 1})
        await asyncio.wait_for(started.wait(), DEADLINE)
    assert await asyncio.wait_for(layer.receive("a"), DEADLINE) == {"type": "x", "n": 1}


async def test_a_message_that_cannot_go_back_is_counted(caplog):
    dropped = []

    def receiver(channel, reason, count, **kwargs):
        dropped.append((channel, reason, count))

    class Broken(Scripted):
        async def send(self, channel, message):
            raise OSError("gone")

    started = asyncio.Event()

    async def application(scope, receive, send):
        started.set()
        await asyncio.Event().wait()

    worker = Worker(application, ["a"], Broken({"type": "x"}))
    worker.drain_timeout = 0.02
    signals.message_dropped.connect(receiver)
    try:
        async with working(worker):
            await asyncio.wait_for(started.wait(), DEADLINE)
    finally:
        signals.message_dropped.disconnect(receiver)
    assert dropped == [("a", "it cannot go back: OSError: gone", 1)]


async def test_a_layer_is_told_that_nothing_more_is_wanted(layer):
    stopped = []

    class Telling(InMemoryChannelLayer):
        async def stop_receiving(self, channel):
            stopped.append(channel)
            raise OSError("gone")

    async with working(Worker(Recorder(), ["a", "b"], Telling())):
        await asyncio.sleep(0)
    assert set(stopped) == {"a", "b"}


class Leaving(BaseException):
    pass


RAISED = [SystemExit(0), SystemExit(3), KeyboardInterrupt(), Leaving(), asyncio.CancelledError()]


@pytest.mark.parametrize("raised", RAISED, ids=repr)
@pytest.mark.parametrize("kind", ["application", "async", "sync"])
async def test_whatever_a_handler_raises_costs_one_message_and_one_log_line(
    layer, caplog, monkeypatch, kind, raised
):
    # As in a worker's process, where Ctrl-C raises nothing.
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    served = threading.Event()

    def handle(message):
        if message["n"] == 0:
            raise raised
        served.set()

    async def application(scope, receive, send):
        while True:
            handle(await receive())

    class Async(AsyncConsumer):
        async def x(self, message):
            handle(message)

    class Sync(SyncConsumer):
        def x(self, message):
            handle(message)

    applications = {"application": application, "async": Async.as_asgi(), "sync": Sync.as_asgi()}
    async with working(Worker(applications[kind], ["a"], layer)):
        for n in range(2):
            await layer.send("a", {"type": "x", "n": n})
        assert await asyncio.to_thread(served.wait, DEADLINE)
    (record,) = errors(caplog)
    assert "failed on a message of channel a" in record.getMessage()
    causes = [record.exc_info[1], record.exc_info[1].__cause__]
    assert any(type(cause) is type(raised) for cause in causes)


async def test_a_cancelled_task_of_a_handler_is_a_failure_of_the_handler(layer, caplog):
    served = asyncio.Event()

    class Cancelling(AsyncConsumer):
        async def x(self, message):
            task = asyncio.create_task(asyncio.sleep(60))
            asyncio.get_running_loop().call_soon(task.cancel)
            await task

        async def y(self, message):
            served.set()

    async with working(Worker(Cancelling.as_asgi(), ["a"], layer)):
        await layer.send("a", {"type": "x"})
        await layer.send("a", {"type": "y"})
        await asyncio.wait_for(served.wait(), DEADLINE)
    assert len(errors(caplog)) == 1


async def test_a_listener_whose_layer_raises_anything_starts_again(caplog):
    application = Recorder()
    layer = Scripted(SystemExit(1), asyncio.CancelledError(), {"type": "x", "n": 1})
    async with working(Hasty(application, ["a"], layer)):
        assert await application.next() == ("a", 1)
    assert len(errors(caplog)) == 2


async def test_a_broker_that_refuses_is_told_in_a_line(caplog):
    layer = Scripted(BrokerError("the password is wrong"), {"type": "x", "n": 1})
    application = Recorder()
    async with working(Hasty(application, ["a"], layer)):
        assert await application.next() == ("a", 1)
    (record,) = errors(caplog)
    assert record.getMessage().endswith("s: the password is wrong")
    assert record.exc_info is None


@pytest.mark.parametrize("fails", [True, False])
async def test_an_application_that_receives_nothing_is_not_started_for_ever(layer, caplog, fails):
    starts = []
    dropped = []

    def receiver(channel, reason, count, **kwargs):
        dropped.append((channel, count))
        if len(dropped) == 3:
            done.set()

    async def application(scope, receive, send):
        starts.append(scope)
        if fails:
            raise RuntimeError("cannot start")

    done = asyncio.Event()
    signals.message_dropped.connect(receiver)
    try:
        async with working(Worker(application, ["a"], layer)):
            for n in range(3):
                await layer.send("a", {"type": "x", "n": n})
            await asyncio.wait_for(done.wait(), DEADLINE)
    finally:
        signals.message_dropped.disconnect(receiver)
    assert len(starts) == 3
    assert dropped == [("a", 1)] * 3


async def test_an_application_that_receives_nothing_while_draining_drops_only_messages(
    layer, caplog
):
    release = asyncio.Event()

    async def application(scope, receive, send):
        await release.wait()

    worker = Worker(application, [], layer)
    scope = {"type": "channel", "channel": "a"}
    queue = worker.get_or_create_application_instance("a", scope)
    queue.put_nowait({"type": "x"})
    task = asyncio.create_task(worker.handle())
    worker.stop()
    async with asyncio.timeout(DEADLINE):
        while queue.qsize() < 2:  # the message, and the end that draining adds
            await asyncio.sleep(0)
        release.set()
        await task
    (record,) = errors(caplog)
    assert "the application ended without receiving it" in record.getMessage()


async def test_an_application_that_cancels_itself_is_a_failure_like_others(layer, caplog):
    async def application(scope, receive, send):
        message = await receive()
        if message["n"] == 0:
            raise asyncio.CancelledError
        served.set()

    served = asyncio.Event()
    async with working(Worker(application, ["a"], layer)):
        await layer.send("a", {"type": "x", "n": 0})
        await layer.send("a", {"type": "x", "n": 1})
        await asyncio.wait_for(served.wait(), DEADLINE)
    assert len(errors(caplog)) == 1


async def test_sending_is_refused_with_the_reason(layer, caplog):
    application = Recorder()
    async with working(Worker(application, ["a"], layer)):
        await layer.send("a", {"type": "reply"})
        await layer.send("a", {"type": "x", "n": 1})
        assert [await application.next(), await application.next()] == [("a", None), ("a", 1)]
    (record,) = errors(caplog)
    assert isinstance(record.exc_info[1], NoClient)
    assert isinstance(record.exc_info[1], NotImplementedError)


@pytest.mark.parametrize("rubbish", [None, 3, "text", [], {}, {"type": None}, {"n": 1}])
async def test_a_bad_message_kills_nothing(rubbish, caplog):
    application = Recorder()
    layer = Scripted(rubbish, {"type": "x", "n": 1})
    async with working(Worker(application, ["a"], layer)):
        assert await application.next() == ("a", 1)
    (record,) = errors(caplog)
    assert "no type" in record.getMessage()


class Hasty(Worker):
    backoff = (0.001, 0.002)
    max_failures = 3


async def test_a_failed_listener_starts_again_and_says_so_once_per_failure(caplog):
    application = Recorder()
    layer = Scripted(OSError("gone"), OSError("gone"), {"type": "x", "n": 1}, OSError("gone"))
    async with working(Hasty(application, ["a"], layer)):
        assert await application.next() == ("a", 1)
        while len(errors(caplog)) < 3:
            await asyncio.sleep(0.001)
    texts = [record.getMessage() for record in errors(caplog)]
    assert ["1 of 3" in texts[0], "2 of 3" in texts[1], "1 of 3" in texts[2]] == [True] * 3


async def test_a_listener_that_cannot_be_started_again_ends_the_worker():
    layer = Scripted(*[OSError("gone for good") for _ in range(10)])
    with pytest.raises(ListenerFailed, match=r"'[ab]'.*gone for good"):
        await asyncio.wait_for(Hasty(Recorder(), ["a", "b"], layer).handle(), DEADLINE)


async def test_an_error_that_no_repetition_cures_ends_the_worker_at_once(layer):
    with pytest.raises(ListenerFailed, match="not valid/"):
        await asyncio.wait_for(Worker(Recorder(), ["not valid/"], layer).handle(), DEADLINE)


async def test_listeners_that_fail_at_the_same_moment_leave_nothing_for_asyncio_to_log(
    layer, caplog
):
    with pytest.raises(ListenerFailed, match="not valid/"):
        await Worker(Recorder(), ["not valid/", "not valid/either"], layer).handle()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_the_failure_of_one_listener_lets_the_others_handlers_finish(layer):
    finished = asyncio.Event()

    class Mixed:
        async def receive(self, channel):
            if channel == "good":
                return await layer.receive(channel)
            await began.wait()
            raise NotImplementedError

    async def application(scope, receive, send):
        await receive()
        began.set()
        await asyncio.sleep(0.05)
        finished.set()

    began = asyncio.Event()
    await layer.send("good", {"type": "x"})
    with pytest.raises(ListenerFailed):
        await asyncio.wait_for(Worker(application, ["good", "bad"], Mixed()).handle(), DEADLINE)
    assert finished.is_set()


async def test_draining_lets_handlers_finish_and_takes_nothing_new(layer):
    began, release, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        while True:
            await receive()
            began.set()
            await release.wait()
            finished.set()

    worker = Worker(application, ["a"], layer)
    task = asyncio.create_task(worker.handle())
    await layer.send("a", {"type": "x"})
    await asyncio.wait_for(began.wait(), DEADLINE)
    worker.stop()
    await asyncio.sleep(0.01)
    assert not task.done()
    await layer.send("a", {"type": "late"})
    release.set()
    await asyncio.wait_for(task, DEADLINE)
    assert finished.is_set()
    assert (await asyncio.wait_for(layer.receive("a"), DEADLINE))["type"] == "late"


async def test_draining_has_a_deadline(layer, caplog):
    cancelled, began = asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        await receive()
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    worker = Worker(application, ["a"], layer)
    worker.drain_timeout = 0.02
    async with working(worker):
        await layer.send("a", {"type": "x"})
        await asyncio.wait_for(began.wait(), DEADLINE)
    assert cancelled.is_set()
    (record,) = errors(caplog)
    assert "channel a" in record.getMessage()


async def test_max_applications_ends_only_instances_that_wait(layer):
    ended = asyncio.Queue()
    began = asyncio.Queue()
    release = asyncio.Event()

    async def application(scope, receive, send):
        try:
            while True:
                await receive()
                await began.put(scope["channel"])
                if scope["channel"] == "busy":
                    await release.wait()
        finally:
            ended.put_nowait(scope["channel"])

    async with working(Worker(application, ["busy", "a", "b"], layer, max_applications=2)):
        for channel in ("busy", "a", "b"):
            await layer.send(channel, {"type": "x"})
            assert await asyncio.wait_for(began.get(), DEADLINE) == channel
        assert await asyncio.wait_for(ended.get(), DEADLINE) == "a"
        await layer.send("a", {"type": "again"})
        assert await asyncio.wait_for(began.get(), DEADLINE) == "a"
        release.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_drains_on_a_signal_and_returns(number):
    finished = []
    layer = Scripted({"type": "x"})

    async def application(scope, receive, send):
        await receive()
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await asyncio.sleep(0.1)
        finished.append(True)

    before = threading.active_count()
    Worker(application, ["a"], layer).run()
    assert finished == [True]
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(DEADLINE)
    assert threading.active_count() == before


@pytest.mark.parametrize(("wanted", "status"), [(3, 3), (0, 1)])
def test_run_drains_when_a_task_of_the_application_exits_and_never_ends_with_0(
    wanted, status, caplog
):
    finished = []
    layer = Scripted({"type": "x"})

    async def leave():
        raise SystemExit(wanted)

    async def application(scope, receive, send):
        await receive()
        task = asyncio.create_task(leave())
        await asyncio.wait((task,))
        finished.append(isinstance(task.exception(), SystemExit))  # nor does asyncio log it later

    worker = Worker(application, ["a"], layer)
    with pytest.raises(SystemExit) as ended:
        worker.run()
    assert (ended.value.code, finished) == (status, [True])
    assert f"A task of the application raised SystemExit({wanted})" in caplog.text


def test_a_task_that_exits_when_the_worker_has_just_ended_still_ends_the_process(layer):
    class Ending(Worker):
        async def arun(self):
            self.left = asyncio.create_task(leave())  # it runs before the loop notices the end

    async def leave():
        raise SystemExit(3)

    worker = Ending(Recorder(), ["a"], layer)
    with pytest.raises(SystemExit) as ended:
        worker.run()
    assert ended.value.code == 3
    # Asked for it, asyncio does not log it in the middle of another test.
    assert worker.left.exception() is ended.value.__cause__


def test_a_second_signal_ends_the_process_at_once(monkeypatch, caplog):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    layer = Scripted({"type": "x"})

    async def application(scope, receive, send):
        await receive()
        for pause in (0.1, 0.5, 0.1):  # the first two are one request
            assert codes == []
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(pause)

    Worker(application, ["a"], layer).run()
    assert codes == [1]
    assert "Worker ends at once, with exit code 1: it was told to stop a second time" in caplog.text


# With real consumers


class Counting(AsyncConsumer):
    async def count(self, message):
        await message_seen(self, message["n"])

    async def fail(self, message):
        await asyncio.sleep(0.02)  # time for the runtime to read ahead, if it did
        raise ValueError("asked to fail")


async def message_seen(consumer, n):
    Counting.seen.put_nowait((id(consumer), n))


@pytest.fixture
def seen():
    Counting.seen = asyncio.Queue()
    return Counting.seen


async def test_a_consumer_handles_what_is_sent_to_its_channel(layer, seen):
    application = ChannelNameRouter({"a": Counting.as_asgi()})
    async with working(Worker(application, ["a"], layer)):
        for n in range(20):
            await layer.send("a", {"type": "count", "n": n})
        got = [await asyncio.wait_for(seen.get(), DEADLINE) for _ in range(20)]
    assert [n for _, n in got] == list(range(20))
    assert len({consumer for consumer, _ in got}) == 1


async def test_a_sync_consumer_works_as_well(layer):
    handled = threading.Event()

    class Blocking(SyncConsumer):
        def work(self, message):
            assert threading.current_thread() is not threading.main_thread()
            handled.set()

    async with working(Worker(Blocking.as_asgi(), ["a"], layer)):
        await layer.send("a", {"type": "work"})
        assert await asyncio.to_thread(handled.wait, DEADLINE)


async def test_a_consumer_that_fails_costs_one_message_and_one_log_line(layer, seen, caplog):
    caplog.set_level(logging.WARNING)
    for n, kind in enumerate(["fail", "count", "fail", "count", "count"]):
        await layer.send("a", {"type": kind, "n": n})
    async with working(Worker(Counting.as_asgi(), ["a"], layer)):
        got = [await asyncio.wait_for(seen.get(), DEADLINE) for _ in range(3)]
    assert [n for _, n in got] == [1, 3, 4]
    assert len([record for record in caplog.records if record.exc_info]) == 2


async def test_unknown_types_and_channels_are_one_line_without_a_traceback(layer, seen, caplog):
    application = ChannelNameRouter({"a": Counting.as_asgi()})
    async with working(Worker(application, ["a", "b"], layer)):
        await layer.send("a", {"type": "no.such.handler"})
        await layer.send("b", {"type": "count"})
        await layer.send("a", {"type": "count", "n": 1})
        assert (await asyncio.wait_for(seen.get(), DEADLINE))[1] == 1
    assert not [record for record in caplog.records if record.exc_info]
    assert any("no.such.handler" in record.getMessage() for record in errors(caplog))


async def test_a_running_handler_of_a_consumer_finishes_while_draining(layer, caplog):
    began, finished = asyncio.Event(), asyncio.Event()

    class Slow(AsyncConsumer):
        async def work(self, message):
            began.set()
            await asyncio.sleep(0.3)
            finished.set()

    async with working(Worker(Slow.as_asgi(), ["a"], layer)):
        await layer.send("a", {"type": "work"})
        await asyncio.wait_for(began.wait(), DEADLINE)
    assert finished.is_set()
    assert caplog.records == []


async def test_a_listener_that_returns_has_failed(layer):
    class Returning(Worker):
        max_failures = 0

        async def listener(self, channel):
            pass

    with pytest.raises(ListenerFailed, match="the listener returned"):
        await asyncio.wait_for(Returning(Recorder(), ["a"], layer).handle(), DEADLINE)


async def test_a_subclass_may_keep_application_instances_itself(layer):
    inputs = asyncio.Queue()

    class Own(Worker):
        def get_or_create_application_instance(self, scope_id, scope):
            return inputs

    async with working(Own(Recorder(), ["a"], layer)):
        for n in range(2):
            await layer.send("a", {"type": "x", "n": n})
        found = [await asyncio.wait_for(inputs.get(), DEADLINE) for _ in range(2)]
    assert [message["n"] for message in found] == [0, 1]


async def test_a_subclass_may_run_the_listeners_itself(layer):
    class Own(Worker):
        async def handle(self):
            await asyncio.gather(*map(self.listener, self.channels))

    application = Recorder()
    task = asyncio.create_task(Own(application, ["a"], layer).handle())
    for n in range(2):
        await layer.send("a", {"type": "x", "n": n})
    assert [await application.next() for _ in range(2)] == [("a", 0), ("a", 1)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_outside_the_main_thread_a_worker_leaves_signals_alone(layer):
    worker = Worker(Recorder(), ["a"], layer)
    worker.stop()
    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, worker.arun()).result(DEADLINE) is None
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_deleted_application_instance_leaves_its_successor_alone(layer):
    application = Recorder()
    worker = Worker(application, [], layer)
    scope = {"type": "channel", "channel": "a"}
    worker.get_or_create_application_instance("a", scope).put_nowait({"type": "x", "n": 0})
    assert await application.next() == ("a", 0)
    deleted = worker.application_instances["a"]["future"]
    worker.delete_application_instance("a")
    worker.get_or_create_application_instance("a", scope).put_nowait({"type": "x", "n": 1})
    successor = worker.application_instances["a"]
    await asyncio.wait((deleted,), timeout=DEADLINE)
    assert deleted.cancelled()
    assert worker.application_instances == {"a": successor}
    async with working(worker):
        assert await application.next() == ("a", 1)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_timeout_that_is_none_is_refused(layer, seconds):
    with pytest.raises(InvalidWorkerOption, match="handler_timeout must be more than 0 seconds"):
        Worker(Recorder(), ["a"], layer, handler_timeout=seconds)


async def test_signals_tell_that_a_worker_begins_and_ends(layer):
    worker = Worker(Recorder(), ["a"], layer)
    with hearing(signals.worker_started) as started, hearing(signals.worker_stopping) as stopping:
        async with working(worker):
            await until(lambda: started)
            assert stopping == []
    assert started == stopping == [{"worker": worker}]


async def test_a_worker_may_be_stopped_from_any_thread(layer):
    worker = Worker(Recorder(), ["a"], layer)
    task = asyncio.create_task(worker.handle())
    await asyncio.sleep(0)
    await asyncio.to_thread(worker.stop)
    await asyncio.wait_for(task, DEADLINE)
    assert not worker.application_instances


def test_a_worker_that_was_stopped_before_it_begins_ends_at_once(layer):
    worker = Worker(Recorder(), ["a"], layer)
    for _ in range(2):  # the second time, it has an event loop that is closed
        worker.stop()
        asyncio.run(asyncio.wait_for(worker.handle(), DEADLINE))
    assert not worker.application_instances


async def test_a_handler_that_cannot_be_cancelled_does_not_hold_up_the_end(layer, caplog):
    began, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def application(scope, receive, send):
        await receive()
        began.set()
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        ended.set()

    worker = Worker(application, ["a"], layer)
    worker.drain_timeout = 0.02
    async with working(worker):
        await layer.send("a", {"type": "x"})
        await asyncio.wait_for(began.wait(), DEADLINE)
    assert "A handler goes on although it was cancelled" in caplog.text
    release.set()
    await asyncio.wait_for(ended.wait(), DEADLINE)
