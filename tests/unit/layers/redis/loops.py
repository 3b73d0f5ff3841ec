"""A second event loop, for what one process does on several."""

import asyncio
import contextlib
import threading


@contextlib.contextmanager
def another_loop():
    """An event loop that runs in a thread of its own, and then is closed."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def cancel_the_rest():
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(cancel_the_rest(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def call(loop, coroutine):
    """Have ``coroutine`` run on another event loop; to be awaited on this one."""
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


async def where():
    """The event loop that this runs on."""
    return asyncio.get_running_loop()


async def check_work_is_done_on_the_loop_that_receives(receives, stop):
    """The law of whatever receives for a process on one event loop, until ``stop()`` there."""
    with another_loop() as other:
        await call(other, receives.be_ready())
        assert receives.loop is other
        assert await receives.run(where) is other
        await receives.be_ready()
        called = threading.Event()
        receives.call_soon(called.set)
        assert await asyncio.to_thread(called.wait, 10)
        await call(other, stop())
