"""Tasks that serve others end after them, and calls may fail without a word."""

import asyncio
import gc

import pytest

from channels._runtime import backstage
from channels._runtime.backstage import ignore_failure


def test_a_task_that_serves_others_ends_after_they_have_cleaned_up():
    done = []

    async def serve():
        try:
            await asyncio.Event().wait()
        finally:
            done.append("served")

    async def use():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    async def main():
        serving, using = backstage.start(serve()), asyncio.create_task(use())
        await asyncio.sleep(0)
        assert using in asyncio.all_tasks()
        assert serving not in asyncio.all_tasks(), "so asyncio.run does not cancel it"

    asyncio.run(main())
    assert done == ["cleaned up", "served"]


async def test_the_result_of_a_task_is_its_own():
    async def answer():
        return 42

    assert await backstage.start(answer()) == 42


@pytest.mark.parametrize("ignored", [True, False])
async def test_asyncio_complains_of_a_failure_unless_it_is_ignored(ignored):
    complaints = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    future = loop.create_future()
    if ignored:
        future.add_done_callback(ignore_failure)
    future.set_exception(ConnectionError("the broker is gone"))
    await asyncio.sleep(0)
    del future
    gc.collect()
    assert complaints == ([] if ignored else ["Future exception was never retrieved"])


async def test_a_cancelled_call_is_no_failure_to_ignore():
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(ignore_failure)
    future.cancel()
    await asyncio.sleep(0)
    assert future.cancelled()
