"""One event loop at a time receives for the whole process; the others ask it to.

A process has one place at the broker to which everything for it is sent, and reads it on one of its
event loops: the first one on which somebody wants to receive. When that loop ends, another one on
which somebody waits takes over by itself, or else the next one on which somebody wants to receive.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeVar

from ..._runtime import backstage, timers
from ..._runtime.backstage import ignore_failure
from ..._runtime.loops import bridge, is_passing
from ...exceptions import BrokerUnavailable
from .handover import Loop, LoopEnded, across, hand_over

__all__ = ["Reader", "Receiver", "patiently"]

_T = TypeVar("_T")

# Seconds for which callers wait for an answer. Longer than a broker takes to restart, or to fail
# over.
PATIENCE = 30.0

# Seconds that an event loop may take to end, or to go on after a pause: asyncio.run pauses between
# its steps.
_MOMENT = 0.05

# Seconds for the readers of an event loop to stop.
_STOPPING = 5.0


class Reader(Protocol):
    """Receives from one server, on the event loop on which it was made."""

    def start(self) -> None:
        """Start to receive, and go on until :meth:`stop`, whatever happens to the connection."""

    def is_ready(self) -> bool:
        """Whether the server sends to this process. It may stay true while a connection breaks."""

    async def be_ready(self) -> None:
        """Wait until the server sends to this process.

        Raises:
            BrokerError: the server refuses.
        """

    def resume_from(self, former: Self) -> None:
        """Go on where the reader of another event loop has stopped. Called before the start."""

    async def wind_down(self) -> bool:
        """Let the server send no more, and hand over what it has sent.

        Returns:
            Whether that is done, so that the reader may be stopped. It may go on nevertheless, with
            :meth:`be_ready`.
        """

    def abandon(self) -> None:
        """Hand over nothing more. For event loops that do not run, and perhaps never will."""

    async def stop(self) -> None:
        """Disconnect, if connected. What waits in :meth:`be_ready` gets an error."""


_Reader = TypeVar("_Reader", bound=Reader)


class Receiver(Generic[_Reader]):
    """The readers of a process, one for each server, on one of its event loops.

    Args:
        make_readers: makes a reader for each server, for the running event loop, which is about to
            receive. Called without an ``await``, and never by two threads at a time.
        waiting: the event loops on which somebody waits for what is received.
        is_needed: whether something would be lost if nobody received for a while.
    """

    def __init__(
        self,
        make_readers: Callable[[], list[_Reader]],
        waiting: Callable[[], Iterable[Loop]],
        is_needed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._make_readers = make_readers
        self._waiting = waiting
        self._is_needed = is_needed
        # Held to start, or to decide about it.
        self._lock = threading.Lock()
        # The loop that receives, or did before it ended, and a task that ends with it.
        self._loop: Loop | None = None
        self._life: asyncio.Task[None] | None = None
        # How many callers wait until this process receives, and whether that is being given up.
        self._hopeful, self._resting = 0, False
        self._returning: asyncio.Future[None] | None = None
        #: For each server; empty as long as nobody has wanted to receive.
        self.readers: list[_Reader] = []

    @property
    def loop(self) -> Loop | None:
        """The event loop that receives, if there is one and it runs."""
        loop, life = self._loop, self._life
        if loop is None or life is None or life.done() or not loop.is_running():
            return None
        return loop

    # Other event loops

    async def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Await ``work()`` on the event loop that receives, or here if there is none.

        It is done again if that event loop ends meanwhile. An event loop that exists for a single
        call leaves it to the bridge.
        """
        here = asyncio.get_running_loop()
        while True:
            home, life = self.loop, self._life
            if home is None or home is here:
                # By the time that the bridge does it, another event loop may receive.
                return await (bridge.cross(self.run(work)) if is_passing(here) else work())
            with contextlib.suppress(LoopEnded):
                return await self._run_there(home, life, work)

    async def _run_there(
        self,
        loop: Loop,
        life: "asyncio.Task[None] | None",
        work: Callable[[], Coroutine[Any, Any, _T]],
    ) -> _T:
        """Await ``work()`` on the event loop that receives, which is another one.

        Raises:
            LoopEnded: it has ended meanwhile.
        """
        try:
            return await across(loop, work())
        except BrokerUnavailable:
            # A loop that ends closes its connections first, which callers that need one are told.
            ending = life is None or life.done() or life.cancelling()
            if not ending or self._life is None:  # or it was stopped
                raise
            await timers.sleep(_MOMENT)
            raise LoopEnded from None

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Let ``callback`` be called on the event loop that receives, if there is one."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(callback)

    # Starting

    def is_ready(self) -> bool:
        """Whether this process receives from every server."""
        if self._resting or self.loop is None:
            return False
        for reader in self.readers:  # noqa: SIM110 - all() takes twice as long, for every message
            if not reader.is_ready():
                return False
        return True

    async def be_ready(self) -> None:
        """Receive on this event loop, unless another one does, and wait until every server sends.

        Raises:
            BrokerUnavailable: a server has not answered.
            BrokerError: a server refuses.
        """
        if self.is_ready():
            return
        here = asyncio.get_running_loop()
        if is_passing(here):
            await bridge.cross(self.be_ready())
            return
        while not self.is_ready():
            if self._resting:
                await timers.sleep(_MOMENT)
                continue
            if self._is_paused():
                await timers.sleep(_MOMENT)
            with self._lock:
                self._hopeful += 1
                if self.loop is None:
                    self._start()
                home, life, ready = self._loop, self._life, partial(_all_ready, self.readers)
            here_or_there = (
                ready() if home is None or home is here else self._run_there(home, life, ready)
            )
            try:
                await patiently(here_or_there)
            except LoopEnded:
                continue
            finally:
                with self._lock:
                    self._hopeful -= 1

    def _is_paused(self) -> bool:
        """Whether the event loop that receives does not run at this moment, but has not ended."""
        life = self._life
        return (
            self.loop is None
            and not (life is None or life.done())
            and not (self._loop is None or self._loop.is_closed())
        )

    def _start(self) -> None:
        """Let the running event loop receive from now on. The lock is held."""
        former = self.readers
        _abandon(former, self._loop, self._life)
        self._loop, self.readers = asyncio.get_running_loop(), self._make_readers()
        for reader, before in zip(self.readers, former, strict=False):  # there may be none before
            reader.resume_from(before)
        for reader in self.readers:
            reader.start()
        self._life = backstage.start(_live(self.readers))
        self._life.add_done_callback(self._ended)

    def _ended(self, life: "asyncio.Task[None]") -> None:
        """Let another event loop take over as this one ends; :meth:`stop` is no such end."""
        if self._life is life:
            hand_over(self._waiting, self._take_over)

    def _take_over(self) -> None:
        with self._lock:
            if self._life is not None and self._life.done():
                self._start()

    # The end

    async def rest(self) -> None:
        """Let the connections go, if it is this event loop that receives and nobody here waits.

        Another one goes on if somebody waits there, and else the next one that is to receive. What
        is at the broker stays there.
        """
        here = asyncio.get_running_loop()
        with self._lock:
            life = self._life
            if life is None or self.loop is not here or self._resting or self._is_wanted(here):
                return
            self._resting = True
        try:
            done = await asyncio.gather(*(reader.wind_down() for reader in self.readers))
            if all(done) and not self._is_wanted(here):
                await _end(life, self.readers)
                return
        finally:
            self._resting = False
        self._returning = asyncio.ensure_future(self.be_ready())
        self._returning.add_done_callback(ignore_failure)

    def _is_wanted(self, here: Loop) -> bool:
        return bool(self._hopeful) or here in set(self._waiting()) or self._is_needed()

    async def stop(self) -> None:
        """Stop receiving, on the event loop that does or when that does not run."""
        with self._lock:
            loop, life, readers = self._loop, self._life, self.readers
            self._loop, self._life, self.readers = None, None, []
        if life is not None and loop is asyncio.get_running_loop():
            await _end(life, readers)
        else:
            _abandon(readers, loop, life)


