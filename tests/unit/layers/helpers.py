"""Tools of the layers' tests."""

import asyncio
import gc
import sys
import threading
import time

from channels._runtime import lograte
from channels.layers import local, mailbox, memory, states


class Clock:
    """Stands in for the clock of the layers, and moves when it is told to.

    It starts with the machine's clock: layers over a broker look at that one too.
    """

    def __init__(self):
        self.seconds = time.monotonic()

    @classmethod
    def install(cls, patch):
        clock = cls()
        for module in (local, memory, mailbox, states, lograte):
            patch(module, "clock", clock)
        patch(local, "time", clock)
        return clock

    def now(self):
        return self.seconds

    def time(self):
        return 1_700_000_000 + self.seconds

    def advance(self, seconds):
        self.seconds += seconds


def message(n=0):
    return {"type": "test.message", "n": n}


def holds_nothing(layer):
    """Whether not one entry of the layer's own bookkeeping is left."""
    return not (
        layer._mailboxes
        or layer._groups
        or layer._memberships
        or layer._leases
        or layer._unattached
    )


def remembers(layer, channel):
    """Whether the layer's own bookkeeping has an entry for this channel."""
    return channel in layer._memberships or channel in layer._mailboxes


def balanced(layer):
    counts = layer.statistics
    return counts.sent == counts.delivered + sum(counts.dropped.values()) + counts.pending


async def soon(awaitable):
    """Await what must happen at once. The timer ends a wait that nobody ends, as a failure."""
    async with asyncio.timeout(5):
        return await awaitable


async def until(condition):
    """Wait for ``condition()`` to hold."""
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited too long")
        await asyncio.sleep(0.001)


async def waiting(layer, channel, readers=1):
    """Return when that many callers of ``receive`` wait in line for ``channel``."""

    def in_line():
        mailbox = layer._mailboxes.get(channel)
        return mailbox is not None and len(mailbox._waiters or ()) == readers

    await until(in_line)


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread


async def count_calls(function, *args):
    """How many functions, of Python and of C, awaiting ``function(*args)`` calls.

    Not what is called as garbage of other tests is collected.
    """
    calls = 0

    def profile(frame, event, arg):
        nonlocal calls
        calls += event in ("call", "c_call")

    collects = gc.isenabled()
    gc.disable()
    sys.setprofile(profile)
    try:
        await function(*args)
    finally:
        sys.setprofile(None)
        if collects:
            gc.enable()
    return calls
