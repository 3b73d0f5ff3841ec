"""Event loops that end at the moment at which a thread hands work to them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from tests.asgi import DEADLINE

__all__ = ["check_it_ends"]


class _Loop(asyncio.SelectorEventLoop):
    """Tells when a thread has handed it something with :meth:`call_soon_threadsafe`."""

    def __init__(self, handed: threading.Event) -> None:
        super().__init__()
        self.in_last_step = False
        self._handed = handed

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        handle = super().call_soon_threadsafe(*args, **kwargs)
        if self.in_last_step:
            self._handed.set()
        return handle


def check_it_ends(
    start: Callable[[Callable[[], None]], Coroutine[Any, Any, Any]], call_back: Callable[[], None]
) -> None:
    """Run an event loop to its end, where it cancels what a thread has handed in but not begun.

    Its main coroutine ends between two iterations of the loop. What the thread hands in meanwhile
    is made a task in the very iteration that is the loop's last, and then all tasks are cancelled.

    Args:
        start: given a function, returns a coroutine that calls it in a thread.
        call_back: called in that thread at that moment; it hands something to the event loop.
    """
    in_thread, go, handed = threading.Event(), threading.Event(), threading.Event()

    def function() -> None:
        in_thread.set()
        assert go.wait(DEADLINE)
        call_back()

    async def main() -> None:
        task = asyncio.create_task(start(function))
        while not in_thread.is_set():
            await asyncio.sleep(0.001)
        asyncio.get_running_loop().in_last_step = True  # type: ignore[attr-defined]
        go.set()
        assert handed.wait(DEADLINE)
        del task

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: _Loop(handed)) as runner:
            runner.run(main())

    runs = threading.Thread(target=run, daemon=True)
    runs.start()
    runs.join(DEADLINE)
    assert not runs.is_alive(), "the event loop does not end"
