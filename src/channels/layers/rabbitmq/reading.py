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

from ..._runtime import backstage, timers
from ..._runtime.clock import now
from ...exceptions import BrokerUnavailable
from ..broker.reconnecting import Reconnector
from .connecting import Link, Nodes, explain, is_transient, uncancelled
from .line import Line

__all__ = ["QueueReader"]

_IDLE = 30.0  # seconds without a caller after which nothing is kept of a queue
# Seconds without a caller after which a message is given back, or is not awaited any more.
_HOLD = 1.0


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


class QueueReader:
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
        self._line = line
        self._queue = queue
        self._declare = declare
        self._lost = lost
        self._put_back = put_back
        self._reconnector = Reconnector(
            nodes.name, f"receiving from channel {channel}", is_transient, explain
        )
        self._callers: deque[asyncio.Future[_Held]] = deque()
        self._held: deque[_Held] = deque()
        self._wanted = asyncio.Event()
        # Set when a message has come, and at the end.
        self._stirred = asyncio.Event()
        self._closing = False
        self._left = 0.0  # when the last caller gave up
        self._task: asyncio.Task[None] | None = None
        #: How many calls of :meth:`receive` are under way.
        self.callers = 0

    async def receive(self) -> DeliveredMessage:
        """The next message; giving up the wait loses nothing."""
        self.callers += 1
        try:
            while True:
                held = self._held.popleft() if self._held else await self._next()
                if held.acknowledged or await self._take(held):
                    return held.message
        finally:
            self.callers -= 1

    async def _next(self) -> _Held:
        """Wait in line for a message."""
        caller: asyncio.Future[_Held] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = backstage.start(self._reconnector.run(self._read))
        try:
            return await caller
        except asyncio.CancelledError:
            if not caller.cancelled() and caller.done() and caller.exception() is None:
                self._keep(caller.result())  # it came as the caller was cancelled
            else:
                with contextlib.suppress(ValueError):
                    self._callers.remove(caller)
                self._left = now()
            raise

    async def _take(self, held: _Held) -> bool:
        """Acknowledge a message for a caller; whether it is the caller's."""
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
            self._keep(held)

    def _keep(self, held: _Held) -> None:
        """Keep a message for the next caller, before all others."""
        self._held.appendleft(held)
        self._serve()
        self._wanted.set()
        if self._closing and held.acknowledged:
            self._held.clear()
            backstage.start(_quietly(self._put_back(held.message)))

    def _serve(self) -> None:
        while self._held and self._callers:
            caller = self._callers.popleft()
            if not caller.done():
                caller.set_result(self._held.popleft())

    # Reading

    async def _read(self) -> bool:
        """Read over a connection as long as callers come; whether another one is needed."""
        while await self._want():
            try:
                link = await self._line.get()
                await self._declare(link)
                while self._callers:
                    message = await uncancelled(link.channel.basic_get(self._queue))
                    if message.delivery_tag is None:  # it is empty
                        await self._wait_for_one(link)
                    else:
                        self._came(message, link)
                    self._reconnector.works()
            except Exception as error:
                if not is_transient(error):
                    self._fail(explain(error, "to hand out messages"))
                raise
        return False

    async def _want(self) -> bool:
        """Wait for a caller; False if none comes for long."""
        while not self._callers:
            if self._closing:
                return False
            self._wanted.clear()
            try:
                async with timers.timeout(_HOLD if self._held else _IDLE):
                    await self._wanted.wait()
            except TimeoutError:
                if not self._held:
                    return bool(self._callers)  # one may have come in this very turn
                await self._give_back()
        return True

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
                    (stirred, link.over), timeout=_HOLD, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            stirred.cancel()
            await _quietly(uncancelled(link.channel.basic_cancel(tag)))
            for message in came:  # acknowledged from now on, and not before: see above
                self._came(message, link)

    def _is_awaited(self) -> bool:
        """Whether a caller waits for a message, or did until recently."""
        return not self._closing and (bool(self._callers) or now() < self._left + _HOLD)

    def _came(self, message: DeliveredMessage, link: Link) -> None:
        self._held.append(_Held(message, link))
        self._serve()

    async def _give_back(self) -> None:
        """Return to the queue what nobody here waits for."""
        held, self._held = self._held, deque()
        for each in held:
            if each.acknowledged:
                await _quietly(self._put_back(each.message))
            elif each.link.is_open:
                await _quietly(each.link.channel.basic_nack(each.message.delivery_tag or 0))

    def _fail(self, error: Exception) -> None:
        """Tell those who wait why nothing will come."""
        callers, self._callers = self._callers, deque()
        for caller in callers:
            if not caller.done():
                caller.set_exception(error)

    # The end

    def is_wanted(self) -> bool:
        """Whether anybody waits for a message."""
        return bool(self._callers)

    async def aclose(self) -> None:
        """Stop, and give back what was sent but not received."""
        self._closing = True
        self._fail(BrokerUnavailable("The layer has been closed"))
        self._wanted.set()
        self._stirred.set()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait((task,), timeout=1.0)
            task.cancel()
            await asyncio.wait((task,), timeout=1.0)
        await self._give_back()


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
