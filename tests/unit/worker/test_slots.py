import asyncio
import logging
import threading

import pytest

from channels import signals
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import StopConsumer
from channels.layers import InMemoryChannelLayer
from channels.routing import ChannelNameRouter
from channels.worker import Worker

from ...asgi import until
from .working import DEADLINE, hearing, working


@pytest.fixture
def layer():
    return InMemoryChannelLayer()


class Gate(AsyncConsumer):
    """Handlers that go on when the test lets them."""

    def __init__(self, begun, release):
        self.begun, self.release = begun, release

    async def job(self, message):
        self.begun.append((message["n"], self))
        await self.release.acquire()


async def test_as_many_messages_are_handled_at_a_time_as_the_concurrency_says(layer):
    begun, release = [], asyncio.Semaphore(0)
    application = Gate.as_asgi(begun=begun, release=release)
    async with working(Worker(application, ["a"], layer, concurrency=3)):
        for n in range(5):
            await layer.send("a", {"type": "job", "n": n})
        await until(lambda: len(begun) == 3)
        for _ in range(20):  # every task that can run has run
            await asyncio.sleep(0)
        assert [n for n, _ in begun] == [0, 1, 2]
        assert layer.channels["a"].qsize() == 2  # the others are for other workers
        release.release()
        await until(lambda: len(begun) == 4)
        for _ in range(4):
            release.release()
        await until(lambda: len(begun) == 5)
    assert len({id(consumer) for _, consumer in begun}) == 3  # they go on with what comes next


async def test_each_channel_has_its_own_concurrency(layer):
    begun, release = [], asyncio.Semaphore(0)
    gate = Gate.as_asgi(begun=begun, release=release)
    application = ChannelNameRouter({"a": gate, "b": gate})
    async with working(Worker(application, ["a", "b"], layer, concurrency={"a": 2})):
        for channel in "ab":
            for _ in range(3):
                await layer.send(channel, {"type": "job", "n": channel})
        await until(lambda: len(begun) == 3)
        assert sorted(n for n, _ in begun) == ["a", "a", "b"]
        for _ in range(6):
            release.release()
        await until(lambda: len(begun) == 6)


async def test_sync_handlers_run_at_the_same_time_each_in_one_thread(layer):
    meeting = threading.Barrier(3)
    threads = {}

    class Blocking(SyncConsumer):
        def job(self, message):
            threads.setdefault(id(self), set()).add(threading.current_thread())
            meeting.wait(DEADLINE)

    async with working(Worker(Blocking.as_asgi(), ["a"], layer, concurrency=2)):
        for _ in range(4):
            await layer.send("a", {"type": "job"})
        for _ in range(2):
            await asyncio.to_thread(meeting.wait, DEADLINE)
    assert [len(used) for used in threads.values()] == [1, 1]


async def test_the_outcome_of_each_message_is_told(layer):
    class Consumer(AsyncConsumer):
        async def good(self, message):
            pass

        async def bad(self, message):
            raise ValueError("asked to fail")

        async def last(self, message):
            raise StopConsumer

    with hearing(signals.job_finished) as heard:
        async with working(Worker(Consumer.as_asgi(), ["a"], layer)):
            for kind in ("good", "bad", "missing", "last", "good"):
                await layer.send("a", {"type": kind})
            await until(lambda: len(heard) == 5)
    told = [(job["message_type"], job["outcome"]) for job in heard]
    assert told == [
        ("good", "done"), ("bad", "failed"), ("missing", "unhandled"), ("last", "done"),
        ("good", "done"),
    ]  # fmt: skip
    assert all(job["channel"] == "a" and 0 <= job["seconds"] < DEADLINE for job in heard)


async def test_a_message_without_a_handler_is_counted_as_dropped(layer, caplog):
    with hearing(signals.message_dropped) as heard:
        async with working(Worker(AsyncConsumer.as_asgi(), ["a"], layer)):
            for _ in range(30):
                await layer.send("a", {"type": "newer"})
            await until(lambda: len(heard) == 30)
    assert heard[0] == {
        "layer": layer, "channel": "a", "count": 1, "reason": "the application has no handler",
    }  # fmt: skip
    lines = [r for r in caplog.records if "No handler for message type newer" in r.getMessage()]
    assert len(lines) == 10  # and then one for many


async def test_a_handler_that_takes_too_long_is_cancelled_and_the_next_message_handled(
    layer, caplog
):
    done = asyncio.Event()
    cancelled = []

    class Slow(AsyncConsumer):
        async def hang(self, message):
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(True)

        async def quick(self, message):
            done.set()

    with hearing(signals.job_finished) as heard:
        async with working(Worker(Slow.as_asgi(), ["a"], layer, handler_timeout=0.05)):
            await layer.send("a", {"type": "hang"})
            await layer.send("a", {"type": "quick"})
            async with asyncio.timeout(DEADLINE):
                await done.wait()
    assert [job["outcome"] for job in heard] == ["timed out", "done"]
    assert cancelled == [True]
    (record,) = [r for r in caplog.records if r.name == "channels.worker"]
    assert record.levelno == logging.ERROR
    text = "Handler of hang on channel a was still running after 0.05 s; cancelled"
    assert record.getMessage() == text


async def test_an_application_that_goes_on_after_its_time_is_over_is_told_of_so(layer):
    async def application(scope, receive, send):
        while True:
            message = await receive()
            if message["type"] == "hang":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    asyncio.current_task().uncancel()

    with hearing(signals.job_finished) as heard:
        async with working(Worker(application, ["a"], layer, handler_timeout=0.05)):
            for kind in ("hang", "quick"):
                await layer.send("a", {"type": kind})
            await until(lambda: len(heard) == 2)
    assert [job["outcome"] for job in heard] == ["timed out", "done"]


async def test_what_the_end_of_the_worker_cancels_is_told_of_so(layer):
    began = asyncio.Event()

    class Slow(AsyncConsumer):
        async def hang(self, message):
            began.set()
            await asyncio.Event().wait()

    worker = Worker(Slow.as_asgi(), ["a"], layer)
    worker.drain_timeout = 0.02
    with hearing(signals.job_finished) as heard:
        async with working(worker):
            await layer.send("a", {"type": "hang"})
            async with asyncio.timeout(DEADLINE):
                await began.wait()
    assert [job["outcome"] for job in heard] == ["cancelled"]


async def test_background_tasks_end_with_the_consumer_before_it_is_told_of_its_end(layer):
    told = []

    class Ticking(AsyncConsumer):
        async def start(self, message):
            self.start_background_task(self.tick)

        async def tick(self):
            told.append("ticks")
            try:
                await asyncio.Event().wait()
            finally:
                told.append("ended")

        async def on_worker_shutdown(self):
            told.append("shutdown")

    async with working(Worker(Ticking.as_asgi(), ["a"], layer)):
        await layer.send("a", {"type": "start"})
        await until(lambda: told)
    assert told == ["ticks", "ended", "shutdown"]
