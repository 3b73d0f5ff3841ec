"""Where sync handlers run, and that they are waited for."""

import asyncio
import contextlib
import contextvars
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from channels._runtime import pool as pools
from channels._runtime import threads
from tests.unit.layers.helpers import until

ident = threading.get_ident
variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(params=[True, False], ids=["pooled", "sensitive"])
def pooled(request):
    return request.param


@pytest.fixture
def pool_of():
    """Makes the pool anew with that many threads."""
    threads.renew()

    with contextlib.ExitStack() as stack:

        def use(count):
            stack.enter_context(override_settings(CHANNELS_SYNC_THREADS=count))

        yield use
    threads.renew()


class Blocking:
    """A function that runs until it is told to finish."""

    def __init__(self):
        self.begun, self.finish, self.ended = threading.Event(), threading.Event(), False

    def __call__(self):
        self.begun.set()
        self.finish.wait(10)
        self.ended = True

    async def running(self):
        await until(self.begun.is_set)


async def test_arguments_results_and_exceptions_pass(pooled):
    assert await threads.run(divmod, 7, 2, pooled=pooled) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0, pooled=pooled)


async def test_which_thread():
    sensitive = await sync_to_async(ident)()
    assert await threads.run(ident, pooled=False) == sensitive
    assert await threads.run(ident, pooled=True) not in (sensitive, ident())
    name = await threads.run(lambda: threading.current_thread().name, pooled=True)
    assert name.startswith("channels-sync")


def test_under_a_sync_caller_the_sensitive_thread_is_the_callers():
    """As in ``TestCase``, whose transaction is in that thread."""

    async def where():
        return await threads.run(ident, pooled=False), await threads.run(ident, pooled=True)

    sensitive, other = async_to_sync(where)()
    assert sensitive == ident()
    assert other != ident()


@pytest.mark.parametrize("raises", [StopIteration, StopAsyncIteration, KeyError])
async def test_an_exception_of_any_kind_comes_out(pooled, raises):
    """Before Python 3.12 a StopIteration would leave its awaiter hanging."""

    def handler():
        raise raises("a bug")

    expected = RuntimeError if raises is StopIteration else raises
    with pytest.raises(expected):
        async with asyncio.timeout(5):
            await threads.run(handler, pooled=pooled)


async def test_context_variables_go_in_and_come_back(pooled):
    variable.set("outside")

    def handler():
        found = variable.get()
        variable.set("inside")
        return found

    assert await threads.run(handler, pooled=pooled) == "outside"
    assert variable.get() == "inside"


async def test_sensitive_code_called_from_a_handler_comes_back_to_its_thread(pooled):
    def handler():
        inner = async_to_sync(sync_to_async(ident))()
        return ident(), inner, async_to_sync(where)()

    async def where():
        return ident(), await sync_to_async(ident)()

    thread, inner, (loop_thread, again) = await threads.run(handler, pooled=pooled)
    assert thread == inner == again
    assert loop_thread == ident()


# The pool


async def test_no_more_threads_than_set(pool_of):
    pool_of(3)
    running, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def handler():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 3:
                full.set()
        full.wait(5)
        with lock:
            running -= 1
        return ident()

    used = await asyncio.gather(*(threads.run(handler, pooled=True) for _ in range(20)))
    assert most == 3
    assert len(set(used)) <= 3


async def test_a_handler_that_blocks_delays_no_other(pool_of):
    pool_of(2)
    blocking = Blocking()
    task = asyncio.create_task(threads.run(blocking, pooled=True))
    await blocking.running()
    for n in range(5):
        assert await threads.run(abs, -n, pooled=True) == n
    blocking.finish.set()
    await task


def test_the_default_number_of_threads():
    assert threads.DEFAULT_THREADS == 32


# Cancelled


async def test_a_cancelled_call_is_waited_for(pooled):
    blocking = Blocking()
    task = asyncio.create_task(threads.run(blocking, pooled=pooled))
    await blocking.running()
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(threads._POLL)
        assert not task.done()
    blocking.finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert blocking.ended


async def test_a_running_handler_is_waited_for_when_cancelled_again_and_again(pooled):
    blocking = Blocking()
    task = asyncio.create_task(threads.run(blocking, pooled=pooled))
    await blocking.running()
    for _ in range(4):
        task.cancel()
        await asyncio.sleep(threads._POLL * 1.5)
        assert not task.done()
    blocking.finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert blocking.ended


async def test_a_handler_that_was_cancelled_before_its_start_is_never_called(pool_of):
    pool_of(1)
    blocking, called = Blocking(), []
    first = asyncio.create_task(threads.run(blocking, pooled=True))
    await blocking.running()
    second = asyncio.create_task(threads.run(called.append, "second", pooled=True))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second  # at once, though the only thread is taken
    assert not first.done()
    blocking.finish.set()
    await first
    await threads.run(called.append, "third", pooled=True)
    assert called == ["third"]