async def patiently(awaitable: Awaitable[_T]) -> _T:
    """Await what a broker is to answer to, for as long as callers wait for one.

    Raises:
        BrokerUnavailable: it has not answered.
    """
    try:
        async with timers.timeout(PATIENCE):
            return await awaitable
    except TimeoutError:
        raise BrokerUnavailable(f"The broker did not answer for {PATIENCE:g} seconds") from None


async def _all_ready(readers: Iterable[Reader]) -> None:
    for reader in readers:
        await reader.be_ready()


async def _live(readers: Iterable[Reader]) -> None:
    """Stay until the event loop ends, or the readers are to stop, and stop them then."""
    try:
        await asyncio.get_running_loop().create_future()
    except GeneratorExit:  # the event loop was closed as it was, and nothing can be awaited
        raise
    except BaseException:
        await asyncio.gather(*(reader.stop() for reader in readers))
        raise


async def _end(life: "asyncio.Task[None]", readers: Iterable[Reader]) -> None:
    life.cancel()
    await asyncio.wait((life,), timeout=_STOPPING)
    # The task stops them, unless it was cancelled before it began.
    await asyncio.gather(*(reader.stop() for reader in readers))


def _abandon(
    readers: Iterable[Reader], loop: Loop | None, life: "asyncio.Task[None] | None"
) -> None:
    """Let go of the readers of an event loop that has ended, or stands still."""
    for reader in readers:
        reader.abandon()
    if loop is not None and life is not None and not life.done():
        with contextlib.suppress(RuntimeError):  # it has been closed
            loop.call_soon_threadsafe(life.cancel)
