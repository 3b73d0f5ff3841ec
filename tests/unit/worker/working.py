"""Running workers in tests."""

import asyncio
import contextlib

__all__ = ["DEADLINE", "Scripted", "hearing", "working"]

DEADLINE = 5.0


@contextlib.asynccontextmanager
async def working(worker):
    """Run the worker; at the end tell it to stop and let it drain."""
    task = asyncio.create_task(worker.handle())
    try:
        yield task
        worker.stop()
        await asyncio.wait_for(task, DEADLINE)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def hearing(signal):
    """The arguments that a signal was sent with."""
    heard = []

    def receiver(sender, signal, **arguments):
        heard.append(arguments)

    signal.connect(receiver)
    try:
        yield heard
    finally:
        signal.disconnect(receiver)


class Scripted:
    """A layer whose ``receive`` does what a script says: raises, or returns."""

    def __init__(self, *script):
        self.script = list(script)
        self.calls = 0

    async def receive(self, channel):
        self.calls += 1
        if not self.script:
            await asyncio.Event().wait()
        step = self.script.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step
