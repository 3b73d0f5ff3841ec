"""Receiving what one server publishes to this process, over one connection after the other."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from ...._runtime import clock, timers
from ...broker.subscriber import Subscriber, not_handed_on
from ...local import Late
from ..connection.errors import explain, is_transient
from ..connection.raw import RawConnection
from ..connection.servers import Server, note_move
from .requests import Commands, Requests

__all__ = ["Recipient", "Subscription"]

# Seconds of silence after which the server is asked for a sign of life. One that does not give it
# within its response timeout is taken to be gone.
PING_EVERY = 2.0

# Seconds between looks at whether what this process sends goes to the server that it listens to.
PROBE_EVERY = 4.0


class Recipient(Protocol):
    """Gets what is published."""

    def published(self, partition: int, topic: bytes, data: bytes, patience: float) -> Late | None:
        """A message came.

        What is returned is left to be done later. See :meth:`~..mailbox.Mailbox.put` on patience.
        """

    def subscription_lost(self, partition: int, reason: str) -> None:
        """The connection broke: what is published now is lost."""

    def subscription_restored(self, partition: int, reason: str) -> None:
        """What is published from now on arrives again."""


class Subscription(Subscriber[RawConnection]):
    """The topics of one server that this process is subscribed to.

    Belongs to the event loop on which it was made.

    Args:
        server: publishes.
        partition: the number of the server.
        commands: the kind of publish and subscribe.
        recipient: gets what is published.
        own_topic: the process's own.
        groups: the topics of groups to be subscribed to from the start.
        probe: publishes something to the process's own topic, over another connection; the future
            gets how many of the server's connections are subscribed to it.
    """

    def __init__(
        self,
        server: Server,
        partition: int,
        commands: Commands,
        recipient: Recipient,
        own_topic: bytes,
        groups: Iterable[bytes] = (),
        probe: "Callable[[], asyncio.Future[int]] | None" = None,
    ) -> None:
        super().__init__(
            server.name,
            is_transient,
            explain,
            partial(recipient.subscription_lost, partition),
            partial(recipient.subscription_restored, partition),
            connecting=server.response_timeout * 2,
        )
        self._server = server
        self._partition = partition
        self._message = commands.message
        self._published: Callable[[int, bytes, bytes, float], Late | None] = recipient.published
        self._requests = Requests(commands, (own_topic, *groups))
        self._own = own_topic
        self._probe = probe
        self._probing: asyncio.Future[int] | None = None
        self._connection: RawConnection | None = None

    # See broker.subscriber.Subscriber

    def is_ready(self) -> bool:
        """Whether the process's own topic was subscribed to, if perhaps over another connection."""
        return self.was_confirmed(self._own)

    async def register(self) -> None:
        """Subscribe to the process's own topic.

        Raises:
            BrokerError: the server refuses.
        """
        await asyncio.shield(self.subscribe(self._own))

    async def withdraw(self) -> None:
        """Let the server publish nothing more to the process's own topic."""
        self.unsubscribe(self._own)

    def abandon(self) -> None:
        """Hand on nothing any more. For event loops that do not run, and perhaps never will."""
        self._published = _ignore
        super().abandon()

    # Topics

    def has(self, topic: bytes) -> bool:
        """Whether it is, or is about to be, subscribed to."""
        return self._requests.has(topic)

    def was_confirmed(self, topic: bytes) -> bool:
        """Whether the server has confirmed the subscription, if perhaps over another connection."""
        return self._requests.was_confirmed(topic)

    def subscribe(self, topic: bytes) -> "asyncio.Future[None]":
        """Get what is published to ``topic``.

        Returns:
            What is done when the server has confirmed it, and all that it had published before to
            this process has been handed on. Others wait for it, too: it is to be shielded. It fails
            if the server refuses.
        """
        future = self._requests.subscribe(topic)
        if future is None:
            future = self.barrier() if self.up else self._up
        return future

    def unsubscribe(self, topic: bytes) -> None:
        """Let the server publish ``topic`` to others only."""
        self._requests.unsubscribe(topic)

    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that the server had published before has been handed on.

        Others wait for it, too: it is to be shielded.
        """
        return self._requests.barrier()

    # The connection

    async def connect(self) -> RawConnection:
        """Connect, and subscribe to all topics."""
        opened = await self._server.connect()
        self._connection = connection = RawConnection(opened, self._receive_all)
        self._requests.connected(connection)
        self.barrier().add_done_callback(self._subscribed)
        return connection

    def _subscribed(self, barrier: "asyncio.Future[None]") -> None:
        """All topics are subscribed to, unless the connection broke; nothing is lost from now."""
        if self._connection is not None and not self.up:
            self.works()

    def examined(self, error: Exception) -> Exception:
        """What went wrong, after a look whether the topics are at another node now."""
        return note_move(self._server, error)

    def _fail_waiting(self, error: Exception) -> None:
        super()._fail_waiting(error)
        self._requests.fail(error)

    def disconnected(self) -> None:
        """No answer comes any more."""
        self._connection = None
        self._requests.disconnected()

    async def disconnect(self, connection: RawConnection) -> None:
        """Close the connection."""
        await connection.aclose()

    async def use(self, connection: RawConnection) -> None:
        """Watch whether the server is alive, until the connection breaks."""
        probed = clock.now()
        while not connection.over.done():
            await asyncio.wait((connection.over,), timeout=PING_EVERY)
            if clock.now() - probed >= PROBE_EVERY - PING_EVERY / 2:
                probed = clock.now()
                self._probe_own_topic(connection)
            if connection.silence >= PING_EVERY / 2:
                self.barrier()
            if connection.silence >= PING_EVERY + self._server.response_timeout:
                # An event loop that was held up now takes what has come meanwhile.
                await timers.sleep(PING_EVERY / 20)
                if connection.silence >= PING_EVERY:
                    raise ConnectionError(f"nothing came for {connection.silence:.0f} seconds")
        connection.over.result()

    def _probe_own_topic(self, connection: RawConnection) -> None:
        """End the connection if what is sent to this process goes to another server now.

        It does when this server was made a replica and has closed no connection: senders are led to
        the new master, by a name, a proxy or sentinels.
        """

        def answered(receivers: "asyncio.Future[int]") -> None:
            if receivers.cancelled() or receivers.exception() or receivers.result():
                return  # what is sent fails, which callers are told, or it comes here
            connection.end(ConnectionError("what is sent goes to another server now"))

        if self._probing is not None and not self._probing.done():
            return
        if self._probe is not None and self.up and self.was_confirmed(self._own):
            self._probing = self._probe()
            self._probing.add_done_callback(answered)

    # What comes

    def _receive_all(self, replies: Iterable[Any]) -> None:
        published, message, partition, backpressure = (
            self._published,
            self._message,
            self._partition,
            self._backpressure,
        )
        connection = self._connection
        if connection is None:  # pragma: no cover - one that was let go of hands nothing on
            return
        # What comes after a silence that is too long came as soon as it could.
        if connection.quiet > PING_EVERY + 1:
            backpressure.note_delay(connection.quiet - PING_EVERY)
        for reply in replies:
            if type(reply) is list and reply[0] == message:
                try:
                    late = published(partition, reply[1], reply[2], backpressure.seconds)
                except Exception as error:  # noqa: BLE001 - what follows is handed on
                    not_handed_on(error)
                    continue
                if late is not None and backpressure.wait(late, connection.resume):
                    connection.pause()
                    return
            else:
                self._requests.answered(reply)
        if backpressure.catching_up:
            backpressure.rest()


def _ignore(*message: object) -> None:
    """What an abandoned subscription does with a message."""
