"""What a process asks of a server about topics; the answers come in the order of the commands."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from redis import exceptions as redis_errors

from ...._runtime import lograte
from ..connection.errors import explain, is_transient
from ..connection.raw import RawConnection

__all__ = ["PLAIN", "SHARDED", "Commands", "Requests"]

logger = logging.getLogger("channels.layers")


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


class _Expected(NamedTuple):
    """An answer that is outstanding, and the future that is done when it has come."""

    kind: str
    topic: bytes
    future: "asyncio.Future[None] | None"


class Requests:
    """The topics to be subscribed to, over one connection after the other.

    Belongs to the event loop on which it was made.

    Args:
        commands: the kind of publish and subscribe.
        topics: to be subscribed to from the start.
    """

    def __init__(self, commands: Commands, topics: Iterable[bytes]) -> None:
        self._commands = commands
        self._loop = asyncio.get_running_loop()
        # Each is done when the server has confirmed or refused the subscription.
        self._topics: dict[bytes, asyncio.Future[None]] = {
            topic: self._loop.create_future() for topic in topics
        }
        self._connection: RawConnection | None = None
        self._expected: deque[_Expected] = deque()
        self._unsent: list[tuple[Any, ...]] = []
        self._barrier: asyncio.Future[None] | None = None

    def connected(self, connection: RawConnection) -> None:
        """Subscribe to all topics over a new connection."""
        self._connection = connection
        for topic, future in self._topics.items():
            self._send(self._commands.subscribe, topic, future)

    def disconnected(self) -> None:
        """The connection is no more: topics are subscribed to again over the next one."""
        self._connection = self._barrier = None
        self._unsent = []
        expected, self._expected = self._expected, deque()
        for kind, _, future in expected:
            if kind == "PING" and future is not None and not future.done():
                future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Fail the subscriptions that the server has not confirmed."""
        for future in self._topics.values():
            if not future.done():
                _fail(future, error)

    # Topics

    def has(self, topic: bytes) -> bool:
        """Whether it is, or is about to be, subscribed to."""
        return topic in self._topics

    def was_confirmed(self, topic: bytes) -> bool:
        """Whether the server has confirmed the subscription, if perhaps over another connection."""
        future = self._topics.get(topic)
        return future is not None and future.done() and future.exception() is None

    def subscribe(self, topic: bytes) -> "asyncio.Future[None] | None":
        """Subscribe to a topic, unless it was done; what to wait for, or None if it was confirmed.

        The future gets a ``BrokerError`` if the server refuses.
        """
        future = self._topics.get(topic)
        if future is None or (future.done() and future.exception()):
            future = self._topics[topic] = self._loop.create_future()
            self._send(self._commands.subscribe, topic, future)
        elif future.done():
            return None
        return future

    def unsubscribe(self, topic: bytes) -> None:
        """Let the server publish ``topic`` to others only."""
        if self._topics.pop(topic, None) is not None:
            self._send(self._commands.unsubscribe, topic, None)

    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that the server had published before has been handed on."""
        barrier = self._barrier
        if barrier is None:
            barrier = self._loop.create_future()
            if self._connection is None:
                barrier.set_result(None)  # what is not here by now will never be
            else:
                self._barrier = barrier
                self._send("PING", b"", barrier)
        return barrier

    def _send(self, kind: str, topic: bytes, future: "asyncio.Future[None] | None") -> None:
        """Send a command with the others of this turn of the event loop, if connected."""
        if self._connection is None:
            return
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

    # Answers

    def answered(self, reply: Any) -> None:
        """The server has carried out the oldest command, or refused it.

        Raises:
            Exception: the answer, or what is wrong with it, if another connection is needed.
        """
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


def _fail(future: "asyncio.Future[None]", error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # there may be no caller that waits for it
