"""Reading the queue of a named channel, each message of which goes to one caller.

A caller asks for the next message. If there is none, RabbitMQ is told to send it when it comes, and
no more than that, so that what this process does not handle yet stays for others. A message is
acknowledged, and RabbitMQ has answered what follows, before the caller gets it: so none is handled
twice. What was sent to a caller that has given up waiting is kept for the next one, and after a
while given back.

Order needs care with quorum queues. What RabbitMQ is sending to a consumer that is cancelled at
that moment goes back to the queue, but late: what was sent after it may be handed out before it. So
a consumer is cancelled while its one message is not acknowledged, when RabbitMQ sends it nothing
else, or when nobody has waited for some time.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from ..._runtime import backstage
from ..._runtime.clock import now
from ...exceptions import BrokerError
from ..broker import named_reader
from ..broker.named_reader import NamedReader
from ..broker.receiver import PATIENCE
from .connecting import Nodes, explain, is_transient
from .line import Line
from .link import Link

__all__ = ["PURPOSE", "QueueReader"]

#: What the connections are for over which named channels are read.
PURPOSE = "reading named channels"


@dataclass(slots=True)
class _Held:
    """A message that was sent to this process.

    Attributes:
        message: what was sent.
        link: over which; it is RabbitMQ's again when that breaks.
        acknowledged: whether it is ours for good.
    """

    message: DeliveredMessage
    link: Link
    acknowledged: bool = False


class QueueReader(NamedReader[_Held]):
    """The callers of one event loop that wait for messages of one named channel.

    Args:
        nodes: where the queue is.
        line: the connection over which this event loop reads.
        channel: the channel's name.
        queue: the queue's name.
        declare: makes the queue if it is not there.
        lost: called when a message was acknowledged, or not: nobody knows.
        put_back: appends to the queue what has been acknowledged and is not wanted any more.
    """

    _held: deque[_Held]

    def __init__(
        self,
        nodes: Nodes,
        line: Line[Link],
        channel: str,
        queue: str,
        declare: Callable[[Link], Awaitable[None]],
        lost: Callable[[], None],
        put_back: Callable[[DeliveredMessage], Awaitable[object]],
    ) -> None:
        super().__init__(nodes.name, channel, is_transient, explain, deque[_Held]())
        self._nodes, self._line = nodes, line
        self._channel, self._queue = channel, queue
        # A channel on that connection, or a connection of its own, and since when there was no
        # answer.
        self._link: Link | None = None
        self._silent_since: float | None = None
        self._declare = declare
        self._lost = lost
        self._put_back = put_back
        # Set when a message has come, and at the end.
        self._stirred = asyncio.Event()
        self._left = 0.0  # when the last caller gave up

    # See broker.named_reader.NamedReader

    async def receive(self) -> DeliveredMessage:
        """The next message; giving up the wait loses nothing."""
        return (await self.next()).message

    def caller_left(self) -> None:
        """Take note of it."""
        self._left = now()

    def interrupt(self) -> None:
        """Await no message any more."""
        self._stirred.set()

    def hold_again(self, held: _Held) -> None:
        """Hold a message before all others, or at the end append it to the queue."""
        if self._closing and held.acknowledged:
            backstage.start(_quietly(self._put_back(held.message)))
        else:
            self._held.appendleft(held)

    async def take(self, held: _Held) -> bool:
        """Acknowledge a message for a caller; whether it is the caller's."""
        if held.acknowledged:
            return True
        if not held.link.is_open:
            return False  # it comes again
        acknowledging = asyncio.ensure_future(_acknowledge(held))
        try:
            await asyncio.shield(acknowledging)
        except asyncio.CancelledError:
            acknowledging.add_done_callback(lambda task: self._kept_or_lost(held, task))
            raise
        except Exception:  # noqa: BLE001 - the connection broke; the log is told by whoever reads
            self._lost()
            return False
        return True

    def _kept_or_lost(self, held: _Held, acknowledging: "asyncio.Future[None]") -> None:
        if acknowledging.cancelled() or acknowledging.exception() is not None:
            self._lost()
        else:
            self.keep(held)

    # Reading

    async def read(self) -> bool:
        """Read over a connection as long as callers come."""
        while await self.want():
            link = await self._open_link()
            await self._declare(link)
            while self._callers:
                message = await link.ask(lambda channel: channel.basic_get(self._queue))
                self._silent_since = None
                if message.delivery_tag is None:  # it is empty
                    await self._wait_for_one(link)
                else:
                    self._came(message, link)
                self._reconnector.works()
        await self._close_link()
        return False

    async def _open_link(self) -> Link:
        """What this queue alone is read over: it may give no answer, and others go on.

        After a minute RabbitMQ closes the whole connection over which it owes one. So a queue that
        has given none is asked over a connection of its own.
        """
        if self._link is None or not self._link.is_open:
            await self._close_link()
            if self._silent_since is None:
                self._link = await (await self._line.get()).branch()
            else:
                self._link = await self._connect()
            await self._link.ask(lambda channel: channel.basic_qos(prefetch_count=1))
        return self._link

    async def _connect(self) -> Link:
        try:
            return await self._nodes.connect(PURPOSE)
        except TimeoutError as error:  # that says nothing of the queue
            raise ConnectionError("RabbitMQ let nobody connect in time") from error

    async def _close_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.aclose()

    def examined(self, error: Exception) -> Exception:
        """Tell callers of a queue that gives no answer for long."""
        if not isinstance(error, TimeoutError):
            return error
        self._silent_since = self._silent_since or now()
        if now() - self._silent_since < PATIENCE - self._nodes.response_timeout:
            return error
        return BrokerError(
            f"RabbitMQ has not answered for {PATIENCE:g} seconds when it was asked for messages of "
            f"channel {self._channel}; most nodes that have the queue may be down. If they are up, "
            "it was lost in a crash right after it was made: delete it, with rabbitmqctl "
            f"delete_queue {self._queue}"
        )

    async def _wait_for_one(self, link: Link) -> None:
        """Let RabbitMQ send one message when there is one, unless nobody waits for it for long."""
        came: list[DeliveredMessage] = []
        self._stirred.clear()

        async def receive(message: DeliveredMessage) -> None:
            came.append(message)
            self._stirred.set()

        consuming = await link.ask(lambda channel: channel.basic_consume(self._queue, receive))
        tag = consuming.consumer_tag or ""
        stirred = asyncio.ensure_future(self._stirred.wait())
        try:
            # One that the broker cancels, since the queue was deleted, is not there any more.
            while (
                not came and self._is_awaited() and tag in link.channel.consumers and link.is_open
            ):
                await asyncio.wait(
                    (stirred, link.over),
                    timeout=named_reader.HOLD,
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            stirred.cancel()
            await _quietly(link.ask(lambda channel: channel.basic_cancel(tag)))
            for message in came:  # acknowledged from now on, and not before: see above
                self._came(message, link)

    def _is_awaited(self) -> bool:
        """Whether a caller waits for a message, or did until recently."""
        return not self._closing and (bool(self._callers) or now() < self._left + named_reader.HOLD)

    def _came(self, message: DeliveredMessage, link: Link) -> None:
        self._held.append(_Held(message, link))
        self.serve()

    async def give_back(self) -> None:
        """Return to the queue what nobody here waits for."""
        held = list(self._held)
        self._held.clear()
        for each in held:
            if each.acknowledged:
                await _quietly(self._put_back(each.message))
            elif each.link.is_open:
                await _quietly(each.link.ask(partial(_return, each.message.delivery_tag or 0)))

    async def give_back_all(self) -> None:
        """Do so, and read no more."""
        await self.give_back()
        await self._close_link()


async def _acknowledge(held: _Held) -> None:
    """Acknowledge, and wait for an answer to what follows, so that RabbitMQ has done it."""
    tag = held.message.delivery_tag or 0

    async def acknowledge(channel: Channel) -> None:
        await channel.basic_ack(tag, wait=False)
        await channel.basic_qos(prefetch_count=1)

    await held.link.ask(acknowledge)
    held.acknowledged = True


async def _return(tag: int, channel: Channel) -> None:
    await channel.basic_nack(tag, wait=False)


async def _quietly(call: Awaitable[object]) -> None:
    """Await what may fail: then RabbitMQ has the message, or the log has been told."""
    with contextlib.suppress(Exception):
        await call
