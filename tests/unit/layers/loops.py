"""A second event loop, for what one process does on several."""

import asyncio
import contextlib
import threading


@contextlib.contextmanager
def another_loop(*, cancels=True):
    """An event loop that runs in a thread of its own, and then is closed.

    Args:
        cancels: cancel its tasks and wait for them before it is closed, as ``asyncio.run`` does.
    """
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
        if cancels:
            asyncio.run_coroutine_threadsafe(cancel_the_rest(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def call(loop, coroutine):
    """Run ``coroutine`` on another event loop; to be awaited on this one."""
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


async def where():
    """The event loop that this runs on."""
    return asyncio.get_running_loop()
