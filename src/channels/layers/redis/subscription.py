"""What one server publishes to this process: one connection that is repaired and resubscribed."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from redis import exceptions as redis_errors

from .hosts import Connection, Server
from .link import PATIENCE, BrokerError, BrokerUnavailable, backoff, is_transient

try:
    from hiredis import Reader
except ImportError:  # redis-py's own parser does it too, for more processor time
    Reader = None  # type: ignore[misc, assignment]

__all__ = ["PLAIN", "SHARDED", "Commands", "Recipient", "Subscription"]

logger = logging.getLogger("channels.layers")

# Seconds of silence after which the server is asked for a sign of life. One that does not give it
# within its response timeout is taken to be gone.
PING_EVERY = 2.0


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

    def published(self, topic: bytes, data: bytes) -> None:
        """A message came."""

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
        topics: to be subscribed to from the start.
        gap: why messages may have been lost before, if any were.
    """

    def __init__(
        self,
        server: Server,
        partition: int,
        commands: Commands,
        recipient: Recipient,
        topics: Iterable[bytes],
        gap: str | None = None,
    ) -> None:
        self._server = server
        self._partition = partition
        self._commands = commands
        self._recipient = recipient
        self._loop = asyncio.get_running_loop()
        self._topics: dict[bytes, asyncio.Future[None]] = {
            topic: self._loop.create_future() for topic in topics
        }
        self._gap = gap
        self._connection: Connection | None = None
        self._expected: deque[_Expected] = deque()
        self._unsent: list[tuple[Any, ...]] = []
        self._barrier: asyncio.Future[None] | None = None
        self._heard = 0.0
        self._up: asyncio.Future[None] = self._loop.create_future()
        self._task = self._loop.create_task(self._run())

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
        connection = self._connection
        if connection is not None and commands:
            _transport(connection).writelines(connection.pack_commands(commands))

    # The connection

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                await self._connect()
                await self._read()
            except Exception as error:
                attempt = 1 if self.up else attempt + 1
                self._lost(error)
                if not is_transient(error) and not isinstance(error, ConnectionError):
                    logger.exception("Reading what the broker publishes failed; trying again")
                elif attempt == 3:
                    logger.warning("The broker publishes nothing (%s); still trying", error)
            finally:
                await self._disconnect()
            await asyncio.sleep(backoff(attempt))

    async def _connect(self) -> None:
        """Connect, and subscribe to all topics."""
        async with asyncio.timeout(self._server.response_timeout * 2):
            self._connection = await self._server.connect()
        self._heard = self._loop.time()
        for topic, future in self._topics.items():
            self._command(self._commands.subscribe, topic, future)
        self.barrier().add_done_callback(self._restored)

    def _restored(self, barrier: "asyncio.Future[None]") -> None:
        """All topics are subscribed to; nothing is lost from now on."""
        if self._connection is None or self._up.done():
            return
        self._up.set_result(None)
        gap, self._gap = self._gap, None
        if gap is not None:
            self._recipient.subscription_restored(self._partition, gap)

    def _lost(self, error: Exception) -> None:
        if self._up.done():
            self._up = self._loop.create_future()
            self._gap = f"the connection to the broker broke: {error}"
            self._recipient.subscription_lost(self._partition, self._gap)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        expected, self._expected = self._expected, deque()
        self._unsent = []
        self._barrier = None
        for kind, _, future in expected:
            if kind == "PING" and future is not None and not future.done():
                future.set_result(None)
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _read(self) -> None:
        """Take what comes, until the connection breaks."""
        connection = self._connection
        if connection is None:
            return
        over: asyncio.Future[None] = self._loop.create_future()
        reading: asyncio.Task[None] | None = None
        if Reader is None:
            reading = self._loop.create_task(self._read_replies(connection, over))
        else:
            _Pushes(connection, self._receive_all, over)
        try:
            while not over.done():
                await asyncio.wait((over,), timeout=PING_EVERY)
                self._ask_for_life()
            over.result()
        finally:
            if not over.cancel() and not over.cancelled():
                over.exception()
            if reading is not None:
                reading.cancel()

    async def _read_replies(self, connection: Connection, over: "asyncio.Future[None]") -> None:
        try:
            while True:
                try:
                    reply = await connection.read_response()
                except redis_errors.ResponseError as error:
                    reply = error
                self._receive_all((reply,))
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            if not over.done():
                over.set_exception(error)

    def _ask_for_life(self) -> None:
        silence = self._loop.time() - self._heard
        if silence >= PING_EVERY + self._server.response_timeout:
            raise ConnectionError(f"nothing came for {silence:.0f} seconds")
        if silence >= PING_EVERY / 2:
            self.barrier()

    # What comes

    def _receive_all(self, replies: Iterable[Any]) -> None:
        self._heard = self._loop.time()
        published, message = self._recipient.published, self._commands.message
        for reply in replies:
            if type(reply) is list and reply[0] == message:
                try:
                    published(reply[1], reply[2])
                except Exception:
                    logger.exception("A message could not be handed on")
            else:
                self._answered(reply)

    def _answered(self, reply: Any) -> None:
        """The server has carried out the oldest command, or refused it."""
        if isinstance(reply, redis_errors.MovedError):
            self._server.moved(reply.host, reply.port)
            raise reply
        if not self._expected:
            raise ConnectionError(f"the server said {reply!r} unasked")
        kind, topic, future = self._expected.popleft()
        if isinstance(reply, Exception):
            if is_transient(reply):
                raise reply
            self._refused(topic, future, reply)
            return
        if kind != "PING" and (reply[0].upper() != kind.encode() or reply[1] != topic):
            # Such as one whose slot has been moved to another node of a cluster.
            raise ConnectionError("the server ended a subscription")
        if future is not None and not future.done():
            future.set_result(None)

    def _refused(
        self, topic: bytes, future: "asyncio.Future[None] | None", error: Exception
    ) -> None:
        if future is not None and self._topics.get(topic) is future:
            del self._topics[topic]
            logger.error("The broker refused the subscription to %s: %s", topic.decode(), error)
        if future is not None and not future.done():
            _fail(future, BrokerError(f"The broker refused a subscription: {error}"))

    # The end

    async def stop(self) -> None:
        """Disconnect. Whoever waits for a confirmation gets an error."""
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=1)
        for future in (self._up, *self._topics.values()):
            if not future.done():
                _fail(future, BrokerUnavailable("The layer has been closed"))


