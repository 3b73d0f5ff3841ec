"""Receiving what is published to this process, over one connection after the other.

The queue of the process belongs to the connection: when that breaks, RabbitMQ deletes it with what
was in it, and what is published until another one is there is lost. Consumers are told then.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from ..._runtime import backstage, timers
from ...exceptions import Unconfirmed
from ..broker.broadcasting import NOTHING
from ..broker.marks import Marks
from ..broker.reconnecting import backoff
from ..broker.subscriber import Subscriber, not_handed_on
from ..local import Late
from .connecting import Nodes, explain, is_transient
from .deliveries import Deliveries, Delivery
from .link import Link
from .names import exchange_name, group_key, process_key, process_queue
from .publishing import Outcome, Publisher
from .wire import Wire

__all__ = ["Inbox", "Recipient"]

_T = TypeVar("_T")

# What the only consumer of the queue is called on its channel.
_CONSUMER = "inbox"

# Messages that RabbitMQ may send before they are acknowledged, and how many are at a time. A queue
# that belongs to a connection gives none back: this bounds what waits here while mailboxes are
# full.
_PREFETCH, _ACKNOWLEDGED = 500, 100

# Seconds after which fewer are.
_ACKNOWLEDGE_AFTER = 0.05

# Groups for which the queue is bound before an answer is awaited: it shows that RabbitMQ gets on.
_BOUND_UNANSWERED = 500

# Seconds between looks at whether what is published to this process arrives. It does not if
# somebody has deleted the exchange, and with it what was bound.
PROBE_EVERY = 4.0

_numbers = itertools.count(1)


class Recipient(Protocol):
    """Gets what comes."""

    def published(self, message: Delivery, patience: float) -> Late | None:
        """A message came; what is returned is left to be done later."""

    def lost(self, reason: str) -> None:
        """What is published now is lost."""

    def restored(self, reason: str) -> None:
        """What is published from now on arrives again."""


class Inbox(Subscriber[Link]):
    """The queue of this process. Belongs to the event loop on which it was made.

    Args:
        nodes: where to connect.
        prefix: of names at the broker.
        process: the name of this process.
        capacity: messages that the queue may hold.
        groups: those that the process is in, when it connects.
        recipient: gets what comes.
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
        recipient: Recipient,
        get_publisher: Callable[[], Publisher],
        prepare: Callable[[Link], Awaitable[None]],
    ) -> None:
        super().__init__(
            nodes.name, is_transient, explain, recipient.lost, recipient.restored,
            connecting=nodes.response_timeout * 2,
        )  # fmt: skip
        self._nodes = nodes
        self._prefix, self._process = prefix, process
        self._exchange = exchange_name(prefix)
        self._capacity = capacity
        self._groups = groups
        self._recipient: Recipient | None = recipient
        self._get_publisher = get_publisher
        self._prepare = prepare
        self._link: Link | None = None
        self._deliveries: Deliveries | None = None
        self._queue = ""
        # The groups that the queue is bound for, or is about to be.
        self._bound: set[str] = set()
        self._marks = Marks()
        self._came: deque[Delivery] = deque()
        self._unacknowledged = self._last_tag = 0
        self._timer: timers.Timer | None = None
        self._tasks: set[asyncio.Future[Any]] = set()

    # See broker.subscriber.Subscriber

    async def register(self) -> None:
        """Bind the queue for the process itself."""
        await self._bind(process_key(self._process))

    async def withdraw(self) -> None:
        """Let RabbitMQ send no more to this process itself."""
        await self._unbind(process_key(self._process))

    def abandon(self) -> None:
        """Hand on nothing any more. For event loops that do not run, and perhaps never will."""
        self._recipient = None
        super().abandon()

    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that was published before has been handed on, or is known to be lost.

        Others wait for it, too: it is to be shielded.
        """
        return self._marks.send(self._echo) if self.up else self._up

    async def _echo(self, mark: bytes) -> None:
        """Publish a mark to the queue of this process.

        Raises:
            Exception: it will not come.
        """
        if await self._publish(mark, self._queue, direct=True) is not Outcome.TAKEN:
            raise ConnectionError("the queue of this process is full, or gone")

    async def _publish(self, mark: bytes, key: str, *, direct: bool) -> Outcome | None:
        """Publish a mark, again if it may be lost; None if it was to come no more by then."""
        while mark in self._marks:
            with contextlib.suppress(Unconfirmed):
                return await self._get_publisher().publish(key, mark, direct=direct, mandatory=True)
        return None

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
        if self.up:
            self._start(self._unbind(group_key(group)))

    async def _bind(self, key: str) -> None:
        """Bind the queue; again if another connection has another queue by then."""
        attempt = 0
        while True:
            attempt += 1
            await self.wait_until_up()
            link = self._link
            if link is None:  # it has broken in this very turn
                continue
            try:
                await link.ask(self._binding(key))
                return
            except Exception as error:
                # What was refused has closed the channel, so that there will be another.
                if not is_transient(error):
                    raise explain(error, "to bind a queue") from error
            await timers.sleep(backoff(attempt))

    async def _unbind(self, key: str) -> None:
        link = self._link
        if link is not None:
            queue = self._queue
            await link.ask(lambda channel: channel.queue_unbind(queue, self._exchange, key))

    def _binding(self, key: str) -> Callable[[Channel], Awaitable[object]]:
        queue = self._queue
        return lambda channel: channel.queue_bind(queue, self._exchange, key)

    def _start(self, awaitable: Awaitable[_T]) -> "asyncio.Future[_T]":
        """Await something to its end, whether its caller does so or not."""
        task = asyncio.ensure_future(awaitable)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(backstage.ignore_failure)
        return task

    # The connection

    async def connect(self) -> Link:
        """Connect to one of the nodes."""
        wire = Wire()
        link = await self._nodes.connect("receiving", transport=wire)
        self._deliveries = Deliveries(link, wire, _CONSUMER, self._receive)
        return link

    async def use(self, link: Link) -> None:
        """Make a queue, and receive from it."""
        await self._open(link)
        self.works()
        self._hand_on()
        await self._watch(link)

    def disconnected(self) -> None:
        """The queue is gone, and what was in it."""
        self._link = None
        if self._deliveries is not None:
            self._deliveries.stop()
            self._deliveries = None
        self._marks.settle_all()
        self._came.clear()

    async def disconnect(self, link: Link) -> None:
        """Close the connection."""
        await link.aclose()

    async def _open(self, link: Link) -> None:
        """Make a queue, and let all that is for this process come into it."""
        self._queue = queue = process_queue(self._prefix, self._process, next(_numbers))
        limits: dict[str, Any] = {"x-max-length": self._capacity, "x-overflow": "reject-publish"}
        await link.ask(lambda channel: channel.exchange_declare(self._exchange, durable=True))
        await link.ask(
            lambda channel: channel.queue_declare(queue, exclusive=True, arguments=limits)
        )
        await self._prepare(link)
        await link.ask(lambda channel: channel.basic_qos(prefetch_count=_PREFETCH))
        self._unacknowledged, self._link = 0, link
        self._bound = set()
        await link.ask(self._binding(process_key(self._process)))
        while missing := set(self._groups()) - self._bound:  # more may be joined meanwhile
            self._bound |= missing
            for number, group in enumerate(missing, 1):
                key = group_key(group)
                if number % _BOUND_UNANSWERED:
                    await link.channel.queue_bind(queue, self._exchange, key, nowait=True)
                else:
                    await link.ask(self._binding(key))
        await link.ask(
            lambda channel: channel.basic_consume(queue, _passed_by, consumer_tag=_CONSUMER)
        )

    async def _watch(self, link: Link) -> NoReturn:
        """Look whether what is published arrives, until the connection breaks."""
        cancelled = self._loop.create_future()
        link.channel.on_consumer_cancel_callbacks.add(
            lambda _: None if cancelled.done() else cancelled.set_result(None)
        )
        while True:
            for look in (partial(timers.sleep, PROBE_EVERY), self._probe):
                looking = asyncio.ensure_future(look())
                await _first(looking, link.over, cancelled)
                if cancelled.done():
                    raise ConnectionError("the queue of this process was deleted")
                if link.over.done():
                    raise link.reason()
                looking.result()

    async def _probe(self) -> None:
        """Publish something to this process, as others do.

        Raises:
            ConnectionError: it does not arrive.
        """
        mark, arrived = self._marks.new()
        outcome = None
        # If RabbitMQ takes no messages, others send none either.
        with contextlib.suppress(Exception):
            outcome = await self._publish(mark, process_key(self._process), direct=False)
        if outcome is not Outcome.TAKEN:
            self._marks.settle(mark)
        if outcome is Outcome.UNROUTABLE and not self._withdrawn:
            raise ConnectionError("the exchange was deleted, or what was bound to it")
        tag = self._last_tag
        _, late = await asyncio.wait((arrived,), timeout=self._nodes.response_timeout)
        if late and not self._came and tag == self._last_tag:  # else it is behind all that comes
            self._marks.settle(mark)
            raise ConnectionError(f"nothing came for {self._nodes.response_timeout:g} seconds")

    # What comes

    def _receive(self, messages: list[Delivery]) -> None:
        """Messages came, perhaps before consumers have been told that they missed some."""
        self._came.extend(messages)
        if self.up and not self._backpressure.pausing:
            self._hand_on()

    def _hand_on(self) -> None:
        """Hand on what has come, and stop at what has to wait for room."""
        came, backpressure, recipient = self._came, self._backpressure, self._recipient
        if recipient is None:
            came.clear()
            return
        while came:
            message = came.popleft()
            self._note_tag(message)
            if message.body.startswith(NOTHING) and self._marks.settle(message.body):
                continue
            try:
                late = recipient.published(message, backpressure.seconds)
            except Exception as error:  # noqa: BLE001 - what follows is handed on
                not_handed_on(error)
                continue
            if late is not None and backpressure.wait(late, self._hand_on):
                return
        if backpressure.catching_up:
            backpressure.rest()

    def _note_tag(self, message: Delivery) -> None:
        """Acknowledge what has been handed on, many at a time."""
        self._last_tag = message.tag
        self._unacknowledged += 1
        if self._timer is None:
            self._timer = timers.Timer(_ACKNOWLEDGE_AFTER, self._acknowledge)
        elif self._unacknowledged >= _ACKNOWLEDGED:
            self._timer.cancel()
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._timer = None
        if self._unacknowledged and self._deliveries is not None:
            self._unacknowledged = 0
            self._deliveries.acknowledge(self._last_tag)


async def _first(task: "asyncio.Future[Any]", *others: "asyncio.Future[Any]") -> None:
    """Wait until one of them is done, and end the task if it is another one."""
    try:
        await asyncio.wait((task, *others), return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        task.add_done_callback(backstage.ignore_failure)


async def _passed_by(message: DeliveredMessage) -> None:
    """What aiormq calls with messages, of which it gets none; see :mod:`.wire`."""
