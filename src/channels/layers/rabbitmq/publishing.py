"""Publishing, with the broker's confirmation."""

import enum

from aiormq import spec
from aiormq.exceptions import DeliveryError, PublishError

from ..._runtime import timers
from ...exceptions import BrokerUnavailable, Unconfirmed
from ..options import milliseconds
from .connecting import Link, Nodes, uncancelled
from .line import Line
from .names import exchange_name

__all__ = ["Outcome", "Publisher"]

_TRANSIENT, _PERSISTENT = 1, 2


class Outcome(enum.Enum):
    """What became of a message."""

    TAKEN = enum.auto()
    #: At least one queue had no room. All others have it.
    FULL = enum.auto()
    #: There is no queue for it.
    UNROUTABLE = enum.auto()


class Publisher:
    """What one event loop publishes, over one connection, in order.

    RabbitMQ stops reading a connection over which something is published when its memory or its
    disk are short. So nothing is received over this one.

    Args:
        nodes: where to connect.
        prefix: of the exchange.
    """

    def __init__(self, nodes: Nodes, prefix: str) -> None:
        self._exchange = exchange_name(prefix)
        self._patience = nodes.response_timeout
        self._line = Line(nodes, "sending", self._prepare)
        self.abandon, self.aclose = self._line.abandon, self._line.aclose
        #: Messages that wait for the connection, or for a confirmation.
        self.under_way = 0

    async def _prepare(self, link: Link) -> None:
        await uncancelled(link.channel.exchange_declare(self._exchange, durable=True))

    async def link(self) -> Link:
        """The connection, open, and not blocked.

        Raises:
            BrokerUnavailable: there is none, or RabbitMQ takes no messages.
        """
        link = await self._line.get()
        try:
            async with timers.timeout(self._patience):
                await link.unblocked()
        except TimeoutError:
            raise BrokerUnavailable(
                "RabbitMQ takes no messages, since its memory or its disk are short (its log says "
                f"which alarm it has set); it was waited for {self._patience:g} seconds"
            ) from None
        return link

    async def publish(
        self,
        key: str,
        body: bytes,
        *,
        direct: bool = False,
        mandatory: bool = False,
        persistent: bool = False,
        expiration: float | None = None,
        kind: str | None = None,
    ) -> Outcome:
        """Publish a message, and wait until the broker has it.

        Args:
            key: the routing key.
            body: the message.
            direct: to the queue with the name ``key``, not to the exchange.
            mandatory: whether it matters that there is no queue for it.
            persistent: whether it is to outlive the broker, in a durable queue.
            expiration: seconds that it may wait in a queue.
            kind: the type of a message that is not a consumer's.

        Raises:
            BrokerUnavailable: it was not published.
            Unconfirmed: perhaps it was.
        """
        properties = spec.Basic.Properties(
            delivery_mode=_PERSISTENT if persistent else _TRANSIENT,
            expiration=None if expiration is None else str(milliseconds(expiration)),
            message_type=kind,
        )
        self.under_way += 1
        try:
            return await self._publish(key, body, properties, direct=direct, mandatory=mandatory)
        finally:
            self.under_way -= 1

    async def _publish(
        self,
        key: str,
        body: bytes,
        properties: spec.Basic.Properties,
        *,
        direct: bool,
        mandatory: bool,
    ) -> Outcome:
        link = await self.link()
        try:
            async with timers.timeout(self._patience):
                await uncancelled(
                    link.channel.basic_publish(
                        body,
                        exchange="" if direct else self._exchange,
                        routing_key=key,
                        properties=properties,
                        mandatory=mandatory,
                        wait=False,
                    )
                )
        except PublishError:  # which is a DeliveryError, too
            return Outcome.UNROUTABLE
        except DeliveryError:
            return Outcome.FULL
        except Exception as error:
            raise Unconfirmed(f"RabbitMQ has not confirmed a message: {error!r}") from error
        return Outcome.TAKEN

    async def rest(self) -> None:
        """Let the connection go, unless something is under way."""
        if not self.under_way:
            await self.aclose()
