"""Who may use the threads of sync handlers, and what is told when there are none."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

from channels import signals
from channels._runtime import pool as pools
from channels._runtime import threads
from channels._runtime.pool import Busy, Pool
from channels.generic.websocket import WebsocketConsumer
from tests.asgi import Server, until


class Consumer:
    def __init__(self, path="/ws/"):
        self.scope = {"type": "websocket", "path": path}


def call(name="receive"):
    return SimpleNamespace2(owner=Consumer(), started=None, name=name)


class SimpleNamespace2(SimpleNamespace):
    __hash__ = object.__hash__


async def entering(pool, made):
    """A task that waits until ``made`` may run."""
    ticket = pool.enter(made)
    assert ticket is not None
    task = asyncio.create_task(pool.wait(ticket))
    await asyncio.sleep(0)
    return task


async def test_first_come_first_served():
    pool, calls = Pool(1), [call() for _ in range(3)]
    assert pool.enter(calls[0]) is None
    second, third = [await entering(pool, made) for made in calls[1:]]
    pool.leave(calls[0])
    assert await second
    assert not third.done()
    pool.leave(calls[1])
    assert await third
    pool.leave(calls[2])
    assert pool.enter(call()) is None


async def test_the_load_is_what_runs_and_what_waits():
    pool, first, second = Pool(1), call(), call()
    assert pool.load() == (0, 0)
    pool.enter(first)
    task = await entering(pool, second)
    assert pool.load() == (1, 1)
    pool.leave(first)
    assert await task
    assert pool.load() == (1, 0)
    pool.leave(second)
    assert pool.load() == (0, 0)


async def test_what_is_dropped_never_runs():
    pool, first, second = Pool(1), call(), call()
    pool.enter(first)
    task = await entering(pool, second)
    assert pool.drop(second.owner)
    assert not await task
    assert not pool.drop(second.owner)
    assert not pool.drop(first.owner)  # it runs
    pool.leave(first)
    assert pool.enter(call()) is None


async def test_a_consumer_that_has_two_handlers_called_at_once_gets_both():
    pool, first, second, third = Pool(1), call(), call(), call()
    third.owner = second.owner
    pool.enter(first)
    tasks = [await entering(pool, made) for made in (second, third)]
    for running, task in zip((first, second), tasks, strict=True):
        pool.leave(running)
        async with asyncio.timeout(5):
            assert await task
    pool.leave(third)
    assert pool.enter(call()) is None


@pytest.mark.parametrize("granted", ["never", "at the same time", "before"])
async def test_a_cancelled_wait_takes_no_place(granted):
    pool, first, second = Pool(1), call(), call()
    pool.enter(first)
    task = await entering(pool, second)
    if granted != "never":
        pool.leave(first)
    if granted == "before":
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if granted == "never":
        pool.leave(first)
    assert pool.enter(call()) is None


async def test_the_place_of_a_call_whose_event_loop_was_closed_goes_to_the_next():
    pool, first = Pool(1), call()
    pool.enter(first)

    async def elsewhere():
        pool.enter(call())

    await asyncio.to_thread(asyncio.run, elsewhere())
    task = await entering(pool, call())
    pool.leave(first)
    assert await task


async def test_one_that_steps_aside_lets_another_one_run():
    pool, first, second = Pool(1), call(), call()
    pool.enter(first)
    task = await entering(pool, second)
    assert not pool.step_aside(first)
    assert await task
    assert pool.waiting() == {id(first.owner)}
    assert pool.threads() == 2
    pool.come_back(first)
    third = await entering(pool, call())
    pool.leave(second)
    await asyncio.sleep(0)
    assert not third.done()  # there is one at work still
    pool.leave(first)
    assert await third


async def test_how_many_may_step_aside_is_bounded():
    pool = Pool(1)
    crowded = []
    for _ in range(pools.ASIDE_PER_THREAD + 1):
        made = call()
        assert pool.enter(made) is None
        crowded.append(pool.step_aside(made))
    assert crowded == [False] * pools.ASIDE_PER_THREAD + [True]


@pytest.fixture
def told(monkeypatch):
    """What the signal says, of pools that are full after a moment."""
    monkeypatch.setattr(pools, "FULL_AFTER", 0.02)
    heard = []

    def listen(signal, sender, **arguments):
        heard.append(arguments)

    signals.sync_threads_busy.connect(listen)
    yield heard
    signals.sync_threads_busy.disconnect(listen)


async def test_a_pool_that_stays_full_is_told_once_until_it_is_free_again(told, caplog):
    caplog.set_level("INFO")
    pool, stuck = Pool(2), [call("receive"), call("connect")]
    for made in stuck:
        made.started = 0.0
        pool.enter(made)
    waiting = await entering(pool, call())
    assert pool.full_for() is None
    await until(lambda: told)
    assert pool.full_for() > 0
    [said] = told
    assert (said["threads"], said["waiting"]) == (2, 1)
    assert [busy.handler for busy in said["handlers"]] == ["receive", "connect"]
    [record] = caplog.records
    assert "Consumer at /ws/, receive for " in record.message
    assert "CHANNELS_SYNC_THREADS is 2" in record.message
    await asyncio.sleep(0.1)
    assert len(told) == len(caplog.records) == 1
    for made in stuck:
        pool.leave(made)
    assert await waiting
    assert pool.full_for() is None
    await until(lambda: len(caplog.records) == 2)
    assert caplog.records[1].levelname == "INFO"
    await until(lambda: pool.watcher is None)


async def test_of_many_the_oldest_are_named(told, caplog):
    pool = Pool(9)
    for number in range(9):
        made = call(f"handler_{number}")
        made.started = float(9 - number)
        pool.enter(made)
    await until(lambda: told)
    assert "handler_8" in caplog.text
    assert "handler_0" not in caplog.text
    assert "and 4 more" in caplog.text


async def test_a_pool_that_is_busy_but_has_a_free_thread_now_and_then_is_not_full(
    told, monkeypatch
):
    seconds = 0.0
    monkeypatch.setattr(pools, "clock", SimpleNamespace(now=lambda: seconds))
    pool = Pool(1)
    for _ in range(20):
        made = call()
        pool.enter(made)
        seconds += 0.005
        await asyncio.sleep(0.005)
        pool.leave(made)
    await until(lambda: pool.watcher is None)
    assert told == []


def test_a_busy_handler_as_text():
    busy = Busy(Consumer("/x\n"), "receive", 1.25)
    assert str(busy).endswith("Consumer at /x\\n, receive for 1.2 s")
    assert str(Busy(None, "job", 3.0)) == "job for 3.0 s"


# Connections


@pytest.fixture
def one_thread(settings):
    settings.CHANNELS_SYNC_THREADS = 1
    threads.renew()
    yield
    threads.renew()


class Blocking(WebsocketConsumer):
    log: list = []
    go: threading.Event

    def connect(self):
        self.log.append("connect")
        self.accept()

    def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)
        if text_data == "block":
            self.go.wait(10)

    def disconnect(self, code):
        self.log.append(("disconnect", code))


@pytest.fixture
def blocking(one_thread):
    class Consumer(Blocking):
        log = []
        go = threading.Event()

    yield Consumer
    Consumer.go.set()


async def test_a_client_that_leaves_while_connect_waits_for_a_thread_calls_no_handler(blocking):
    stuck = await Server(blocking.as_asgi()).connect()
    stuck.text("block")
    await until(lambda: "block" in blocking.log)
    before = asyncio.all_tasks()
    late = Server(blocking.as_asgi())
    late.put("websocket.connect")
    late.start()
    await asyncio.sleep(0.01)
    await late.leave()  # at once
    assert asyncio.all_tasks() == before
    assert late.sent == []
    blocking.go.set()
    await stuck.leave()
    assert blocking.log == ["connect", "block", ("disconnect", 1001)]


@pytest.mark.parametrize("left_first", [False, True])
async def test_a_handler_that_waits_when_its_client_leaves_is_not_called_but_disconnect_is(
    blocking, left_first
):
    leaving = await Server(blocking.as_asgi()).connect()
    stuck = await Server(blocking.as_asgi()).connect()
    stuck.text("block")
    await until(lambda: "block" in blocking.log)
    leaving.text("one")
    if not left_first:
        await asyncio.sleep(0.01)
    leaving.text("two")
    leaving.put("websocket.disconnect", code=1001)
    await asyncio.sleep(0.01)
    assert not leaving.task.done()
    blocking.go.set()
    await leaving.ended()
    await stuck.leave()
    assert "one" not in blocking.log
    assert "two" not in blocking.log
    assert blocking.log.count(("disconnect", 1001)) == 2


async def test_with_a_free_thread_everything_that_was_sent_is_handled(blocking):
    server = await Server(blocking.as_asgi()).connect()
    server.text("one")
    server.text("two")
    await server.leave()
    assert blocking.log == ["connect", "one", "two", ("disconnect", 1001)]


async def test_one_that_comes_back_may_fill_the_pool(monkeypatch):
    """Nothing waits meanwhile, and yet it is full from then on."""
    now = [1000.0]
    monkeypatch.setattr(pools, "clock", SimpleNamespace(now=lambda: now[0]))
    pool, aside = Pool(1), call()
    pool.enter(aside)
    pool.step_aside(aside)
    now[0] += pools.FULL_AFTER
    assert pool.full_for() is None
    pool.come_back(aside)
    assert pool.full_for() is None
    now[0] += pools.FULL_AFTER
    assert pool.full_for() == pools.FULL_AFTER
    pool.leave(aside)
    assert pool.full_for() is None
