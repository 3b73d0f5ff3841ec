"""Receiving what one server publishes to this process, over one connection after the other."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ...._runtime import backstage, clock, lograte, timers
from ...._runtime.clock import now
from ....exceptions import BrokerUnavailable
from ...broker.backpressure import Backpressure
from ...broker.receiver import patiently
from ...broker.reconnecting import Reconnector
from ...local import Late
from ..connection.errors import explain, is_transient
from ..connection.raw import RawConnection
from ..connection.servers import Server, note_move
from .requests import Commands, Requests

__all__ = ["Recipient", "Subscription"]

logger = logging.getLogger("channels.layers")

# Seconds of silence after which the server is asked for a sign of life. One that does not give it
# within its response timeout is taken to be gone.
PING_EVERY = 2.0

# Seconds for a server to send what it had published before it was told to stop.
_LEAVING = 2.0

# Why messages may have been lost when another event loop takes over.
_MOVED = "the event loop that received has ended"

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


class Subscription:
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
        self._server = server
        self._partition = partition
        self._message = commands.message
        self._recipient = recipient
        self._loop = asyncio.get_running_loop()
        self._requests = Requests(commands, (own_topic, *groups))
        self._own = own_topic
        self._wound_down = False
        self._probe = probe
        self._probing: asyncio.Future[int] | None = None
        # Why messages may have been lost, until the recipient is told that it is over.
        self._gap: str | None = None
        self._reconnector = Reconnector(
            server.name, "receiving what is published", is_transient, explain
        )
        self._connection: RawConnection | None = None
        #: Whether everything that is published arrives.
        self.up = False
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._down_since = now()
        self._backpressure = Backpressure()
        self._task: asyncio.Task[None] | None = None

    # See broker.receiver.Reader

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = backstage.start(self._reconnector.run(self._try_to_listen))

    def is_ready(self) -> bool:
        """Whether the process's own topic was subscribed to, if perhaps over another connection."""
        return self.was_confirmed(self._own)

    async def be_ready(self) -> None:
        """Wait until the process's own topic is subscribed to; no longer if it ever was.

        Raises:
            BrokerUnavailable: the server could not be reached.
            BrokerError: it refused.
        """
        self._wound_down = False
        if not self.is_ready():
            await asyncio.shield(self.subscribe(self._own))

    def resume_from(self, former: "Subscription") -> None:
        """Take over from another event loop: what is published until it is done is lost."""
        if not former._wound_down:
            self._gap = _MOVED
            self._loop.call_soon(self._recipient.subscription_lost, self._partition, _MOVED)

    async def wind_down(self) -> bool:
        """Let the server publish nothing more to the process's own topic, and hand on what it has.

        Returns:
            Whether the server has done so.
        """
        self.unsubscribe(self._own)
        _, late = await asyncio.wait((self.barrier(),), timeout=_LEAVING)
        self._wound_down = not late
        return self._wound_down

    def abandon(self) -> None:
        """Hand on nothing any more. For event loops that do not run, and perhaps never will."""
        self._recipient = _NOBODY
        self._backpressure.stop()
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._task.cancel()

    async def stop(self) -> None:
        """Disconnect. What waits for a confirmation gets an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=1)
        self._fail_waiting(BrokerUnavailable("The layer has been closed"))

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

    async def wait_until_up(self) -> None:
        """Wait for the connection to be repaired, if it is broken.

        Raises:
            BrokerUnavailable: it was not.
        """
        if not self._up.done():
            await patiently(asyncio.shield(self._up))

    # The connection

    async def _try_to_listen(self) -> bool:
        """Listen over a connection, until it breaks."""
        try:
            await self._listen(await self._connect())
        except Exception as error:
            error = note_move(self._server, error)
            self._lost(error)
            if not is_transient(error):
                self._fail_waiting(explain(error))
                self._up = self._loop.create_future()  # later callers wait for the next attempt
            raise error
        finally:
            await self._disconnect()
        return True  # pragma: no cover - a connection ends with an error

    async def _connect(self) -> RawConnection:
        """Connect, and subscribe to all topics."""
        async with timers.timeout(self._server.response_timeout * 2):
            opened = await self._server.connect()
        self._connection = connection = RawConnection(opened, self._receive_all)
        self._requests.connected(connection)
        self.barrier().add_done_callback(self._restored)
        return connection

    def _restored(self, barrier: "asyncio.Future[None]") -> None:
        """All topics are subscribed to; nothing is lost from now on."""
        if self._connection is None or self._up.done():
            return
        self.up = True
        self._up.set_result(None)
        self._reconnector.works()
        self._backpressure.note_delay(now() - self._down_since)
        gap, self._gap = self._gap, None
        if gap is not None:
            logger.warning("What the broker published may have been lost: %s", gap)
            self._recipient.subscription_restored(self._partition, gap)

    def _lost(self, error: Exception) -> None:
        if self._up.done():
            self.up, self._up = False, self._loop.create_future()
            self._down_since = now()
            self._gap = f"the connection to the broker broke: {error}"
            self._recipient.subscription_lost(self._partition, self._gap)

    def _fail_waiting(self, error: Exception) -> None:
        """Tell callers that wait for the connection, or for a topic, why they wait in vain."""
        if not self._up.done():
            self._up.set_exception(error)
            self._up.exception()  # there may be no caller
        self._requests.fail(error)

    async def _disconnect(self) -> None:
        self._backpressure.stop()
        connection, self._connection = self._connection, None
        self._requests.disconnected()
        if connection is not None:
            await connection.aclose()

    async def _listen(self, connection: RawConnection) -> None:
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
            self._recipient.published,
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
                    lograte.log(
                        logger, logging.ERROR, "published", "A message could not be handed on",
                        exc_info=error,
                    )  # fmt: skip
                    continue
                if late is not None and backpressure.wait(late, connection.resume):
                    connection.pause()
                    return
            else:
                self._requests.answered(reply)
        if backpressure.catching_up:
            backpressure.rest()

    def hurry(self) -> None:
        """Hand on at once what has come, whether there is room for it or not."""
        self._backpressure.hurry()


class _Nobody:
    """The recipient of a subscription that was abandoned."""

    def published(self, *args: Any, **kwargs: Any) -> None:
        """Ignore what came."""

    subscription_lost = subscription_restored = published


_NOBODY = _Nobody()
