"""Receiving what is published to this process, over one connection after the other.

The queue of the process belongs to the connection: when that breaks, RabbitMQ deletes it with what
was in it, and what is published until another one is there is lost. Consumers are told then.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NoReturn, Protocol, TypeVar

from aiormq.abc import DeliveredMessage

from ..._runtime import backstage, lograte, timers
from ..._runtime.clock import now
from ...exceptions import BrokerUnavailable, Unconfirmed
from ..broker.backpressure import Backpressure
from ..broker.broadcasting import NOTHING
from ..broker.receiver import patiently
from ..broker.reconnecting import Reconnector
from ..local import Late
from .connecting import Link, Nodes, explain, is_transient, uncancelled
from .names import exchange_name, group_key, process_key, process_queue
from .publishing import Outcome, Publisher

__all__ = ["Inbox", "Listener"]

_T = TypeVar("_T")

logger = logging.getLogger("channels.layers")

# Messages that RabbitMQ may send before they are acknowledged, and how many are at a time. A queue
# that belongs to a connection gives none back: this bounds what waits here while mailboxes are
# full.
_PREFETCH, _ACKNOWLEDGED = 500, 100

# Seconds after which fewer are.
_ACKNOWLEDGE_AFTER = 0.05

# Seconds between looks at whether what is published to this process arrives. It does not if
# somebody has deleted the exchange, and with it what was bound.
PROBE_EVERY = 4.0

# Seconds for what was sent to be handed on before the connection is given up.
_LEAVING = 2.0

_MOVED = "the event loop that received has ended"

_numbers = itertools.count(1)


class Listener(Protocol):
    """Gets what comes."""

    def published(self, message: DeliveredMessage, patience: float) -> Late | None:
        """A message came; what is returned is left to be done later."""

    def expired(self, message: DeliveredMessage) -> None:
        """A message has expired in a named channel, whosever that was."""

    def inbox_lost(self, reason: str) -> None:
        """What is published now is lost."""

    def inbox_restored(self, reason: str) -> None:
        """What is published from now on arrives again."""


class Inbox:
    """The queue of this process. Belongs to the event loop on which it was made.

    Args:
        nodes: where to connect.
        prefix: of names at the broker.
        process: the name of this process.
        capacity: messages that the queue may hold.
        groups: those that the process is in, when it connects.
        listener: gets what comes.
        get_publisher: what publishes on the running event loop.
        prepare: awaited with each new connection, before it is used.
    """

    def __init__(
        self,
        nodes: Nodes,
        prefix: str,
        process: str,
        capacity: int,
        groups: Callable[[], Iterable[str]],
        listener: Listener,
        get_publisher: Callable[[], Publisher],
        prepare: Callable[[Link, Listener], Awaitable[None]],
    ) -> None:
        self._nodes = nodes
        self._prefix, self._process = prefix, process
        self._exchange = exchange_name(prefix)
        self._capacity = capacity
        self._groups = groups
        self._listener: Listener | None = listener
        self._get_publisher = get_publisher
        self._prepare: Callable[[Link], Awaitable[None]] = lambda link: prepare(link, listener)
        self._loop = asyncio.get_running_loop()
        self._reconnector = Reconnector(nodes.name, "receiving", is_transient, explain)
        self._link: Link | None = None
        self._queue = ""
        # The groups that the queue is bound for, or is about to be.
        self._bound: set[str] = set()
        #: Whether everything that is published arrives.
        self.up = False
        self._up: asyncio.Future[None] = self._loop.create_future()
        # Whether it was ever, which is when callers wait for it no more.
        self._was_up = self._wound_down = False
        self._gap: str | None = None
        self._down_since = now()
        self._barriers: dict[bytes, asyncio.Future[None]] = {}
        self._tokens = itertools.count(1)
        self._came: deque[DeliveredMessage] = deque()
        self._backpressure = Backpressure()
        self._unacknowledged = self._last_tag = 0
        self._timer: timers.Timer | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        self._task: asyncio.Task[None] | None = None

    # See broker.receiver.Reader

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = backstage.start(self._reconnector.run(self._try_to_listen))

    def is_ready(self) -> bool:
        """Whether the queue was there, if perhaps over another connection."""
        return self._was_up

    async def be_ready(self) -> None:
        """Wait until the queue is there; no longer if it ever was.

        Raises:
            BrokerUnavailable: RabbitMQ could not be reached.
            BrokerError: it refused.
        """
        if self._wound_down:
            self._wound_down = False
            await self._bind(process_key(self._process))
            self._was_up = True
        if not self._was_up:
            await asyncio.shield(self._up)

    def resume_from(self, former: "Inbox") -> None:
        """Take over from another event loop: what is published until it is done is lost."""
        if not former._wound_down:
            self._gap = _MOVED
            self._loop.call_soon(self._lost, _MOVED)

    async def wind_down(self) -> bool:
        """Let RabbitMQ send no more to this process itself, and hand on what it has sent."""
        self._was_up = False
        link = self._link
        if self.up and link is not None:
            with contextlib.suppress(Exception):
                await uncancelled(
                    link.channel.queue_unbind(
                        self._queue, self._exchange, process_key(self._process)
                    )
                )
        _, late = await asyncio.wait((self.barrier(),), timeout=_LEAVING)
        self._wound_down = not late
        return self._wound_down

    def abandon(self) -> None:
        """Hand on nothing any more. For event loops that do not run, and perhaps never will."""
        self._listener = None
        self._backpressure.stop()
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._task.cancel()

    async def stop(self) -> None:
        """Disconnect. What waits for the connection gets an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=2)
        self._fail_waiting(BrokerUnavailable("The layer has been closed"))

    # Groups

    def subscribe(self, group: str) -> "asyncio.Future[None]":
        """Get what is published to ``group``.

        Returns:
            What is done when it comes, and all that was published before has been handed on. Others
            wait for it, too: it is to be shielded.
        """
        if not self.up:
            return self._up  # then it is one of the groups
        if group in self._bound:
            return self.barrier()
        self._bound.add(group)
        return self._start(self._bind(group_key(group)))

    def unsubscribe(self, group: str) -> None:
        """Get what is published to ``group`` no more."""
        self._bound.discard(group)
        link = self._link
        if self.up and link is not None:
            self._start(
                uncancelled(
                    link.channel.queue_unbind(self._queue, self._exchange, group_key(group))
                )
            )

    async def _bind(self, key: str) -> None:
        """Bind the queue; again if another connection has another queue by then."""
        while True:
            await self.wait_until_up()
            link = self._link
            if link is None:  # it has broken in this very turn
                continue
            try:
                await uncancelled(link.channel.queue_bind(self._queue, self._exchange, key))
                return
            except Exception as error:
                # What was refused has closed the channel, so that there will be another.
                if not is_transient(error):
                    raise explain(error, "to bind a queue") from error

    def _start(self, coroutine: Awaitable[_T]) -> "asyncio.Future[_T]":
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that was published before has been handed on, or is known to be lost.

        Others wait for it, too: it is to be shielded.
        """
        if not self.up:
            return self._up
        token = b"%b%d" % (NOTHING, next(self._tokens))
        self._barriers[token] = barrier = self._loop.create_future()
        self._start(self._mark(token, self._queue, direct=True))
        return barrier

    async def _mark(self, token: bytes, key: str, *, direct: bool) -> Outcome | None:
        """Publish a mark to this process, which settles a barrier when it comes.

        Returns:
            What became of it; None if RabbitMQ takes no messages, so that none comes before it.
        """
        outcome = None
        try:
            while token in self._barriers:
                try:
                    outcome = await self._get_publisher().publish(
                        key, token, direct=direct, mandatory=True
                    )
                except Unconfirmed:
                    continue
                break
        except Exception as error:  # noqa: BLE001 - whoever waits goes on
            lograte.log(
                logger, logging.DEBUG, "mark", "Nothing can be sent to this process: %s", error
            )
        if outcome is not Outcome.TAKEN:
            self._settle(token)
        return outcome

    def _settle(self, token: bytes) -> None:
        barrier = self._barriers.pop(token, None)
        if barrier is not None and not barrier.done():
            barrier.set_result(None)

    async def wait_until_up(self) -> None:
        """Wait for the connection to be repaired, if it is broken.

        Raises:
            BrokerUnavailable: it was not.
        """
        if not self._up.done():
            await patiently(asyncio.shield(self._up))
        elif not self.up:
            self._up.result()

    # The connection

    async def _try_to_listen(self) -> bool:
        """Listen over a connection, until it breaks."""
        try:
            link = await self._nodes.connect("receiving")
        except Exception as error:
            self._failed(error)
            raise
        try:
            await self._open(link)
            await self._watch(link)
        except Exception as error:
            self._failed(error)
            raise
        finally:
            self._go_down()
            await link.aclose()

    def _failed(self, error: Exception) -> None:
        self._lost(f"the connection to the broker broke: {str(error) or type(error).__name__}")
        if not is_transient(error):
            self._fail_waiting(explain(error))
            self._up = self._loop.create_future()  # later callers wait for the next attempt

    async def _open(self, link: Link) -> None:
        """Make a queue, and let all that is for this process come into it."""
        channel = link.channel
        self._queue = process_queue(self._prefix, self._process, next(_numbers))
        await channel.exchange_declare(self._exchange, durable=True)
        await channel.queue_declare(
            self._queue,
            exclusive=True,
            arguments={"x-max-length": self._capacity, "x-overflow": "reject-publish"},
        )
        await self._prepare(link)
        await channel.basic_qos(prefetch_count=_PREFETCH)
        self._unacknowledged, self._link = 0, link
        self._bound = set()
        await channel.queue_bind(self._queue, self._exchange, process_key(self._process))
        while missing := set(self._groups()) - self._bound:  # more may be joined meanwhile
            self._bound |= missing
            for group in missing:
                await channel.queue_bind(self._queue, self._exchange, group_key(group), nowait=True)
        await channel.basic_consume(self._queue, self._receive)
        self._restored()

    def _restored(self) -> None:
        self.up = self._was_up = True
        self._wound_down = False
        self._up.set_result(None)
        self._reconnector.works()
        self._backpressure.note_delay(now() - self._down_since)
        gap, self._gap = self._gap, None
        if gap is not None and self._listener is not None:
            said = "What the broker published may have been lost: %s"
            lograte.log(logger, logging.WARNING, "gap", said, gap)
            self._listener.inbox_restored(gap)

    def _lost(self, reason: str) -> None:
        """The queue is gone, and what was in it: the listener is told."""
        if self.up:
            self._gap = reason
        self._go_down()
        if self._gap is not None and self._listener is not None:
            self._listener.inbox_lost(self._gap)

    def _go_down(self) -> None:
        """Nothing comes any more, so that nothing is to be waited for."""
        self._link = None
        for token in list(self._barriers):
            self._settle(token)
        self._came.clear()
        self._backpressure.stop()
        if self.up:
            self.up, self._up = False, self._loop.create_future()
            self._down_since = now()

    def _fail_waiting(self, error: Exception) -> None:
        """Tell callers that wait for the connection why they wait in vain."""
        if not self._up.done():
            self._up.set_exception(error)
            self._up.exception()  # there may be no caller

    async def _watch(self, link: Link) -> NoReturn:
        """Look whether what is published arrives, until the connection breaks."""
        cancelled = self._loop.create_future()
        link.channel.on_consumer_cancel_callbacks.add(
            lambda _: None if cancelled.done() else cancelled.set_result(None)
        )
        while True:
            ended, _ = await asyncio.wait(
                (link.over, cancelled), timeout=PROBE_EVERY, return_when=asyncio.FIRST_COMPLETED
            )
            if cancelled in ended:
                raise ConnectionError("the queue of this process was deleted")
            if ended:
                raise link.reason()
            await self._probe()

    async def _probe(self) -> None:
        """Publish something to this process, as others do.

        Raises:
            ConnectionError: it does not arrive.
        """
        token = b"%b%d" % (NOTHING, next(self._tokens))
        self._barriers[token] = arrived = self._loop.create_future()
        outcome = await self._mark(token, process_key(self._process), direct=False)
        if outcome is Outcome.UNROUTABLE and not self._wound_down and self._was_up:
            raise ConnectionError("the exchange was deleted, or what was bound to it")
        _, late = await asyncio.wait((arrived,), timeout=self._nodes.response_timeout)
        if late and not self._came:
            self._settle(token)
            raise ConnectionError(f"nothing came for {self._nodes.response_timeout:g} seconds")

    # What comes

    async def _receive(self, message: DeliveredMessage) -> None:
        """A message came; aiormq starts a task for each, in order."""
        if self._link is None or message.channel is not self._link.channel:
            return  # over a connection that has been given up
        self._came.append(message)
        if not self._backpressure.pausing:
            self._hand_on()

    def _hand_on(self) -> None:
        """Hand on what has come, and stop at what has to wait for room."""
        came, backpressure, listener = self._came, self._backpressure, self._listener
        if listener is None:
            came.clear()
            return
        while came:
            message = came.popleft()
            self._note_tag(message)
            if message.body.startswith(NOTHING) and message.body in self._barriers:
                self._settle(message.body)
                continue
            try:
                late = listener.published(message, backpressure.seconds)
            except Exception as error:  # noqa: BLE001 - what follows is handed on
                lograte.log(
                    logger, logging.ERROR, "published", "A message could not be handed on",
                    exc_info=error,
                )  # fmt: skip
                continue
            if late is not None and backpressure.wait(late, self._hand_on):
                return
        if backpressure.catching_up:
            backpressure.rest()

    def _note_tag(self, message: DeliveredMessage) -> None:
        """Acknowledge what has been handed on, many at a time."""
        self._last_tag = message.delivery_tag or 0
        self._unacknowledged += 1
        if self._timer is None:
            self._timer = timers.Timer(_ACKNOWLEDGE_AFTER, self._acknowledge)
        elif self._unacknowledged >= _ACKNOWLEDGED:
            self._timer.cancel()
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._timer = None
        link = self._link
        if self._unacknowledged and link is not None and link.is_open:
            self._unacknowledged = 0
            self._start(link.channel.basic_ack(self._last_tag, multiple=True, wait=False))

    def hurry(self) -> None:
        """Hand on at once what has come, whether there is room for it or not."""
        self._backpressure.hurry()
