"""A coroutine that is started inline behaves as if it had been awaited."""

import asyncio
import contextlib

import pytest

from channels._runtime.outlet import start_inline
from tests.asgi import until


async def run(work):
    """What Outlet does: await the rest, if there is one."""
    rest = start_inline(work)
    if rest is not None:
        await rest


async def test_a_coroutine_that_does_not_wait_is_finished_at_once():
    done = []

    async def work():
        done.append(asyncio.current_task())

    assert start_inline(work()) is None
    assert done == [asyncio.current_task()]


async def test_a_coroutine_that_waits_goes_on_in_the_same_task():
    steps = []

    async def work():
        for step in range(3):
            steps.append((step, asyncio.current_task()))
            await asyncio.sleep(0.001 if step else 0)

    rest = start_inline(work())
    assert [step for step, _ in steps] == [0]
    await rest
    assert steps == [(step, asyncio.current_task()) for step in range(3)]


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_errors_come_out(waits):
    async def work():
        for _ in range(waits):
            await asyncio.sleep(0)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        await run(work())


async def test_what_is_no_plain_coroutine_is_left_to_be_awaited():
    future = asyncio.get_running_loop().create_future()
    assert start_inline(future) is future


async def test_a_cancellation_reaches_it():
    log = []

    async def work():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            await asyncio.sleep(0)  # it may still wait
            log.append("cleaned up")
            raise

    task = asyncio.create_task(run(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cancelled", "cleaned up"]


async def test_a_cancellation_may_be_swallowed():
    async def work():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    task = asyncio.create_task(run(work()))
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert not task.cancelled()


async def test_what_awaits_futures_gets_their_results_and_exceptions():
    loop = asyncio.get_running_loop()
    good, bad, log = loop.create_future(), loop.create_future(), []

    async def work():
        log.append(await good)
        try:
            await bad
        except ValueError as error:
            log.append(error)

    task = asyncio.create_task(run(work()))
    await asyncio.sleep(0)
    good.set_result("result")
    await until(lambda: log)
    error = ValueError("bad")
    bad.set_exception(error)
    await task
    assert log == ["result", error]


async def test_what_is_thrown_away_unfinished_is_closed():
    log = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            log.append("closed")

    rest = start_inline(work())
    rest.send(None)
    rest.close()
    assert log == ["closed"]


async def test_timeouts_hold():
    async def work():
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await run(work())
