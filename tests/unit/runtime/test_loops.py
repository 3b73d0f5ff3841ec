"""The bridge: calls from any thread and any event loop to one loop that stays."""

import asyncio
import contextvars
import gc
import inspect
import signal
import sys
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from channels._runtime.loops import (
    Bridge,
    BridgeClosed,
    CallTimeout,
    PerLoop,
    bridge,
    is_passing,
    running_loop,
)
from channels.exceptions import ChannelsError

DEADLINE = 10

who = contextvars.ContextVar("who", default="nobody")


@pytest.fixture
def way():
    """A bridge of the test's own."""
    way = Bridge()
    yield way
    way.end()


@pytest.fixture
def restless():
    """Threads take turns as often as they can, so that races come out."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def interruptible():
    """Control-C interrupts, also where a shell that started the tests has it ignored."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


async def give(value):
    return value


async def fail(error):
    raise error


async def say_who():
    return who.get()


class Endless:
    """A coroutine that waits until it is cancelled, and tells."""

    def __init__(self):
        self.started = threading.Event()
        self.cancelled = threading.Event()

    async def run(self):
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def soon(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)


class TestIsPassing:
    def test_the_loop_of_async_to_sync_is(self):
        async def ask():
            return is_passing(asyncio.get_running_loop())

        assert async_to_sync(ask)() is True

    def test_the_loop_of_asyncio_run_is_not(self):
        async def ask():
            return is_passing(asyncio.get_running_loop())

        assert asyncio.run(ask()) is False

    async def test_the_loop_to_which_async_to_sync_returns_is_not(self):
        """As in a sync view under an ASGI server."""

        async def ask():
            return running_loop(), is_passing(asyncio.get_running_loop())

        loop, passing = await sync_to_async(async_to_sync(ask))()
        assert loop is asyncio.get_running_loop()
        assert passing is False


class TestRunningLoop:
    async def test_is_the_loop_that_runs(self):
        assert running_loop() is asyncio.get_running_loop()

    def test_is_none_without_one(self):
        assert running_loop() is None


