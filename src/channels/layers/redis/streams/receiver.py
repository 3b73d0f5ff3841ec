"""Who reads the inboxes of this process: one event loop at a time, which keeps their lease."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from ...._runtime import backstage, timers
from ...._runtime.loops import PerLoop, bridge, is_passing
from ...broker.handover import Loop, LoopEnded, across, hand_over
from ..connection.commands import PATIENCE, BrokerUnavailable
from ..connection.errors import forget
from ..connection.sender import Sender
from .inbox import RENEWED_AT_ONCE, InboxReader
from .membership import Membership

__all__ = ["Receiver"]

_T = TypeVar("_T")

# Seconds between attempts to call on an event loop that is ending.
_ENDING = 0.05


class Receiver:
    """A process's inboxes, one on each server, read on one of its event loops.

    It is the first loop on which somebody wants to receive. When that ends, another one goes on
    where it stopped. Inboxes and memberships have a lease, which is renewed for as long.

    Args:
        make_readers: makes a reader for each server, for the running event loop.
        lease: seconds for which the servers keep what is this process's after a sign of life. One
            is given every third of that.
        membership: the groups that the process is a member of.
        outgoing: the links of each event loop.
        waiting: the event loops on which somebody waits for what the inboxes bring.
    """

    def __init__(
        self,
        make_readers: Callable[[], list[InboxReader]],
        lease: float,
        membership: Membership,
        outgoing: PerLoop[Sender],
        waiting: Callable[[], Iterable[Loop]],
    ) -> None:
        self._make_readers = make_readers
        self._lease = lease
        self._membership = membership
        self._outgoing = outgoing
        self._waiting = waiting
        self._starting = threading.Lock()
        self._heartbeat: asyncio.Task[None] | None = None
        # How many wait for the inboxes to be read, and whether that is being given up.
        self._hopeful, self._resting = 0, False
        #: The event loop that reads, or did before it ended.
        self.loop: Loop | None = None
        #: For each server; empty as long as nobody has wanted to receive.
        self.readers: list[InboxReader] = []

    def _is_read(self) -> bool:
        """Whether there is an event loop that reads, as far as one can know."""
        loop, heartbeat = self.loop, self._heartbeat
        return not (loop is None or loop.is_closed() or heartbeat is None or heartbeat.done())

    async def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Await ``work()`` on the event loop that reads, or here if there is none.

        It is done again if that event loop ends meanwhile.
        """
        here = asyncio.get_running_loop()
        while True:
            home = self.loop if self._is_read() else None
            if home is None or home is here or not home.is_running():
                return await (bridge.cross(work()) if is_passing(here) else work())
            heartbeat = self._heartbeat
            try:
                return await across(home, work())
            except LoopEnded:
                continue
            except BrokerUnavailable:
                # An event loop that ends closes its connections first, and whoever needs them
                # then is told so.
                if heartbeat is None or not (heartbeat.done() or heartbeat.cancelling()):
                    raise
                await timers.sleep(_ENDING)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have ``callback`` called on the event loop that reads, if there is one."""
        loop = self.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(callback)

    # Starting

    def is_ready(self) -> bool:
        """Whether the inboxes are read, and have been found or made."""
        if not self._is_read():
            return False
        for reader in self.readers:  # noqa: SIM110 - all() takes twice as long, for every message
            if not reader.ready.done():
                return False
        return True

    async def be_ready(self) -> None:
        """Have the inboxes read, by this event loop unless another one does.

        Raises:
            BrokerUnavailable: a server has not answered.
            BrokerError: one refused.
        """
        while self._resting:
            await timers.sleep(_ENDING)
        if self.is_ready():
            return
        with self._starting:
            self._hopeful += 1
            if not self._is_read():
                self._start()
        try:
            for reader in self.readers:
                if not reader.ready.done():
                    await self._until_ready(reader.ready)
        finally:
            with self._starting:
                self._hopeful -= 1

    async def _until_ready(self, ready: "asyncio.Future[None]") -> None:
        loop = ready.get_loop()
        try:
            async with timers.timeout(PATIENCE):
                if loop is asyncio.get_running_loop():
                    await asyncio.shield(ready)
                else:
                    await across(loop, _await(ready))
        except LoopEnded:
            await self.be_ready()
        except TimeoutError:
            raise BrokerUnavailable(f"The broker did not answer for {PATIENCE:g} seconds") from None

    def _start(self) -> None:
        before = self.readers
        self.loop = asyncio.get_running_loop()
        self._membership.take_over()
        self.loop.call_soon(self._membership.leave_emptied)  # had the one before been told, too
        self.readers = readers = self._make_readers()
        for reader, former in zip(readers, before, strict=False):  # there may be none before
            reader.resume_from(former)
        for reader in readers:
            reader.start()
        self._heartbeat = backstage.start(self._renew_lease(readers))
        self._heartbeat.add_done_callback(self._ended)

    def _ended(self, heartbeat: "asyncio.Task[None]") -> None:
        """Have another event loop read as this one ends; :meth:`stop` is no such end."""
        if self._heartbeat is heartbeat:
            hand_over(self._waiting, self._go_on)

    def _go_on(self) -> None:
        with self._starting:
            if self._heartbeat is not None and self._heartbeat.done():
                self._start()

    # The lease

    async def _renew_lease(self, readers: list[InboxReader]) -> None:
        """Give signs of life, for as long as the event loop runs."""
        try:
            while True:
                await timers.sleep(self._lease / 3)
                for reader in readers:
                    reader.trim()
                await asyncio.gather(*map(self._renew, range(len(readers)), readers))
                self._membership.leave_emptied()
        except GeneratorExit:  # the event loop was closed as it was, and nothing can be awaited
            raise
        except BaseException:
            await asyncio.gather(*(reader.stop() for reader in readers))
            raise

    async def _renew(self, partition: int, reader: InboxReader) -> None:
        link = self._outgoing.get().links[partition]
        groups = self._membership.keys(partition)
        for start in range(0, len(groups) or 1, RENEWED_AT_ONCE):
            chunk = self._membership.still(partition, groups[start : start + RENEWED_AT_ONCE])
            ((count, *rest),) = reader.renewals(chunk)
            keys, arguments = rest[:count], rest[count:]
            try:
                answer = await link.run("renew", keys, arguments)
            except Exception:  # noqa: BLE001 - the reader sees it too, and tells
                return
            if not reader.heed_renewal(answer):
                await reader.reset()
                return

    # What the servers keep

    @property
    def inboxes(self) -> list[str]:
        """The key of the inbox on each server."""
        return [reader.inbox for reader in self.readers]

    @property
    def kept_keys(self) -> list[str]:
        """The keys by which this process knows what it has missed."""
        return [key for reader in self.readers for key in (reader.inbox, reader.lost)]

    def trim(self, partition: int, last: str) -> None:
        """Let a server drop the entries before ``last``, which have been read."""
        if partition < len(self.readers):
            link, inbox = self._outgoing.get().links[partition], self.readers[partition].inbox
            link.call("XTRIM", inbox, "MINID", last).add_done_callback(forget)

    async def rest(self) -> None:
        """Stop reading, if it is this event loop that reads and nobody waits for it here.

        Another one goes on if somebody waits there, and else the next one that is to receive. The
        servers keep inboxes and memberships for as long as their lease.
        """
        here, heartbeat = asyncio.get_running_loop(), self._heartbeat
        with self._starting:
            reads = self._is_read() and self.loop is here and heartbeat is not None
            if not reads or self._resting or self._hopeful or here in set(self._waiting()):
                return
            self._resting = True
        try:
            if heartbeat is not None:
                heartbeat.cancel()
                await asyncio.wait((heartbeat,), timeout=5)
        finally:
            self._resting = False

    async def stop(self) -> None:
        """Stop reading, on the event loop that does, and remove the inboxes."""
        heartbeat, self._heartbeat, self.loop = self._heartbeat, None, None
        readers, self.readers = self.readers, []
        if heartbeat is not None and not heartbeat.done():
            heartbeat.cancel()
            await asyncio.wait((heartbeat,), timeout=5)
        for link, reader in zip(self._outgoing.get().links, readers, strict=False):
            # Closing the link waits for it. A lease does the same, later.
            link.call("UNLINK", reader.inbox, reader.lost).add_done_callback(forget)


async def _await(future: "asyncio.Future[_T]") -> _T:
    return await asyncio.shield(future)
