"""What comes in to one connection: client events, read ahead, and messages of its channel layer."""

import asyncio
from collections.abc import Callable
from typing import Any

from .exits import current_task, is_crash
from .types import Mailbox, Message, Receive

__all__ = ["PROBE", "READ_AHEAD", "Intake"]

#: A text frame by which a client asks whether anything is there that could answer. Pages cannot
#: send pings (RFC 6455, section 5.5.2). It never reaches a consumer.
PROBE = '{"type":"channels.ping"}'

# Client events held while a handler runs. Enough to see a disconnect behind a few frames, few
# enough that a client which floods is held back by TCP.
READ_AHEAD = 8


class Intake:
    """Two sources, merged: in order per source, and in turn while both have something.

    One task reads the client, up to a bound ahead of the handlers. The mailbox is filled by other
    consumers, from any thread. Both wake the one task that waits here.

    Args:
        disconnect_type: the type of the client's last event, or None where there is none.
    """

    __slots__ = (
        "_disconnect_type",
        "_events",
        "_over",
        "_prefer_mailbox",
        "_read_ahead",
        "_reader",
        "_refused",
        "_resumed",
        "_room",
        "_stopped",
        "_waiter",
        "failure",
        "from_layer",
        "hold",
        "loop",
        "mailbox",
    )

    def __init__(self, disconnect_type: str | None) -> None:
        #: The event loop of the connection.
        self.loop = asyncio.get_running_loop()
        self._disconnect_type = disconnect_type
        # Reading ahead is for noticing a disconnect. Without one (a worker), what was read but not
        # handled would be lost with the consumer, so the next is read when the last was handled.
        self._read_ahead = READ_AHEAD if disconnect_type else 1
        # Not a deque, which would occupy 760 bytes for a handful of events.
        self._events: list[Message] = []
        self._room: asyncio.Future[None] | None = None
        self._reader: asyncio.Task[Any] | None = None  # the task that reads, while it does
        self._over = self._refused = False
        self._stopped: asyncio.Future[None] | None = None  # awaited by stop()
        self._resumed: asyncio.Future[None] | None = None  # awaited by the reader meanwhile
        self._waiter: asyncio.Future[None] | None = None
        self._prefer_mailbox = False
        #: The consumer's mailbox; None while it has none, and when its messages are not wanted.
        self.mailbox: Mailbox | None = None
        #: Whether the message that :meth:`next` gave last came from the layer.
        self.from_layer = False
        #: Stops (True) and resumes (False) reading the client, where the server reads on unasked.
        self.hold: Callable[[bool], None] | None = None
        #: Why reading the client failed.
        self.failure: BaseException | None = None

    async def read(
        self, receive: Receive, ended: Callable[[bool], None], probed: Callable[[], None]
    ) -> None:
        """Read the client in this task, until it has left or :meth:`end` is called.

        Args:
            receive: the server's.
            ended: called when nothing more can be read: with True when the client's last event has
                been read or the server says that the client has left, and with False when reading
                has failed for another reason, so that the client may still be there.
            probed: called when the client has sent :data:`PROBE`, also while a handler runs.

        Raises:
            CancelledError: the task was cancelled, and not by :meth:`stop`.
        """
        reader = asyncio.current_task()
        if reader is None:  # a task of the server's own kind, for which asyncio can do little
            await self.loop.create_task(self.read(receive, ended, probed))
            return
        others = reader.cancelling()
        while not self._over:
            self._reader = reader
            try:
                await self._read(receive, ended, probed)
                return
            except BaseException as error:
                if current_task() is not reader:  # nothing runs this any more
                    if isinstance(error, GeneratorExit):
                        raise
                    return  # the GeneratorExit was turned into another exception
                by_stop = self._stopped is not None and reader.cancelling() <= others + 1
                if not (by_stop and isinstance(error, asyncio.CancelledError)):
                    if not is_crash(error, reader, others):
                        raise
                    self._fail(error, ended)
                    return
            finally:
                self._reader = None
                if self._stopped is not None:  # pragma: no branch - else this returns or raises
                    reader.uncancel()
                    _release(self._stopped)
                    self._stopped = None
            if self._resumed is not None:  # pragma: no branch - set by stop(), which led here
                await self._resumed

    async def stop(self) -> bool:
        """Stop reading the client. Returns whether it was being read."""
        if self._reader is None:
            return False
        stopped = self._stopped
        if stopped is None:  # else another task is stopping it at this moment
            self._stopped = stopped = self.loop.create_future()
            self._resumed = self.loop.create_future()
            self._reader.cancel()
        await asyncio.wait((stopped,), timeout=1)
        return True

    def resume(self) -> None:
        """Read the client again after :meth:`stop`, but not after :meth:`end`."""
        _release(self._resumed)

    async def end(self) -> None:
        """Stop reading the client for good."""
        self._over = True
        await self.stop()
        _release(self._resumed)

    async def _read(
        self, receive: Receive, ended: Callable[[bool], None], probed: Callable[[], None]
    ) -> None:
        events = self._events
        while not self._over:  # pragma: no branch - tracers miss what throw() resumes
            event = await receive()
            if event.get("text") == PROBE:
                probed()
                continue
            events.append(event)
            if event["type"] == self._disconnect_type:
                break
            self.wake()
            if len(events) >= self._read_ahead:
                self._room = self.loop.create_future()
                if self.hold is None:
                    await self._room
                else:
                    self.hold(True)
                    try:
                        await self._room
                    finally:
                        self.hold(False)
        ended(True)
        self.wake()

    def _fail(self, error: BaseException, ended: Callable[[bool], None]) -> None:
        """Reading has failed, for whatever a server or a middleware has raised."""
        self.failure = error
        # ASGI: servers raise a subclass of OSError when the client has disconnected.
        ended(isinstance(error, OSError))
        self.wake()

    def put(self, event: Message) -> None:
        """Add a client event that the server owes."""
        self._events.append(event)
        self.wake()

    def refuse(self) -> None:
        """What the client has sent and will send is not wanted any more, but for its last event."""
        self._refused = True

    def drop_mailbox(self) -> None:
        """The messages of the channel layer are not wanted any more."""
        self.mailbox = None

    def wake(self) -> None:
        """Tell the waiting task that there is something. On the event loop's thread only."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def wait(self) -> "asyncio.Future[None]":
        """What to await until something comes."""
        self._waiter = waiter = self.loop.create_future()
        return waiter

    def next(self) -> Message | None:
        """The next message, or None when neither source has one."""
        mailbox, events = self.mailbox, self._events
        if not events and self._room is not None:
            self._make_room()
        if mailbox is not None and (self._prefer_mailbox or not events):
            message = mailbox.take()
            if message is not None:
                self._prefer_mailbox = False
                self.from_layer = True
                return message
        while events:
            self._prefer_mailbox = True
            self.from_layer = False
            if self._room is not None and self._disconnect_type:
                self._make_room()
            event = events.pop(0)
            if not self._refused or event["type"] == self._disconnect_type:
                return event
        return None

    def _make_room(self) -> None:
        """Let the reader go on."""
        room, self._room = self._room, None
        _release(room)


def _release(waiter: "asyncio.Future[None] | None") -> None:
    """Let what awaits ``waiter``, if anything does, go on."""
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
