"""Connections to one of several nodes of RabbitMQ, and what their errors mean."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import aiormq
from aiormq import TransportFactory
from aiormq import exceptions as amqp
from aiormq.abc import AbstractConnection
from aiormq.channel import Channel
from yarl import URL

from ..._runtime import backstage, timers
from ..._runtime.backstage import ignore_failure
from ...exceptions import BrokerError, ChannelsError

__all__ = ["Link", "Nodes", "explain", "is_transient", "uncancelled"]

_T = TypeVar("_T")

# Seconds for RabbitMQ to answer that something is to be closed.
_CLOSING = 1.0


async def uncancelled(call: Awaitable[_T]) -> _T:
    """Await a call to RabbitMQ, which goes on if the caller is cancelled.

    aiormq closes the channel of a call that is cancelled in the middle, and others use it too.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        task.add_done_callback(ignore_failure)
        raise
    if task.cancelled():  # that is how aiormq ends calls whose connection breaks
        raise ConnectionError("the connection was closed")
    return task.result()


class Nodes:
    """The nodes of a cluster, or the only one: which is tried next, and how.

    Args:
        urls: ``amqp://`` or ``amqps://``, with user, password and virtual host.
        tls: for ``amqps://``; by default the system's certificates are trusted.
        heartbeat: seconds between signs of life; after three without one a connection is given up.
        response_timeout: seconds for which an answer is awaited.
    """

    def __init__(
        self,
        urls: Sequence[str],
        tls: ssl.SSLContext | None,
        heartbeat: int,
        response_timeout: float,
    ) -> None:
        self._urls = [URL(url).update_query(heartbeat=heartbeat) for url in urls]
        self._tls = tls
        self._next = 0
        # How often in a row the virtual host was refused.
        self._refused = 0
        self.response_timeout = response_timeout

    @property
    def name(self) -> str:
        """Where the next attempt leads, for the log: without a password."""
        url = self._urls[self._next % len(self._urls)]
        return f"RabbitMQ at {url.host}:{url.port or 5672}"

    async def connect(
        self,
        purpose: str,
        prepare: "Callable[[Link], Awaitable[None]] | None" = None,
        transport: TransportFactory | None = None,
    ) -> "Link":
        """Connect to the node that worked last, or to the next one after a failure.

        Args:
            purpose: what the management page of RabbitMQ shows.
            prepare: awaited with the connection, before it is used.
            transport: what it is made with, if not with what aiormq has.

        Raises:
            Exception: whatever went wrong; see :func:`explain`.
        """
        url = self._urls[self._next % len(self._urls)]
        connection = None
        try:
            async with timers.timeout(self.response_timeout):
                connection = await aiormq.connect(
                    url,
                    context=self._tls,
                    client_properties={"connection_name": f"channels, {purpose}"},
                    transport_factory=transport,
                )
                link = Link(connection, await _open(connection))
        except amqp.InvalidFrameError as error:
            self._next += 1
            if "Connection.Close" not in str(error):
                raise
            # What aiormq makes of a refusal when the virtual host is to be opened. A broker that
            # has just started refuses for a moment, too.
            self._refused += 1
            if self._refused < _REFUSALS:
                raise ConnectionError("the virtual host is not there (yet)") from error
            raise amqp.ConnectionNotAllowed(530, url.path) from error
        except BaseException:
            self._next += 1
            if connection is not None:
                await _close(connection)
            raise
        self._refused = 0
        if prepare is not None:
            try:
                await prepare(link)
            except BaseException:
                await link.aclose()
                raise
        return link


class Link:
    """An open connection with one channel.

    Args:
        connection: what aiormq has opened.
        channel: on it.
    """

    def __init__(self, connection: AbstractConnection, channel: Channel) -> None:
        self._connection = connection
        self._closing: set[asyncio.Task[None]] = set()
        #: For calls, and for what is published: the broker confirms it.
        self.channel = channel

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self.channel.is_closed

    @property
    def over(self) -> "asyncio.Future[Any]":
        """Done when it can be used no more, with the reason if there is one."""
        return self.channel.closing

    def reason(self) -> Exception:
        """What has ended it."""
        error = self.over.exception()
        return (
            error if isinstance(error, Exception) else ConnectionError("the connection was closed")
        )

    async def apart(self, call: Callable[[Channel], Awaitable[_T]]) -> _T:
        """Call on a channel of its own what may be refused: that closes the channel.

        Args:
            call: is given the channel.
        """
        channel = await _open(self._connection)
        try:
            return await uncancelled(call(channel))
        finally:
            if not channel.is_closed:
                closing = backstage.start(_close(channel))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close it, without an error."""
        if self._closing:
            await asyncio.wait(self._closing)
        await _close(self._connection)


async def _open(connection: AbstractConnection) -> Channel:
    channel = await uncancelled(connection.channel(publisher_confirms=True, on_return_raises=True))
    if not isinstance(channel, Channel):  # pragma: no cover - aiormq has no other
        raise TypeError(f"aiormq has channels of an unknown kind: {channel!r}")
    return channel


async def _close(connection: AbstractConnection | Channel) -> None:
    closing = asyncio.ensure_future(connection.close())
    await asyncio.wait((closing,), timeout=_CLOSING)
    closing.cancel()
    closing.add_done_callback(ignore_failure)


# Errors

# Refusals of the virtual host in a row after which they are believed.
_REFUSALS = 4

# How far back the reasons of an error are followed.
_REASONS = 8

_REFUSED = (amqp.AuthenticationError, amqp.ProbableAuthenticationError)


def is_transient(error: BaseException) -> bool:
    """Whether RabbitMQ may answer otherwise in a moment."""
    if isinstance(error, (*_REFUSED, amqp.ConnectionNotAllowed)):
        return False
    if isinstance(error, amqp.ChannelAccessRefused | amqp.ChannelPreconditionFailed):
        return False
    if _of_tls(error) is not None:
        return False
    # aiormq answers calls on a channel that has just been closed with a RuntimeError of its own.
    return isinstance(
        error,
        amqp.AMQPError
        | amqp.ChannelInvalidStateError
        | OSError
        | TimeoutError
        | asyncio.CancelledError,
    )


def _of_tls(error: BaseException | None) -> ssl.SSLError | None:
    """What is wrong with TLS, if that is why a connection could not be opened."""
    for _ in range(_REASONS):  # those of aiormq's errors may run in a circle
        if isinstance(error, ssl.SSLError):
            return error
        error = error and (error.__cause__ or error.__context__)
    return None


def explain(error: BaseException, what: str = "a command") -> Exception:
    """What callers are told when RabbitMQ answered ``what`` with ``error``."""
    if isinstance(error, ChannelsError):
        return error
    text = str(error) or type(error).__name__
    if _of_tls(error) is not None:
        return BrokerError(
            "TLS with RabbitMQ failed; look at the port in urls (usually 5671), at the certificate "
            f"and at the option tls: {text}"
        )
    if isinstance(error, _REFUSED):
        return BrokerError(
            f"RabbitMQ refused the credentials; look at user and password in urls: {text}"
        )
    if isinstance(error, amqp.ConnectionNotAllowed):
        return BrokerError(
            "RabbitMQ does not let the user into the virtual host in the option urls; make it with "
            f"rabbitmqctl add_vhost, and permit it with rabbitmqctl set_permissions: {text}"
        )
    if isinstance(error, amqp.ChannelAccessRefused):
        return BrokerError(
            f"RabbitMQ refused {what}, as the user's permissions do not allow it; they have to "
            f"cover names that begin with channels, and writing to amq.default: {text}"
        )
    return BrokerError(f"RabbitMQ refused {what}: {text}")
