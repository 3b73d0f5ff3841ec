"""The option ``hosts``: where the servers are, and how to connect to each.

Everything here ends in connections of redis-py, made one by one and owned by who asked for them.
There is no pool that a burst of callers could drain, and no timeout or retry that this package
did not set itself.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ...exceptions import ChannelsError

try:
    from redis.asyncio import connection as _connection
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import Sentinel
    from redis.backoff import NoBackoff
    from redis.crc import key_slot
except ImportError as error:  # pragma: no cover - tested in an environment of its own
    raise ImportError(
        'The Redis channel layers need redis-py; install it with: pip install "channels[redis]"'
    ) from error

__all__ = ["ClusterServer", "SentinelServer", "Server", "SingleServer", "parse_hosts"]

Connection = _connection.Connection

# Seconds to connect, and the default for how long an answer may take.
CONNECT_TIMEOUT = 5.0
RESPONSE_TIMEOUT = 5.0

# Slot groups of a cluster over which groups and channels are spread. All processes must agree.
CLUSTER_PARTITIONS = 8


class HostsError(ChannelsError, ValueError):
    """The option ``hosts`` cannot be understood."""


class Server(Protocol):
    """Where one partition of the keys lives."""

    response_timeout: float

    async def connect(self) -> Connection:
        """A new connection, ready for commands."""

    def moved(self, host: str, port: int) -> None:
        """The server said that the keys have moved."""


class _Base:
    def __init__(self, options: dict[str, Any]) -> None:
        self.response_timeout = float(options.pop("socket_timeout", None) or RESPONSE_TIMEOUT)
        self._class = options.pop("connection_class", None)
        self._options = options

    async def _open(self, **where: Any) -> Connection:
        options = {
            "socket_connect_timeout": CONNECT_TIMEOUT,
            **self._options,
            **where,
            # RESP2, whose answers have one shape in every version of the client and the server.
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": None,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),
        }
        connection_class = self._class or Connection
        if "path" not in options:
            options.setdefault("socket_keepalive", True)
            if options.pop("ssl", False) and self._class is None:
                connection_class = _connection.SSLConnection
        connection: Connection = connection_class(**options)
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    def moved(self, host: str, port: int) -> None:
        """Only a cluster's keys move."""


class SingleServer(_Base):
    """One server at a fixed address."""

    async def connect(self) -> Connection:
        """A new connection, ready for commands."""
        return await self._open()


class SentinelServer(_Base):
    """The master that the sentinels name at the moment of connecting."""

    def __init__(
        self,
        sentinels: Sequence[tuple[str, int]],
        master_name: str,
        sentinel_kwargs: Mapping[str, Any] | None,
        options: dict[str, Any],
    ) -> None:
        super().__init__(options)
        self._sentinels = [tuple(address) for address in sentinels]
        self._master_name = master_name
        self._sentinel_kwargs = {
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": CONNECT_TIMEOUT,
            **(sentinel_kwargs or {}),
        }

    async def connect(self) -> Connection:
        """A new connection to the master, ready for commands."""
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            self._sentinels, sentinel_kwargs=self._sentinel_kwargs
        )
        try:
            host, port = await sentinel.discover_master(self._master_name)
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        return await self._open(host=host, port=port)


