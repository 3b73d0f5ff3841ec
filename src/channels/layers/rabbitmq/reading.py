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

from aiormq.abc import DeliveredMessage

from ..._runtime import backstage
from ..._runtime.clock import now
from ..broker import named_reader
from ..broker.named_reader import NamedReader
from .connecting import Link, Nodes, explain, is_transient, uncancelled
from .line import Line

__all__ = ["QueueReader"]


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
        self._line = line
        self._queue = queue
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
        acknowledging = asyncio.ensure_future(uncancelled(_acknowledge(held)))
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
            link = await self._line.get()
            await self._declare(link)
            while self._callers:
                message = await uncancelled(link.channel.basic_get(self._queue))
                if message.delivery_tag is None:  # it is empty
                    await self._wait_for_one(link)
                else:
                    self._came(message, link)
                self._reconnector.works()
        return False

    async def _wait_for_one(self, link: Link) -> None:
        """Let RabbitMQ send one message when there is one, unless nobody waits for it for long."""
        came: list[DeliveredMessage] = []
        self._stirred.clear()

        async def receive(message: DeliveredMessage) -> None:
            came.append(message)
            self._stirred.set()

        consuming = await uncancelled(link.channel.basic_consume(self._queue, receive))
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
            await _quietly(uncancelled(link.channel.basic_cancel(tag)))
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
                await _quietly(each.link.channel.basic_nack(each.message.delivery_tag or 0))

    give_back_all = give_back


async def _acknowledge(held: _Held) -> None:
    """Acknowledge, and wait for an answer to what follows, so that RabbitMQ has done it."""
    channel = held.link.channel
    await channel.basic_ack(held.message.delivery_tag or 0, wait=False)
    await channel.basic_qos(prefetch_count=1)
    held.acknowledged = True


async def _quietly(call: Awaitable[object]) -> None:
    """Await what may fail: then RabbitMQ has the message, or the log has been told."""
    with contextlib.suppress(Exception):
        await call