class TestCall:
    def test_returns_what_the_coroutine_returns(self, way):
        assert way.call(give(7)) == 7

    def test_raises_what_it_raises_with_its_traceback(self, way):
        with pytest.raises(KeyError, match="nothing") as caught:
            way.call(fail(KeyError("nothing")))
        assert caught.traceback[-1].name == "fail"

    def test_starts_its_thread_when_it_is_needed_and_once(self, way):
        before = set(threading.enumerate())
        Bridge()
        assert set(threading.enumerate()) == before
        for _ in range(3):
            way.call(give(None))
        (thread,) = set(threading.enumerate()) - before
        assert thread.daemon

    def test_all_threads_meet_on_one_loop(self, way):
        async def here():
            return asyncio.get_running_loop()

        with ThreadPoolExecutor(8) as pool:
            loops = set(pool.map(lambda _: way.call(here()), range(64)))
        assert loops == {way.loop}

    @pytest.mark.usefixtures("restless")
    def test_each_of_many_threads_gets_its_own_answers(self, way):
        async def echo(value):
            if value % 3 == 0:
                await asyncio.sleep(0)
            return value

        def ask(number):
            mine = range(number * 200, number * 200 + 200)
            return [way.call(echo(value), DEADLINE) for value in mine] == list(mine)

        with ThreadPoolExecutor(20) as pool:
            assert all(pool.map(ask, range(20)))

    def test_calls_start_in_the_order_in_which_they_are_made(self, way):
        """Also those that wait together for a busy loop."""
        order = []
        go_on = threading.Event()

        async def note(number):
            order.append(number)

        way.loop.call_soon_threadsafe(go_on.wait, DEADLINE)
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(way.cross(note(number))) for number in range(10)]
        loop.run_until_complete(asyncio.sleep(0))
        assert order == []
        go_on.set()
        loop.run_until_complete(asyncio.gather(*tasks))
        loop.close()
        assert order == list(range(10))

    def test_each_call_sees_its_callers_context(self, way):
        def ask(name):
            who.set(name)
            return [way.call(say_who()) for _ in range(50)] == [name] * 50

        with ThreadPoolExecutor(10) as pool:
            assert all(pool.map(ask, [f"thread {number}" for number in range(10)]))

    def test_a_call_that_takes_too_long_is_cancelled(self, way):
        endless = Endless()
        with pytest.raises(CallTimeout, match=r"within 0\.05 seconds") as caught:
            way.call(endless.run(), timeout=0.05)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, ChannelsError)
        assert endless.cancelled.wait(DEADLINE)
        assert way.call(give("fine")) == "fine"

    def test_one_that_is_given_no_time_at_all_is_cancelled_too(self, way):
        way.call(give(None))
        with pytest.raises(CallTimeout):
            way.call(Endless().run(), timeout=0)
        assert way.call(give("fine")) == "fine"

    @pytest.mark.parametrize("timeout", [None, float("inf"), 1e30, DEADLINE])
    def test_any_time_may_be_given(self, way, timeout):
        assert way.call(give("fine"), timeout) == "fine"

    def test_less_than_no_time_is_none(self, way):
        with pytest.raises(CallTimeout):
            way.call(Endless().run(), timeout=-1)

    def test_a_timeout_of_the_coroutines_own_is_not_the_callers(self, way):
        with pytest.raises(TimeoutError, match="its own") as caught:
            way.call(fail(TimeoutError("its own")), timeout=DEADLINE)
        assert not isinstance(caught.value, CallTimeout)

    def test_an_error_that_comes_after_the_caller_has_gone_is_not_complained_about(
        self, way, caplog
    ):
        failed = threading.Event()

        async def fail_late():
            try:
                await asyncio.Event().wait()
            finally:
                failed.set()
                raise RuntimeError("too late")

        with pytest.raises(CallTimeout):
            way.call(fail_late(), timeout=0.01)
        assert failed.wait(DEADLINE)
        way.call(give(None))
        gc.collect()
        assert caplog.records == []

    @pytest.mark.usefixtures("interruptible")
    def test_control_c_reaches_the_caller_and_cancels_the_call(self, way):
        endless = Endless()

        def press():
            endless.started.wait(DEADLINE)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        presser = threading.Thread(target=press)
        presser.start()
        with pytest.raises(KeyboardInterrupt):
            way.call(endless.run(), timeout=DEADLINE)
        presser.join()
        assert endless.cancelled.wait(DEADLINE)
        assert way.call(give("fine")) == "fine"

    def test_a_caller_that_is_interrupted_before_it_has_handed_in_leaves_no_coroutine(
        self, way, monkeypatch
    ):
        def interrupt(*arguments):
            monkeypatch.undo()
            raise KeyboardInterrupt

        coroutine = give("never")
        monkeypatch.setattr(way.loop, "call_soon_threadsafe", interrupt)
        with pytest.raises(KeyboardInterrupt):
            way.call(coroutine)
        assert way.call(give("fine")) == "fine"
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED

    def test_a_process_that_can_start_no_thread_is_told_and_may_try_again(self, way, monkeypatch):
        def fail_to_start(thread):
            raise RuntimeError("can't start new thread")

        coroutine = give("never")
        monkeypatch.setattr(threading.Thread, "start", fail_to_start)
        with pytest.raises(BridgeClosed) as caught:
            way.call(coroutine)
        told = "".join(traceback.format_exception(caught.value))
        assert "can't start new thread" in told
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
        monkeypatch.undo()
        assert way.call(give("fine")) == "fine"

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
    def test_a_call_that_would_end_the_loop_ends_only_itself(self, way, error):
        loop = way.loop
        with pytest.raises(type(error)):
            way.call(fail(error), timeout=DEADLINE)
        assert way.call(give("fine"), timeout=DEADLINE) == "fine"
        assert way.loop is loop

    def test_what_a_failed_call_held_is_not_held_by_the_bridge(self, way):
        class Thing:
            pass

        async def fail_with(thing):
            raise RuntimeError("failed")

        thing = Thing()
        gone = weakref.ref(thing)
        with pytest.raises(RuntimeError, match="failed"):
            way.call(fail_with(thing))
        del thing
        gc.collect()
        assert gone() is None