class _Pushes(asyncio.Protocol):
    """Takes over a connection that has been set up, and parses what comes where it arrives.

    Spares each message the way through a stream and a task, which is most of what it costs.
    """

    def __init__(
        self,
        connection: Connection,
        receive: Callable[[Iterable[Any]], None],
        over: "asyncio.Future[None]",
    ) -> None:
        self._receive = receive
        self._over = over
        self._reader = Reader(
            protocolError=redis_errors.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._transport = _transport(connection)
        self._before = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete."""
        try:
            self._reader.feed(data)
            self._receive(iter(self._reader.gets, _NOTHING))
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._end(error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is no more."""
        self._end(error or ConnectionError("the server closed the connection"))
        self._before.connection_lost(error)

    def _end(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)


_NOTHING = object()


def _transport(connection: Connection) -> asyncio.Transport:
    """The transport under a connection of redis-py, which has no name for it."""
    transport: asyncio.Transport = connection._writer.transport  # type: ignore[union-attr, assignment]
    return transport


def _fail(future: "asyncio.Future[None]", error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # whether somebody waits for it or not


async def _patiently(future: "asyncio.Future[None]") -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(future)
    except TimeoutError:
        raise BrokerUnavailable(f"The broker did not answer for {PATIENCE:g} seconds") from None
