import asyncio
import threading

import pytest

from channels.layers.broker.handover import LoopEnded, across, hand_over

from ....asgi import until
from ..loops import another_loop, call, where


async def test_work_is_awaited_on_the_other_loop():
    with another_loop() as other:
        assert await across(other, where()) is other


async def test_its_error_is_the_callers():
    async def fail():
        raise LookupError("as if")

    with another_loop() as other, pytest.raises(LookupError, match="as if"):
        await across(other, fail())


async def test_a_caller_that_gives_up_cancels_the_work():
    begun, ended = threading.Event(), threading.Event()

    async def work():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with another_loop() as other:
        task = asyncio.create_task(across(other, work()))
        assert await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        assert await asyncio.to_thread(ended.wait, 10)
        await asyncio.wait((task,))
        assert task.cancelled()


@pytest.mark.parametrize("closed", [True, False])
async def test_a_loop_that_does_not_run_has_ended(closed):
    loop = asyncio.new_event_loop()
    if closed:
        loop.close()
    async with asyncio.timeout(10):
        with pytest.raises(LoopEnded):
            await across(loop, where())
    loop.close()


async def test_a_loop_that_ends_during_the_work_is_told():
    begun = threading.Event()

    async def work():
        begun.set()
        await asyncio.Event().wait()

    with another_loop() as other:
        task = asyncio.create_task(across(other, work()))
        assert await asyncio.to_thread(begun.wait, 10)
    async with asyncio.timeout(10):
        with pytest.raises(LoopEnded):
            await task


async def test_one_of_the_loops_on_which_somebody_waits_takes_over():
    taken = []

    def take_over():
        taken.append(asyncio.get_running_loop())

    here, ended = asyncio.get_running_loop(), asyncio.new_event_loop()
    ended.close()
    with another_loop() as other:

        async def end():
            hand_over(lambda: [other, ended, here], take_over)

        await call(other, end())
        await until(lambda: taken)
        assert taken == [here]


async def test_no_loop_takes_over_if_nobody_waits():
    with another_loop() as other:

        async def end():
            hand_over(list, lambda: pytest.fail("nobody waits"))

        await call(other, end())
    await asyncio.sleep(0)  # this loop's turn, in which it would


async def test_a_loop_that_ends_too_hands_over_to_the_next_one():
    taken = []
    here = asyncio.get_running_loop()
    with another_loop() as first, another_loop() as second:
        holding, let_go = threading.Event(), threading.Event()

        async def stay():
            holding.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.to_thread(let_go.wait, 10)

        staying = asyncio.run_coroutine_threadsafe(stay(), second)
        assert await asyncio.to_thread(holding.wait, 10)

        async def cancel_all():
            this = asyncio.current_task()
            for task in asyncio.all_tasks() - {this}:
                task.cancel()

        await call(second, cancel_all())

        async def end():
            hand_over(lambda: [second, here], lambda: taken.append(asyncio.get_running_loop()))

        await call(first, end())
        await until(lambda: taken)
        assert taken == [here]
        let_go.set()
        await asyncio.wait((asyncio.wrap_future(staying),))