def test_a_call_is_made_or_called_off_never_both():
    """Whoever comes first, the thread or the canceller; tried with both at once."""
    for _ in range(300):
        called = []
        call = threads.ThreadCall(called.append, (1,))
        start = threading.Barrier(2)

        def work(call=call, start=start):
            start.wait(5)
            call()

        thread = threading.Thread(target=work)
        thread.start()
        start.wait(5)
        off = call.call_off()
        thread.join()
        assert off is not bool(called)
        assert call.done is bool(called)


async def test_a_cancelled_handler_that_waits_for_async_code_ends():
    """The wait in the thread is a wait on this event loop, so it can be cut short."""
    waiting, ended = threading.Event(), []

    async def wait():
        waiting.set()
        await asyncio.Event().wait()

    def handler():
        try:
            async_to_sync(wait)()
        finally:
            ended.append(True)

    task = asyncio.create_task(threads.run(handler, pooled=True))
    await until(waiting.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
    assert ended == [True]


async def test_after_a_cancelled_call_the_next_runs(pooled):
    blocking = Blocking()
    task = asyncio.create_task(threads.run(blocking, pooled=pooled))
    await blocking.running()
    task.cancel()
    blocking.finish.set()
    await asyncio.gather(task, return_exceptions=True)
    assert await threads.run(abs, -1, pooled=pooled) == 1


# Processes and loops


def test_event_loops_one_after_another_share_the_pool(pool_of):
    pool_of(1)
    assert len({asyncio.run(threads.run(ident, pooled=True)) for _ in range(3)}) == 1


def test_a_forked_process_makes_its_own_pool():
    """In a process of its own: pytest has threads, which a fork would not survive."""
    code = """
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, Python 3.12
        from django.conf import settings
        settings.configure(CHANNELS_SYNC_THREADS=2)
        from channels._runtime import threads

        def call():
            return asyncio.run(threads.run(os.getpid, pooled=True))

        assert call() == os.getpid()
        child = os.fork()
        if not child:
            import faulthandler
            faulthandler.dump_traceback_later(8, exit=True)
            os._exit(0 if call() == os.getpid() else 1)
        _, status = os.waitpid(child, 0)
        assert call() == os.getpid()
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        timeout=30,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


async def test_what_has_not_begun_in_the_sensitive_thread_when_it_is_cancelled_never_does():
    blocking, called = Blocking(), []
    first = asyncio.create_task(threads.run(blocking, pooled=False))
    await blocking.running()
    second = asyncio.create_task(threads.run(called.append, "second", pooled=False))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second  # at once, though the thread is taken
    assert not first.done()
    blocking.finish.set()
    await first
    await threads.run(called.append, "third", pooled=False)
    assert called == ["third"]


async def test_a_pool_that_stays_full_says_so_and_names_its_handlers(pool_of, monkeypatch):
    now = [1000.0]
    for module in (threads, pools):
        monkeypatch.setattr(module, "clock", SimpleNamespace(now=lambda: now[0]))
    pool_of(2)
    blocking, waiting = Blocking(), Blocking()
    tasks = [
        asyncio.create_task(threads.run(function, pooled=True))
        for function in (blocking, waiting.__call__)
    ]
    await blocking.running()
    await waiting.running()
    assert threads.full_for() is None
    now[0] += pools.FULL_AFTER
    assert threads.full_for() == pools.FULL_AFTER
    assert [busy.handler for busy in threads.pool().occupants()] == [repr(blocking), "__call__"]
    blocking.finish.set()
    waiting.finish.set()
    await asyncio.gather(*tasks)
    await until(lambda: threads.full_for() is None)


async def test_a_call_that_is_cancelled_before_its_thread_takes_it_up_leaves_its_place(
    pool_of, monkeypatch
):
    """The one thread is still starting when the call is given up."""
    pool_of(1)
    go, run = threading.Event(), threading.Thread.run

    def run_later(self):
        go.wait(10)
        run(self)

    monkeypatch.setattr(threading.Thread, "run", run_later)
    called = []
    task = asyncio.create_task(threads.run(called.append, 1, pooled=True))
    await until(lambda: threads.pool().occupants())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await threads.run(called.append, 2, pooled=True)
    assert called == [2]
    assert threads.pool().occupants() == []


@pytest.mark.parametrize("count", [0, -1, 2.0, "2", True, None])
def test_a_number_of_threads_that_is_none_is_refused(count):
    with (
        override_settings(CHANNELS_SYNC_THREADS=count),
        pytest.raises(ImproperlyConfigured, match=f"from 1, not {count!r}"),
    ):
        threads.thread_count()