class ClusterServer(_Base):
    """The node of a cluster that holds one slot."""

    def __init__(self, nodes: Sequence[tuple[str, int]], tag: str, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._nodes = [(host, int(port)) for host, port in nodes]
        self._slot = key_slot(tag.encode("ascii"))
        self._owner: tuple[str, int] | None = None

    def moved(self, host: str, port: int) -> None:
        """The slot is at another node."""
        self._owner = (host, int(port)) if host else None

    async def connect(self) -> Connection:
        """A new connection to the slot's owner, ready for commands."""
        if self._owner is not None:
            owner, self._owner = self._owner, None
            with contextlib.suppress(Exception):  # then the other nodes are asked
                return await self._open(host=owner[0], port=owner[1])
        host, port = await self._find_owner()
        return await self._open(host=host, port=port)

    async def _find_owner(self) -> tuple[str, int]:
        failure: Exception | None = None
        for host, port in list(self._nodes):
            try:
                connection = await self._open(host=host, port=port)
            except Exception as error:  # noqa: BLE001 - the next node may answer
                failure = error
                continue
            try:
                await connection.send_command("CLUSTER", "SLOTS")
                ranges = await connection.read_response()
            except Exception as error:  # noqa: BLE001
                failure = error
                continue
            finally:
                await connection.disconnect(nowait=True)
            owner = self._read_slots(ranges, host)
            if owner is not None:
                return owner
        raise ConnectionError(
            f"No node of the cluster knows the owner of slot {self._slot}"
        ) from failure

    def _read_slots(self, ranges: Any, asked: str) -> tuple[str, int] | None:
        owner: tuple[str, int] | None = None
        nodes: list[tuple[str, int]] = []
        for start, end, *replicas in ranges:
            for position, (raw_host, port, *_) in enumerate(replicas):
                host = raw_host.decode() if raw_host else asked
                if (host, port) not in nodes:
                    nodes.append((host, port))
                if position == 0 and start <= self._slot <= end:
                    owner = (host, port)
        self._nodes = nodes + [node for node in self._nodes if node not in nodes]
        return owner


def parse_hosts(hosts: Any, prefix: str) -> tuple[list[Server], list[str]]:
    """The servers that the option names, one for each partition of the keys.

    Args:
        hosts: URLs, pairs of host and port, or dicts; see the reference of the layer's options.
        prefix: of all keys.

    Returns:
        The servers, and for each the base that all its keys start with. It is a hash tag, so that
        a cluster keeps the keys of one partition together.

    Raises:
        ValueError: the option cannot be understood; says what it may be.
    """
    if isinstance(hosts, str | bytes):
        raise HostsError("You must pass a list of Redis hosts, even if there is only one.")
    entries = list(hosts or [("localhost", 6379)])
    cluster = [entry for entry in entries if isinstance(entry, Mapping) and "cluster" in entry]
    if cluster:
        if len(entries) > 1:
            raise HostsError("A cluster must be the only entry of hosts.")
        return _parse_cluster(dict(cluster[0]), prefix)
    servers = [_parse_host(entry) for entry in entries]
    return servers, [f"{{{prefix}:{number}}}" for number in range(len(servers))]


def _parse_cluster(options: dict[str, Any], prefix: str) -> tuple[list[Server], list[str]]:
    nodes = options.pop("cluster")
    count = int(options.pop("partitions", CLUSTER_PARTITIONS))
    addresses: list[tuple[str, int]] = []
    for node in nodes:
        where = _address_options(node)
        addresses.append((where.pop("host"), where.pop("port", 6379)))
        options = {**where, **options}
    tags = [f"{prefix}:{number}" for number in range(count)]
    servers: list[Server] = [ClusterServer(addresses, tag, dict(options)) for tag in tags]
    return servers, [f"{{{tag}}}" for tag in tags]


def _parse_host(entry: Any) -> Server:
    if not isinstance(entry, Mapping):
        return SingleServer(_address_options(entry))
    options = dict(entry)
    if "sentinels" in options:
        try:
            master_name = options.pop("master_name")
        except KeyError:
            raise HostsError("A host with sentinels needs a master_name too.") from None
        sentinels = options.pop("sentinels")
        return SentinelServer(sentinels, master_name, options.pop("sentinel_kwargs", None), options)
    if "address" in options:
        options = {**_address_options(options.pop("address")), **options}
    if not ({"host", "path", "port"} & options.keys()):
        raise HostsError(
            "A host given as a dict needs one of the keys address, host, path, sentinels and "
            f"cluster; it has {', '.join(sorted(map(str, options))) or 'none'}."
        )
    if "path" in options:
        options.setdefault("connection_class", _connection.UnixDomainSocketConnection)
    return SingleServer(options)


def _address_options(address: Any) -> dict[str, Any]:
    """What redis-py's connections call the parts of an address."""
    if isinstance(address, str):
        if "://" not in address:
            raise HostsError(
                f"{address!r} is no URL; write redis://host:port/0, rediss:// or unix://, or a "
                "pair of host and port."
            )
        return dict(_connection.parse_url(address))
    if isinstance(address, Sequence) and len(address) == 2:
        return {"host": str(address[0]), "port": int(address[1])}
    raise HostsError(f"Cannot understand the host {address!r}; give a URL or (host, port).")
