"""What transports share whose broker pushes: what is published to a process comes once, or never.

A process has one address of its own at such a broker, and one for each group it has members in.
It listens on one event loop, and hands on what comes. Memberships are this process's alone: others
learn of them by what they are sent.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Generic, Protocol, Self, TypeVar

from ...exceptions import InvalidNameError
from ..local import Late
from ..statistics import UNDECODABLE
from .background import Background
from .memberships import Memberships
from .process import process_of
from .receiver import Reader, Receiver, patiently
from .transport import Recipient

__all__ = [
    "JOIN",
    "LEAVE",
    "NOTHING",
    "TO_CHANNEL",
    "TO_GROUP",
    "BroadcastReader",
    "Broadcasting",
    "entry",
]

#: What an entry for a process is: a message to a channel or to a group, an invitation to join a
#: group or to leave it, or nothing, which only shows that it has arrived.
TO_CHANNEL, TO_GROUP, JOIN, LEAVE, NOTHING = b"c", b"g", b"j", b"l", b"h"


def entry(kind: bytes, name: str, content: bytes) -> bytes:
    """What is sent to a process, for :meth:`Broadcasting.received` there.

    Args:
        kind: one of the constants of this module.
        name: of a channel for :data:`TO_CHANNEL`, and else of a group.
        content: the message, or the name of the channel that joins or leaves.
    """
    return b"%b%b %b" % (kind, name.encode("ascii"), content)


class BroadcastReader(Reader, Protocol):
    """Listens to one server, on the event loop on which it was made."""

    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that was published to this process before has been handed on.

        Others wait for it, too: it is to be shielded.
        """

    def hurry(self) -> None:
        """Hand on at once what has come, whether there is room for it or not."""

    def resume_from(self, former: Self) -> None:
        """Go on where the reader of another event loop has stopped. Called before the start."""


R = TypeVar("R", bound=BroadcastReader)


