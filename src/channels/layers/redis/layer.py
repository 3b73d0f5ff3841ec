"""What the layers over Redis add to a layer with a broker: servers, and clients for them."""

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from django.core.checks import CheckMessage

from ..broker.delayed import SCHEDULE_CAPACITY, DelayedSends, SchedulingTransport
from ..broker.transport import Recipient
from ..options import require_count, require_text
from .connection.client import connect, decode_hosts
from .connection.eviction import check_eviction
from .connection.hosts import HostsError, parse_hosts
from .keys import consistent_hash
from .partitions import Partitions
from .queues.named import NamedChannels

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisLayer"]


class RedisTransport(SchedulingTransport, Protocol):
    """A transport through Redis."""

    @property
    def named(self) -> NamedChannels:
        """The queues of named channels."""


class RedisLayer(DelayedSends):
    """A layer over one or several Redis servers. A subclass says over which transport.

    Args:
        hosts: the option.
        prefix: of all keys.
        schedule_capacity: messages that may be scheduled in each partition.
        options: of :class:`~channels.layers.broker.layer.BrokerLayer`.
    """

    transport: RedisTransport

    def __init__(
        self,
        hosts: Any,
        *,
        prefix: str,
        schedule_capacity: int = SCHEDULE_CAPACITY,
        **options: Any,
    ) -> None:
        require_text("prefix", prefix)
        require_count("schedule_capacity", schedule_capacity, 0)
        self.schedule_capacity = schedule_capacity
        self.servers, self._bases = parse_hosts(hosts, prefix)
        #: The option ``hosts``, as a list of dicts.
        self.hosts = decode_hosts(hosts)
        super().__init__(self._connect, prefix=prefix, **options)

    def _connect(self, recipient: Recipient) -> RedisTransport:
        """The transport to these servers."""
        raise NotImplementedError

    async def check_broker(self, alias: str) -> list[CheckMessage]:
        """Whether a server may throw away what the layer keeps there."""
        return await check_eviction(alias, self.servers)

    def make_partitions(self) -> Partitions:
        """The layer's servers, for other things than messages, over connections of their own."""
        return Partitions(self.servers, self._bases)

    @property
    def ring_size(self) -> int:
        """Over how many servers, or parts of a cluster, names are spread."""
        return len(self.servers)

    def consistent_hash(self, value: str | bytes) -> int:
        """The number of the server on which a name is."""
        return consistent_hash(value, len(self.servers))

    def connection(self, index: int) -> "Redis":
        """A redis-py client, for commands of your own to a server that the layer uses.

        Use it in ``async with``, on one event loop; its connections are closed at the end.

        Args:
            index: the number of the server; see :meth:`consistent_hash`.

        Raises:
            ValueError: there is no such server.
        """
        if not 0 <= index < len(self.servers):
            raise HostsError(f"There are only {len(self.servers)} hosts - you asked for {index}!")
        return connect(self.servers[index])

    async def close_pools(self) -> None:
        """Close the connections of the running event loop, as at the end of a script or a test.

        Nothing else ends: neither memberships nor unread messages nor calls under way, and nothing
        on other event loops. A connection over which a consumer or a caller of :meth:`receive` is
        still to get something stays, and a new one is made when it is needed.

        It takes a few seconds at the most, also if the broker does not answer.
        """
        here = asyncio.get_running_loop()
        looked = self._scheduler.loop is here
        if looked:
            await self._scheduler.stop()
        await self.transport.rest()
        if looked and (here in self.local.waiting_loops() or self.transport.named.is_awaited()):
            self._scheduler.watch()
