"""Threads that call async code on an event loop which ends before that code does."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest
import uvloop
from asgiref.sync import AsyncToSync, async_to_sync, sync_to_async

from channels._runtime import abandoned, threads
from channels._runtime.backstage import untold
from channels.db import database_sync_to_async
from tests.asgi import DEADLINE
from tests.unit.runtime.endings import check_it_ends


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


STARTS = {
    "pooled handler": lambda function: threads.run(function, pooled=True),
    "handler in a test or a worker": lambda function: threads.run(function, pooled=False),
    "database_sync_to_async": lambda function: database_sync_to_async(function)(),
    "sync_to_async": lambda function: sync_to_async(function, thread_sensitive=False)(),
}


class Called:
    """Calls async code from a thread, and keeps what becomes of it."""

    def __init__(self):
        self.began = False
        self.raised = None

    async def work(self):
        self.began = True

    def __call__(self):
        try:
            async_to_sync(self.work)()
        except BaseException as error:
            self.raised = error
            raise


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_the_thread_gets_the_cancellation(start):
    called = Called()
    check_it_ends(start, called)
    wait_for(lambda: called.raised)  # an event loop does not wait for threads of sync_to_async
    assert not called.began
    assert isinstance(called.raised, asyncio.CancelledError)


def test_the_same_after_code_that_has_run_sync_code_in_the_same_thread():
    """As the ORM's coroutines do."""
    called = Called()

    async def orm():
        await sync_to_async(lambda: None)()

    def disconnect(function):
        async_to_sync(orm)()
        function()

    check_it_ends(lambda function: threads.run(disconnect, function, pooled=True), called)
    assert isinstance(called.raised, asyncio.CancelledError)


async def test_what_has_begun_goes_on_as_ever():
    async def add(one, other):
        await asyncio.sleep(0)
        return one + other

    async def fail():
        await asyncio.sleep(0)
        raise ValueError("refused")

    assert await threads.run(lambda: async_to_sync(add)(1, 2), pooled=True) == 3
    with pytest.raises(ValueError, match="refused"):
        await threads.run(async_to_sync(fail), pooled=True)


def test_without_an_event_loop_async_to_sync_makes_one():
    async def give():
        return 7

    assert async_to_sync(give)() == 7


async def test_what_has_begun_is_cancelled_where_it_waits():
    begun, ended = asyncio.Event(), []

    async def wait():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.create_task(threads.run(async_to_sync(wait), pooled=True))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_a_coroutine_that_is_closed_before_it_has_begun_answers():
    """Nor does Python complain that what it would have awaited never was."""
    outcome, awaitable = Future(), asyncio.sleep(0)
    coroutine = abandoned.Answering(wrapped(awaitable), outcome, awaitable)
    coroutine.close()
    coroutine.close()
    assert isinstance(outcome.exception(), asyncio.CancelledError)


async def test_what_is_no_coroutine_need_not_be_closed():
    outcome, future = Future(), asyncio.get_running_loop().create_future()
    with pytest.raises(asyncio.CancelledError):
        abandoned.Answering(wrapped(future), outcome, future).throw(asyncio.CancelledError())
    assert isinstance(outcome.exception(), asyncio.CancelledError)


async def test_what_has_begun_is_not_answered_when_it_is_closed():
    outcome, future = Future(), asyncio.get_running_loop().create_future()
    coroutine = abandoned.Answering(wrapped(future), outcome, future)
    coroutine.send(None)
    coroutine.close()
    assert not outcome.done()


async def wrapped(awaitable):
    await awaitable


# The interpreter exits, and the event loop has been stopped


@pytest.fixture
def exits(monkeypatch):
    """Makes the interpreter exit, as far as this is concerned."""
    monkeypatch.setattr(abandoned, "_exiting", False)
    return abandoned.answer_all


def stopped_while(call, new_loop=asyncio.new_event_loop):
    """An event loop that was stopped, and the thread that makes ``call`` for it."""
    go, loop = threading.Event(), new_loop()
    outcome = Future()

    def function():
        assert go.wait(DEADLINE)
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    async def start():
        task = asyncio.create_task(sync_to_async(function, thread_sensitive=False)())
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(start())
    return loop, go, outcome, task


def end(loop, task):
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, RuntimeError):  # its coroutine was closed
        loop.run_until_complete(task)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_a_thread_that_waits_for_a_stopped_loop_gets_an_answer_as_the_interpreter_exits(exits):
    called = Called()
    loop, go, outcome, task = stopped_while(called)
    before = set(abandoned._waited_for)
    go.set()
    wait_for(lambda: set(abandoned._waited_for) - before)
    exits()
    assert isinstance(outcome.exception(DEADLINE), asyncio.CancelledError)
    assert not called.began
    end(loop, task)


