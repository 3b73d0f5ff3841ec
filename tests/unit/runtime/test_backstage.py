"""Tasks that serve others end after them, and calls may fail without a word."""

import asyncio
import contextlib
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


def test_a_task_that_nobody_uses_ends_with_the_loop():
    done = []

    async def serve():
        try:
            await asyncio.Event().wait()
        finally:
            done.append("served")

    async def main():
        backstage.start(serve())
        await asyncio.sleep(0)

    asyncio.run(main())
    assert done == ["served"]


def test_a_task_may_end_by_itself_when_the_others_have_cleaned_up():
    done = []

    async def serve(over):
        await over.wait()
        done.append("served")

    async def use(over):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            over.set()

    async def main():
        over = asyncio.Event()
        backstage.start(serve(over))
        asyncio.create_task(use(over))  # noqa: RUF006 - asyncio.run cancels it
        await asyncio.sleep(0)

    asyncio.run(main())
    assert done == ["served"]


@pytest.mark.parametrize("awaits", [3, 1000])
def test_a_task_whose_event_loop_was_closed_is_ended_however_it_ends(awaits):
    done = []

    async def serve():
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(awaits):
                with contextlib.suppress(GeneratorExit):
                    await asyncio.sleep(0)
            done.append("served")

    async def start():
        return backstage.start(serve())

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(start())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    asyncio.run(start_another())
    assert done == (["served"] if awaits == 3 else [])
    while not done:  # nobody else ends it without a complaint
        with contextlib.suppress(RuntimeError):
            task.get_coro().close()


async def start_another():
    """By which the closed event loop is noticed."""
    await backstage.start(asyncio.sleep(0))
