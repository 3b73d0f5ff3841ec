"""Clients and pools of redis-py for a project's own commands to the layer's servers."""

from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.sentinel import Sentinel

from ...._runtime import timers
from .hosts import HostsError
from .servers import Connection, Server

__all__ = ["connect", "create_pool", "decode_hosts"]


def decode_hosts(hosts: Any) -> list[dict[str, Any]]:
    """The entries of the option ``hosts``, each as a dict.

    Args:
        hosts: URLs, pairs of host and port, and dicts; None or nothing for this machine.

    Returns:
        For a URL ``{"address": url}``, for a pair ``{"host": host, "port": port}``; a dict stays
        as it is.

    Raises:
        ValueError: ``hosts`` is a single string, or an entry is none of these.
    """
    if not hosts:
        return [{"address": "redis://localhost:6379"}]
    if isinstance(hosts, str | bytes):
        raise HostsError("You must pass a list of Redis hosts, even if there is only one.")
    return [_decode(number, entry) for number, entry in enumerate(_entries(hosts))]


def _entries(hosts: Any) -> Iterable[Any]:
    if isinstance(hosts, Mapping) or not isinstance(hosts, Iterable):
        raise HostsError(f"hosts must be a list, not a {type(hosts).__name__}.")
    return hosts


def _decode(number: int, entry: Any) -> dict[str, Any]:
    if isinstance(entry, Mapping):
        return dict(entry)
    if isinstance(entry, str | bytes):
        return {"address": entry.decode() if isinstance(entry, bytes) else entry}
    if isinstance(entry, list | tuple) and len(entry) == 2:
        return {"host": entry[0], "port": entry[1]}
    raise HostsError(f"hosts[{number}] is no URL, no pair of host and port, and no dict.")


def create_pool(host: Mapping[str, Any]) -> ConnectionPool:
    """A connection pool of redis-py for one entry that :func:`decode_hosts` has returned.

    The caller closes it, with ``await pool.disconnect()``. The layers do not use it.
    """
    options = dict(host)
    if "address" in options:
        address = options.pop("address")
        if isinstance(address, list | tuple):
            options["host"], options["port"] = address
            return ConnectionPool(**options)
        return ConnectionPool.from_url(address, **options)
    master_name = options.pop("master_name", None)
    if master_name is None:
        return ConnectionPool(**options)
    sentinels = [tuple(address) for address in options.pop("sentinels")]
    sentinel_kwargs = options.pop("sentinel_kwargs", None)
    sentinel = Sentinel(sentinels, sentinel_kwargs=sentinel_kwargs, **options)  # type: ignore[no-untyped-call]
    pool: ConnectionPool = sentinel.master_for(master_name).connection_pool
    return pool


class _Pool(ConnectionPool):
    """Gives out connections as the layer makes them: to one server, to a master, or in a cluster.

    Args:
        server: where to connect to.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(protocol=2, decode_responses=False)  # as those connections are
        self._server = server
        self._free: list[Connection] = []
        self._used: set[Connection] = set()

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A connection that is not in use, or a new one."""
        while self._free:
            connection = self._free.pop()
            if connection.is_connected:
                break
        else:
            async with timers.timeout(self._server.response_timeout * 2):
                connection = await self._server.connect()
            connection.socket_timeout = self._server.response_timeout
        self._used.add(connection)
        return connection

    async def release(self, connection: Any) -> None:
        """Take back a connection."""
        self._used.discard(connection)
        self._free.append(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections."""
        closing = [*self._free, *(self._used if inuse_connections else ())]
        self._free.clear()
        for connection in closing:
            await connection.disconnect(nowait=True)


def connect(server: Server) -> "Redis":
    """A client for one server, to be used in ``async with`` on the calling event loop."""
    return Redis.from_pool(_Pool(server))