class Broadcasting(ABC, Generic[R]):
    """A transport's memberships, and all that receives. A subclass knows the broker.

    It implements the abstract methods here, and what is left of
    :class:`~channels.layers.broker.transport.Transport`: sending, and named channels.

    Args:
        recipient: the layer.
    """

    def __init__(self, recipient: Recipient) -> None:
        self._recipient = recipient
        self._local = recipient.local
        self._process = recipient.client_prefix
        #: What receives, on one event loop at a time.
        self.receiver: Receiver[R] = Receiver(
            self._start_readers, self._local.waiting_loops, self.is_needed
        )
        self.is_ready = self.receiver.is_ready
        self._memberships = Memberships(
            self._local,
            self.receiver.call_soon,
            join=self.subscribe,
            leave=self.unsubscribe,
            catch_up=self.subscribe,
        )
        self.emptied = self._memberships.emptied
        self._background = Background()

    # For subclasses to implement

    @abstractmethod
    def make_readers(self) -> list[R]:
        """A reader for each server, for the running event loop, which is about to receive.

        They listen to all of :meth:`groups` from the start.
        """

    @abstractmethod
    def subscribe(self, group: str) -> Awaitable[object]:
        """Listen to a group, on the event loop that receives.

        Returns:
            What is done when what is sent from now on arrives, and what was sent before has been
            handed on. Also for a group that the process listens to already.
        """

    @abstractmethod
    def unsubscribe(self, group: str) -> Awaitable[object] | None:
        """Listen to a group no more. What is returned, if anything, is awaited."""

    @abstractmethod
    async def tell(self, process: str, kind: bytes, group: str, channel: str) -> None:
        """Send :data:`JOIN` or :data:`LEAVE` to another process, if it is there."""

    @abstractmethod
    async def delete_all(self) -> None:
        """Delete everything that the layer keeps at the broker: queues, memberships, states."""

    @abstractmethod
    async def close_connections(self) -> None:
        """Close the connections of the running event loop, but for the receiver's."""

    @abstractmethod
    def connected_loops(self) -> set[asyncio.AbstractEventLoop]:
        """The event loops that have connections, but for the receiver's."""

    def reader_of(self, group: str) -> R:
        """What listens to a group's server: the only one. Called where it listens only."""
        return self.receiver.readers[0]

    # Receiving

    async def ready(self) -> None:
        """Listen, unless this process does, and wait until it does."""
        if not self.receiver.is_ready():
            await self.prepare()
            await self.receiver.be_ready()

    async def prepare(self) -> None:
        """Find out what is to be known before readers are made. A subclass may have something."""

    def _start_readers(self) -> list[R]:
        self._memberships.take_over()
        return self.make_readers()

    def is_needed(self) -> bool:
        """Whether messages would be lost while this process does not listen. Called in any thread.

        A subclass may know of more.
        """
        return bool(self._memberships) or bool(self._local.waiting_loops())

    def receives_here(self) -> bool:
        """Whether it is the running event loop that listens."""
        return self.receiver.loop is asyncio.get_running_loop()

    def received(self, data: bytes, patience: float) -> Late | None:
        """Something came for this process; what is returned is left to be done later.

        Args:
            data: see :func:`entry`.
            patience: see :meth:`~channels.layers.mailbox.Mailbox.put`.

        Raises:
            UnicodeDecodeError, InvalidNameError: it is rubbish.
        """
        head, _, content = data.partition(b" ")
        kind, name = head[:1], head[1:].decode("ascii")
        if kind == TO_CHANNEL:
            return self._recipient.deliver_to_channel(name, content, 0.0, patience)
        if kind == TO_GROUP:
            return self._recipient.deliver_to_group(name, content, 0.0, patience)
        if kind in (JOIN, LEAVE):
            self._obey(kind, name, content.decode("ascii"))
        elif data != NOTHING:
            raise InvalidNameError("No kind of entry that this version knows")
        return None

    def _obey(self, kind: bytes, group: str, channel: str) -> None:
        """Another process lets one of our channels join or leave a group."""
        self._recipient.require_valid_group_name(group)
        self._recipient.require_valid_channel_name(channel)
        if process_of(channel) == self._process:
            change = self._join if kind == JOIN else self._leave
            self._background.start(change(group, channel))

    def drop_rubbish(self) -> None:
        """Count something that came for this process and cannot be read."""
        self._local.drop(UNDECODABLE, "what was sent to this process")

    def lost(self, reason: str) -> None:
        """What is sent to this process is lost from now on."""
        self._local.release_all()

    def restored(self, reason: str) -> None:
        """It arrives again: consumers that may have missed a message are told, once."""
        self._local.announce_gap(reason)

    # Groups

    def groups(self) -> list[str]:
        """Those that this process is, or is about to be, a member of. Not all have members yet."""
        return list(self._memberships)

    async def join(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group."""
        await self.receiver.run(lambda: self._join(group, channel))

    async def _join(self, group: str, channel: str) -> None:
        await self.ready()
        if not self.receives_here():  # another event loop was faster
            await self.join(group, channel)
            return
        await patiently(self._memberships.join(group, channel))

    async def leave(self, group: str, channel: str) -> None:
        """Remove a channel of this process from a group."""
        if self._local.is_member(group, channel):
            await self.receiver.run(lambda: self._leave(group, channel))

    async def _leave(self, group: str, channel: str) -> None:
        if self.receives_here():  # the channel gets what was published before
            await asyncio.shield(self.reader_of(group).barrier())  # others wait for it, too
        await self._memberships.part(group, channel)

    async def invite(self, process: str, group: str, channel: str) -> None:
        """Ask another process, if it is there, to add one of its channels to a group."""
        await self.tell(process, JOIN, group, channel)

    async def dismiss(self, process: str, group: str, channel: str) -> None:
        """Ask another process, if it is there, to remove one of its channels from a group."""
        await self.tell(process, LEAVE, group, channel)

    # The whole

    async def flush(self) -> None:
        """Forget every message, every group and every state."""
        await self.receiver.run(self._flush)

    async def _flush(self) -> None:
        if self.receives_here():
            for reader in self.receiver.readers:
                reader.hurry()
                await asyncio.shield(reader.barrier())
        await self._local.flush()
        for group in self._memberships:
            self._memberships.emptied(group)
        self._memberships.leave_emptied()
        await self.delete_all()

    async def aclose(self) -> None:
        """Stop receiving, and close every connection."""
        loops = self.connected_loops() | {self.receiver.loop}
        for loop in loops - {asyncio.get_running_loop()}:
            if loop is not None and loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._aclose(), loop))
        await self._aclose()

    async def _aclose(self) -> None:
        """Let go of what belongs to this event loop."""
        await self.close_connections()
        if self.receiver.loop in (None, asyncio.get_running_loop()):
            self._background.cancel()
            await self._local.flush()
            await self.receiver.stop()
            self._memberships.leave_all()
