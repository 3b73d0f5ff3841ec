"""Threads that call async code on an event loop which ends before that code has begun."""

import asyncio

import pytest
from asgiref.sync import AsyncToSync, async_to_sync, sync_to_async

from channels._runtime import threads, unbegun
from channels.db import database_sync_to_async
from tests.unit.runtime.endings import check_it_ends

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
    outcome = asyncio.get_running_loop().create_future()

    async def wrapped(awaitable):
        await awaitable

    awaitable = asyncio.sleep(0)
    coroutine = unbegun.Answering(wrapped(awaitable), outcome, awaitable)
    coroutine.close()
    coroutine.close()
    assert isinstance(outcome.exception(), asyncio.CancelledError)


async def test_what_is_no_coroutine_need_not_be_closed():
    outcome = asyncio.get_running_loop().create_future()

    async def wrapped(awaitable):
        await awaitable

    future = asyncio.get_running_loop().create_future()
    with pytest.raises(asyncio.CancelledError):
        unbegun.Answering(wrapped(future), outcome, future).throw(asyncio.CancelledError())
    assert isinstance(outcome.exception(), asyncio.CancelledError)


def test_asgiref_is_changed_once_and_only_if_it_is_as_expected(monkeypatch):
    changed = AsyncToSync.main_wrap
    unbegun.install()
    assert AsyncToSync.main_wrap is changed

    async def main_wrap(self, outcome, awaitable):
        """Of another version."""

    monkeypatch.setattr(AsyncToSync, "main_wrap", main_wrap)
    unbegun.install()
    assert AsyncToSync.main_wrap is main_wrap
