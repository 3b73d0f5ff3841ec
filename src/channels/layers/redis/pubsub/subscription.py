"""What one server publishes to this process: one connection that is repaired and resubscribed."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from redis import exceptions as redis_errors

from ...._runtime import backstage, clock, lograte, timers
from ...._runtime.clock import now
from ....exceptions import BrokerUnavailable
from ...broker.patience import Patience
from ...broker.receiver import PATIENCE
from ...broker.reconnecting import Reconnector
from ...local import Late
from ..connection.errors import explain, is_transient
from ..connection.raw import RawConnection
from ..connection.servers import Server, heed_move

__all__ = ["PLAIN", "SHARDED", "Commands", "Recipient", "Subscription"]

logger = logging.getLogger("channels.layers")

# Seconds of silence after which the server is asked for a sign of life. One that does not give it
# within its response timeout is taken to be gone.
PING_EVERY = 2.0

# Seconds for a server to hand out what it had published when nobody wants more.
_LEAVING = 2.0

# Why messages may have been lost when another event loop takes over.
_MOVED = "the event loop that received has ended"

# Seconds between looks at whether what this process sends goes to the server that it listens to.
PROBE_EVERY = 4.0


class Commands(NamedTuple):
    """One of the two kinds of publish and subscribe."""

    publish: str
    subscribe: str
    unsubscribe: str
    message: bytes


#: Every node of a cluster gets every message.
PLAIN = Commands("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", b"message")
#: Messages stay on the node that holds the topic's slot. Redis 7 and Valkey have it.
SHARDED = Commands("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE", b"smessage")


class Recipient(Protocol):
    """Who gets what is published."""

    def published(self, partition: int, topic: bytes, data: bytes, patience: float) -> Late | None:
        """A message came.

        What is returned is left to be done later. See :meth:`~..mailbox.Mailbox.put` on patience.
        """

    def subscription_lost(self, partition: int, reason: str) -> None:
        """The connection broke: what is published now is lost."""

    def subscription_restored(self, partition: int, reason: str) -> None:
        """What is published from now on arrives again."""


class _Expected(NamedTuple):
    """An answer of the server, and who waits for it. Answers come in the order of commands."""

    kind: str
    topic: bytes
    future: "asyncio.Future[None] | None"


class Subscription:
    """The topics of one server that this process is subscribed to.

    Belongs to the event loop on which it was made.

    Args:
        server: who publishes.
        partition: the number of the server.
        commands: the kind of publish and subscribe.
        recipient: who gets it.
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
        self._commands = commands
        self._recipient = recipient
        self._loop = asyncio.get_running_loop()
        self._topics: dict[bytes, asyncio.Future[None]] = {
            topic: self._loop.create_future() for topic in (own_topic, *groups)
        }
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
        self._expected: deque[_Expected] = deque()
        self._unsent: list[tuple[Any, ...]] = []
        self._barrier: asyncio.Future[None] | None = None
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._down_since = now()
        self._patience = Patience()
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
            await self.subscribe(self._own)

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
        self._patience.stop()
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._task.cancel()

    async def stop(self) -> None:
        """Disconnect. What waits for a confirmation gets an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=1)
        for future in (self._up, *self._topics.values()):
            if not future.done():
                _fail(future, BrokerUnavailable("The layer has been closed"))

    # Topics

    @property
    def up(self) -> bool:
        """Whether everything that is published arrives."""
        return self._up.done()

    def has(self, topic: bytes) -> bool:
        """Whether it is, or is about to be, subscribed to."""
        return topic in self._topics

    def was_confirmed(self, topic: bytes) -> bool:
        """Whether the server has confirmed the subscription, if perhaps over another connection."""
        future = self._topics.get(topic)
        return future is not None and future.done() and future.exception() is None

    async def subscribe(self, topic: bytes) -> None:
        """Get what is published to ``topic``.

        Returns when the server has confirmed it, and when all that it had published before to
        this process has been handed on.

        Raises:
            BrokerUnavailable: the server could not be reached.
            BrokerError: it refused.
        """
        future = self._topics.get(topic)
        if future is None or (future.done() and future.exception()):
            future = self._topics[topic] = self._loop.create_future()
            if self._connection is not None:
                self._command(self._commands.subscribe, topic, future)
        elif future.done():
            future = self.barrier() if self.up else self._up
        await _patiently(future)

    def unsubscribe(self, topic: bytes) -> None:
        """Let the server publish ``topic`` to others only."""
        future = self._topics.pop(topic, None)
        if future is not None and self._connection is not None:
            self._command(self._commands.unsubscribe, topic, None)

    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that the server had published before has been handed on."""
        barrier = self._barrier
        if barrier is None:
            barrier = self._loop.create_future()
            if self._connection is None:
                barrier.set_result(None)  # what is not here by now will never be
            else:
                self._barrier = barrier
                self._command("PING", b"", barrier)
        return barrier

    async def wait_until_up(self) -> None:
        """Wait for the connection to be repaired, if it is broken.

        Raises:
            BrokerUnavailable: it was not.
        """
        if not self._up.done():
            await _patiently(self._up)

    def _command(self, kind: str, topic: bytes, future: "asyncio.Future[None] | None") -> None:
        self._expected.append(_Expected(kind, topic, future))
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append((kind, topic) if topic else (kind,))

    def _flush(self) -> None:
        """Send the commands of one turn of the event loop together."""
        commands, self._unsent = self._unsent, []
        self._barrier = None  # what is published from now on may come after the answer
        if commands and self._connection is not None:
            self._connection.send(commands)

    # The connection

    async def _try_to_listen(self) -> bool:
        """Listen over a connection, until it breaks."""
        try:
            await self._connect()
            await self._listen()
        except Exception as error:
            error = heed_move(self._server, error)
            self._lost(error)
            if not is_transient(error):
                self._tell_of(error)
            raise error
        finally:
            await self._disconnect()
        return True

    async def _connect(self) -> None:
        """Connect, and subscribe to all topics."""
        async with timers.timeout(self._server.response_timeout * 2):
            opened = await self._server.connect()
        self._connection = RawConnection(opened, self._receive_all)
        for topic, future in self._topics.items():
            self._command(self._commands.subscribe, topic, future)
        self.barrier().add_done_callback(self._restored)

    def _restored(self, barrier: "asyncio.Future[None]") -> None:
        """All topics are subscribed to; nothing is lost from now on."""
        if self._connection is None or self._up.done():
            return
        self._up.set_result(None)
        self._reconnector.works()
        self._patience.note_delay(now() - self._down_since)
        gap, self._gap = self._gap, None
        if gap is not None:
            logger.warning("What the broker published may have been lost: %s", gap)
            self._recipient.subscription_restored(self._partition, gap)

    def _lost(self, error: Exception) -> None:
        if self._up.done():
            self._up = self._loop.create_future()
            self._down_since = now()
            self._gap = f"the connection to the broker broke: {error}"
            self._recipient.subscription_lost(self._partition, self._gap)

    def _tell_of(self, error: Exception) -> None:
        """Nobody need wait for what trying again will hardly mend, though it is tried."""
        up, self._up = self._up, self._loop.create_future()
        for future in (up, *self._topics.values()):
            if not future.done():
                _fail(future, explain(error))

    async def _disconnect(self) -> None:
        self._patience.stop()
        connection, self._connection = self._connection, None
        expected, self._expected = self._expected, deque()
        self._unsent = []
        self._barrier = None
        for kind, _, future in expected:
            if kind == "PING" and future is not None and not future.done():
                future.set_result(None)
        if connection is not None:
            await connection.aclose()

    async def _listen(self) -> None:
        """See to it that the server is alive, until the connection breaks."""
        connection = self._connection
        if connection is None:
            return
        probed = clock.now()
        while not connection.over.done():
            await asyncio.wait((connection.over,), timeout=PING_EVERY)
            if clock.now() - probed >= PROBE_EVERY - PING_EVERY / 2:
                probed = clock.now()
                self._find_out_who_hears(connection)
            if connection.silence >= PING_EVERY / 2:
                self.barrier()
            if connection.silence >= PING_EVERY + self._server.response_timeout:
                # An event loop that was held up now takes what has come meanwhile.
                await timers.sleep(PING_EVERY / 20)
                if connection.silence >= PING_EVERY:
                    raise ConnectionError(f"nothing came for {connection.silence:.0f} seconds")
        connection.over.result()

    def _find_out_who_hears(self, connection: RawConnection) -> None:
        """End a connection to a server that nothing is sent to any more.

        Such as one that was made a replica and closed no connection: it is where others were led
        before, by a name, a proxy or sentinels, and hears perhaps nothing of what they send now.
        """

        def heard(receivers: "asyncio.Future[int]") -> None:
            if receivers.cancelled() or receivers.exception() or receivers.result():
                return  # what is sent fails, which callers are told, or it comes here
            if self._connection is connection:
                connection.end(ConnectionError("what is sent goes to another server now"))

        if self._probing is not None and not self._probing.done():
            return
        if self._probe is not None and self.up and self.was_confirmed(self._own):
            self._probing = self._probe()
            self._probing.add_done_callback(heard)

    # What comes

    def _receive_all(self, replies: Iterable[Any]) -> None:
        published, message, partition, patience = (
            self._recipient.published,
            self._commands.message,
            self._partition,
            self._patience,
        )
        connection = self._connection
        # What comes after a silence that is too long came as soon as it could.
        if connection is not None and connection.quiet > PING_EVERY + 1:
            patience.note_delay(connection.quiet - PING_EVERY)
        for reply in replies:
            if type(reply) is list and reply[0] == message:
                try:
                    late = published(partition, reply[1], reply[2], patience.seconds)
                except Exception as error:  # noqa: BLE001 - others are to have what follows
                    lograte.log(
                        logger, logging.ERROR, "published", "A message could not be handed on",
                        exc_info=error,
                    )  # fmt: skip
                    continue
                if late is not None and patience.wait(late, self._go_on):
                    if connection is not None:
                        connection.pause()
                    return
            else:
                self._answered(reply)
        if patience.catching_up:
            patience.rest()

    def _go_on(self) -> None:
        """What had to wait has been handed on: so may be what came after it."""
        if self._connection is not None:
            self._connection.resume()

    def hurry(self) -> None:
        """Hand on at once what has come, whether there is room for it or not."""
        self._patience.hurry()

    def _answered(self, reply: Any) -> None:
        """The server has carried out the oldest command, or refused it."""
        if isinstance(reply, redis_errors.MovedError):
            raise reply
        if not self._expected:
            raise ConnectionError(f"the server said {reply!r} unasked")
        kind, topic, future = self._expected.popleft()
        if isinstance(reply, Exception):
            if is_transient(reply):
                raise reply
            self._refused(topic, future, reply)
            return
        said, about = (reply[0], reply[1]) if isinstance(reply, list) else (reply, b"")
        if said.upper() != (b"PONG" if kind == "PING" else kind.encode()) or about != topic:
            # Such as to a topic whose slot has been moved to another node of a cluster.
            raise ConnectionError("the server ended a subscription")
        if future is not None and not future.done():
            future.set_result(None)

    def _refused(
        self, topic: bytes, future: "asyncio.Future[None] | None", error: Exception
    ) -> None:
        if future is not None and self._topics.get(topic) is future:
            del self._topics[topic]
            lograte.log(
                logger, logging.ERROR, "subscription",
                "The broker refused the subscription to %s: %s", topic.decode(), error,
            )  # fmt: skip
        if future is not None and not future.done():
            _fail(future, explain(error, "a subscription"))


class _Nobody:
    """Wants none of it."""

    def published(self, partition: int, topic: bytes, data: bytes, patience: float) -> None:
        pass

    def subscription_lost(self, partition: int, reason: str) -> None:
        pass

    def subscription_restored(self, partition: int, reason: str) -> None:
        pass


_NOBODY = _Nobody()


def _fail(future: "asyncio.Future[None]", error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # whether somebody waits for it or not


async def _patiently(future: "asyncio.Future[None]") -> None:
    try:
        async with timers.timeout(PATIENCE):
            await asyncio.shield(future)
    except TimeoutError:
        raise BrokerUnavailable(f"The broker did not answer for {PATIENCE:g} seconds") from None