class TestCross:
    async def test_runs_on_the_bridge_and_returns_to_the_loop(self, way):
        async def here():
            return asyncio.get_running_loop()

        assert await way.cross(here()) is way.loop
        assert way.loop is not asyncio.get_running_loop()

    async def test_raises_what_the_coroutine_raises(self, way):
        with pytest.raises(KeyError, match="nothing"):
            await way.cross(fail(KeyError("nothing")))

    async def test_sees_the_callers_context(self, way):
        who.set("me")
        assert await way.cross(say_who()) == "me"

    async def test_the_loop_goes_on_meanwhile(self, way):
        endless, ticks = Endless(), 0
        task = asyncio.create_task(way.cross(endless.run()))
        while not endless.started.is_set():
            await asyncio.sleep(0)
            ticks += 1
        assert ticks
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await soon(endless.cancelled.is_set)

    def test_a_loop_that_is_closed_meanwhile_disturbs_nobody(self, way):
        go_on = threading.Event()

        async def wait():
            await asyncio.to_thread(go_on.wait, DEADLINE)

        loop = asyncio.new_event_loop()
        task = loop.create_task(way.cross(wait()))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
        go_on.set()
        assert way.call(give("fine")) == "fine"


class TestEnd:
    def test_finishes_what_was_handed_in(self, way):
        finished = threading.Event()
        started = threading.Event()

        async def send():
            started.set()
            await asyncio.sleep(0.05)
            finished.set()

        thread = threading.Thread(target=way.call, args=(send(),))
        thread.start()
        started.wait(DEADLINE)
        way.end()
        thread.join(DEADLINE)
        assert finished.is_set()

    def test_does_not_wait_for_ever(self, way):
        endless, failures = Endless(), []

        def call():
            try:
                way.call(endless.run())
            except Exception as error:
                failures.append(type(error))

        thread = threading.Thread(target=call)
        thread.start()
        endless.started.wait(DEADLINE)
        way.end(grace=0.05)
        thread.join(DEADLINE)
        assert failures == [BridgeClosed]

    def test_closes_what_is_kept_for_the_loop(self, way):
        closed = []

        class Connection:
            async def aclose(self):
                closed.append(asyncio.get_running_loop())

        async def connect():
            connections.get()

        connections = PerLoop(Connection)
        way.call(connect())
        loop = way.loop
        way.end()
        assert closed == [loop]
        assert loop.is_closed()

    def test_cancels_the_tasks_that_were_left_running(self, way):
        endless = Endless()
        kept = []

        async def leave():
            kept.append(asyncio.create_task(endless.run()))

        way.call(leave())
        endless.started.wait(DEADLINE)
        way.end()
        assert endless.cancelled.is_set()

    def test_afterwards_calls_are_refused(self, way):
        way.call(give(None))
        way.end()
        with pytest.raises(BridgeClosed, match="exiting") as caught:
            way.call(give(None))
        assert isinstance(caught.value, ChannelsError)
        with pytest.raises(BridgeClosed):
            way.loop  # noqa: B018

    def test_a_bridge_that_was_never_used_has_nothing_to_end(self, way):
        before = set(threading.enumerate())
        way.end()
        way.end()
        assert set(threading.enumerate()) == before

    async def test_crossing_is_refused_too(self, way):
        way.end()
        with pytest.raises(BridgeClosed):
            await way.cross(give(None))


def test_the_process_has_one_bridge():
    assert bridge.call(give(1)) == 1
    assert bridge.loop is bridge.loop
    assert bridge._start() is bridge.loop  # where two threads are the first ones


def test_what_is_spawned_runs_without_a_caller_and_may_fail():
    over = threading.Event()

    async def work():
        over.set()
        raise ValueError("nobody hears it")

    bridge.spawn(work())
    assert over.wait(5)