def wrapping(loop, coroutine, **options):
    """A task factory as packages set it that measure tasks."""

    async def measured():
        return await coroutine

    return untold(asyncio.Task(measured(), loop=loop, **options))


@pytest.mark.parametrize("factory", [None, wrapping])
@pytest.mark.parametrize("again", [False, True], ids=["ends", "awaits something else"])
def test_so_does_one_whose_code_has_begun(exits, again, factory):
    ended = []

    async def wait():
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            if again:
                await asyncio.sleep(0)
            raise

    begun = threading.Event()
    loop, go, outcome, task = stopped_while(async_to_sync(wait))
    loop.set_task_factory(factory)
    go.set()

    async def until_begun():
        while not begun.is_set():
            await asyncio.sleep(0.001)

    loop.run_until_complete(until_begun())
    exits()
    assert isinstance(outcome.exception(DEADLINE), asyncio.CancelledError)
    assert ended == ["cancelled"]
    end(loop, task)


def test_what_is_called_later_gets_the_answer_at_once(exits):
    called = Called()
    loop, go, outcome, task = stopped_while(called)
    exits()
    go.set()
    assert isinstance(outcome.exception(DEADLINE), asyncio.CancelledError)
    assert not called.began
    end(loop, task)


async def test_an_event_loop_that_runs_is_left_alone(exits):
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait():
        begun.set()
        await go.wait()
        return 7

    task = asyncio.create_task(threads.run(async_to_sync(wait), pooled=True))
    await begun.wait()
    exits()
    go.set()
    assert await task == 7
    assert await threads.run(async_to_sync(wait), pooled=True) == 7


async def test_nothing_is_kept_of_calls_that_have_ended():
    before = set(abandoned._waited_for)

    async def work():
        await asyncio.sleep(0)

    for factory in (None, wrapping):
        asyncio.get_running_loop().set_task_factory(factory)
        await threads.run(async_to_sync(work), pooled=True)
    asyncio.get_running_loop().set_task_factory(None)
    assert set(abandoned._waited_for) <= before


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_thread_gets_an_answer_when_the_loop_that_it_waits_for_is_closed(new_loop):
    called, other = Called(), Called()
    loop, go, outcome, task = stopped_while(called, new_loop)
    other_loop, other_go, other_outcome, other_task = stopped_while(other)
    before = set(abandoned._waited_for)
    go.set()
    other_go.set()
    wait_for(lambda: len(set(abandoned._waited_for) - before) == 2)
    untold(task)
    loop.close()
    assert isinstance(outcome.exception(DEADLINE), asyncio.CancelledError)
    assert not called.began
    other_loop.run_until_complete(other_task)
    assert other_outcome.result(DEADLINE) is None
    end(other_loop, other_task)


def test_a_loop_may_be_closed_when_it_is_to_be_watched():
    loop = asyncio.new_event_loop()
    loop.close()
    abandoned._watch(loop)
    gc.collect()
    assert id(loop) not in abandoned._watched


def test_after_the_loop_was_closed_asgiref_makes_another(exits):
    called = Called()
    loop, go, outcome, task = stopped_while(called)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    exits()
    go.set()
    assert outcome.result(DEADLINE) is None
    assert called.began


def test_a_process_ends_although_a_thread_waits_for_a_stopped_loop():
    """It would wait for the thread, which is none of ours."""
    code = """
import asyncio, threading
from asgiref.sync import async_to_sync, sync_to_async
import channels.db

waits = threading.Event()

async def wait():
    waits.set()
    await asyncio.sleep(3600)

async def start():
    asyncio.ensure_future(sync_to_async(async_to_sync(wait))())
    while not waits.is_set():
        await asyncio.sleep(0.001)

loop = asyncio.new_event_loop()
loop.run_until_complete(start())
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=DEADLINE, check=False)
    assert done.returncode == 0


def test_asgiref_is_changed_once_and_only_if_it_is_as_expected(monkeypatch):
    changed = AsyncToSync.main_wrap
    abandoned.install()
    assert AsyncToSync.main_wrap is changed

    async def main_wrap(self, outcome, awaitable):
        """Of another version."""

    monkeypatch.setattr(AsyncToSync, "main_wrap", main_wrap)
    abandoned.install()
    assert AsyncToSync.main_wrap is main_wrap
