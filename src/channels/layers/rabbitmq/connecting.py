"""Connections to one of several nodes of RabbitMQ, and what their errors mean."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

import aiormq
from aiormq import TransportFactory
from aiormq import exceptions as amqp
from yarl import URL

from ..._runtime import timers
from ...exceptions import BrokerError, ChannelsError
from .link import Link, close, open_link

__all__ = ["Nodes", "explain", "is_transient"]


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
        prepare: Callable[[Link], Awaitable[None]] | None = None,
        transport: TransportFactory | None = None,
    ) -> Link:
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
                link = await open_link(connection, self.response_timeout)
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
                await close(connection)
            raise
        self._refused = 0
        if prepare is not None:
            try:
                await prepare(link)
            except BaseException:
                await link.aclose()
                raise
        return link


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
