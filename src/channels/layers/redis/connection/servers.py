"""Where the keys of a partition live, and how to connect there: one server, Sentinel, a cluster."""

import contextlib
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from redis import exceptions as redis_errors
from redis.crc import key_slot

from ...._runtime import timers
from ....exceptions import BrokerError
from .errors import is_permanent, without_secrets
from .opening import Address, Connection, Opener, ask, write_address

__all__ = [
    "Address",
    "ClusterServer",
    "Connection",
    "SentinelServer",
    "Server",
    "SingleServer",
    "note_move",
]


class Server(Protocol):
    """Where one partition of the keys lives."""

    #: What it is, and where, for people to read.
    name: str
    #: Whether its keys move from node to node.
    is_cluster: bool
    #: Seconds that an answer may take.
    response_timeout: float

    async def connect(self) -> Connection:
        """A new connection, ready for commands."""

    def moved(self, host: str, port: int) -> None:
        """The server said that the keys have moved."""


def note_move(server: Server, error: Exception) -> Exception:
    """Let ``server`` know, if ``error`` says so, that its keys are at another node now.

    Returns:
        What to go on with: ``error``, or what is wrong if ``server`` is not known as a cluster.
    """
    if isinstance(error, redis_errors.MovedError):
        if not server.is_cluster:
            return BrokerError(
                f"{server.name} is a node of a Redis Cluster, which keeps these keys on another "
                'node; let hosts say so: [{"cluster": [("host", port), ...]}]'
            )
        server.moved(error.host, error.port)
    return error


class SingleServer:
    """One server at a fixed address.

    Args:
        options: the address, and how to connect.
    """

    is_cluster = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.opener = Opener(options)
        self.name = f"Redis at {self.opener.where}"
        self.response_timeout = self.opener.response_timeout

    async def connect(self) -> Connection:
        """A new connection, ready for commands."""
        return await self.opener.open()

    def moved(self, host: str, port: int) -> None:
        """Only a cluster's keys move."""


class SentinelServer:
    """The master that the sentinels name at the moment of connecting.

    As the "Guidelines for Redis clients with support for Redis Sentinel" have it: the sentinel
    that led to the master is asked first the next time, and the master is asked for its role,
    because a sentinel that was cut off names the old one.

    Args:
        sentinels: their addresses.
        master_name: as in the sentinels' configuration.
        sentinel_options: how to connect to the sentinels.
        options: how to connect to the master.
    """

    is_cluster = False

    def __init__(
        self,
        sentinels: Sequence[Address],
        master_name: str,
        sentinel_options: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self.opener = Opener(options)
        self.sentinel_opener = Opener(sentinel_options)
        asked = ", ".join(write_address(*sentinel) for sentinel in sentinels)
        self.name = f"the Redis master {master_name!r} of the sentinels {asked}"
        self.response_timeout = self.opener.response_timeout
        self._sentinels = deque(sentinels)
        self._master_name = master_name

    async def connect(self) -> Connection:
        """A new connection to the master, ready for commands."""
        errors: list[Exception] = []
        for sentinel in list(self._sentinels):
            try:
                return await self._connect_through(sentinel)
            except Exception as error:  # noqa: BLE001 - the next sentinel may know better
                errors.append(error)
                if self._sentinels[0] == sentinel:
                    self._sentinels.rotate(-1)
        raise _all_failed(f"No sentinel leads to the master {self._master_name!r}", errors)

    async def _connect_through(self, sentinel: Address) -> Connection:
        found = await self.sentinel_opener.ask(
            sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master_name
        )
        if not found:
            raise BrokerError(
                f"the sentinel {sentinel[0]}:{sentinel[1]} knows no such master; compare "
                "master_name with its configuration"
            )
        host, port = found[0].decode(), int(found[1])
        connection = await self.opener.open(host=host, port=port)
        try:
            await self._require_master(connection, f"{host}:{port}")
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _require_master(self, connection: Connection, name: str) -> None:
        try:
            async with timers.timeout(self.response_timeout):
                role = await ask(connection, "ROLE")
        except redis_errors.NoPermissionError:
            return  # then it is found out with the first message
        if role[0] != b"master":
            raise redis_errors.ConnectionError(f"{name} is not a master")

    def moved(self, host: str, port: int) -> None:
        """Only a cluster's keys move."""


class ClusterServer:
    """The node of a cluster that holds one slot.

    Nodes are asked for it in random order at every connecting, so that neither one that is down
    nor one that is cut off from the others is asked forever.

    Args:
        nodes: the addresses of some nodes. The cluster says where the others are.
        key: one whose hash tag all keys of the partition have.
        options: how to connect to any node.
    """

    is_cluster = True

    def __init__(self, nodes: Sequence[Address], key: str, options: Mapping[str, Any]) -> None:
        self.opener = Opener(options)
        self.name = f"the Redis Cluster at {', '.join(write_address(*node) for node in nodes)}"
        self.response_timeout = self.opener.response_timeout
        self._startup_nodes = list(nodes)
        self._nodes = list(nodes)
        self._slot = key_slot(key.encode("utf-8"))
        self._hint: Address | None = None

    def moved(self, host: str, port: int) -> None:
        """The slot is at another node. Without a host, the cluster is asked for it."""
        self._hint = (host, port) if host and host != "?" else None

    async def connect(self) -> Connection:
        """A new connection to the slot's owner, ready for commands."""
        hint, self._hint = self._hint, None
        if hint is not None:
            with contextlib.suppress(Exception):  # then the cluster is asked
                return await self.opener.open(host=hint[0], port=hint[1])
        host, port = await self.find_owner()
        return await self.opener.open(host=host, port=port)

    async def find_owner(self) -> Address:
        """Where the slot is, by the first node that knows."""
        errors: list[Exception] = []
        for node in random.sample(self._nodes, len(self._nodes)):
            try:
                owner = self._read_slots(await self.opener.ask(node, "CLUSTER", "SLOTS"), node[0])
                if owner is not None:
                    return owner
                raise redis_errors.ConnectionError(f"{node[0]}:{node[1]} knows no owner")
            except Exception as error:  # noqa: BLE001 - the next node may answer
                errors.append(error)
        raise _all_failed(f"No node of the cluster leads to slot {self._slot}", errors)

    def _read_slots(self, ranges: Any, asked: str) -> Address | None:
        """The owner of the slot; takes note of all nodes by the way."""
        owner: Address | None = None
        nodes: list[Address] = []
        for start, end, *replicas in ranges:
            addresses = [_node_address(replica, asked) for replica in replicas]
            nodes += [address for address in addresses if address]
            if start <= self._slot <= end:
                owner = addresses[0]
        self._nodes = list(dict.fromkeys(nodes + self._startup_nodes))
        return owner


def _node_address(node: Sequence[Any], asked: str) -> Address | None:
    """Where a node of ``CLUSTER SLOTS`` is.

    No host stands for the one that was asked (``cluster-preferred-endpoint-type
    unknown-endpoint``); "?" for a node that has no hostname yet although the cluster prefers
    hostnames, whose IP address is among the further items then.
    """
    host = node[0].decode() if node[0] else asked
    if host == "?":
        more = [item.decode() for item in (node[3] if len(node) > 3 else ())]
        host = dict(zip(more[::2], more[1::2], strict=False)).get("ip", "")
    return (host, int(node[1])) if host else None


def _all_failed(what: str, errors: Sequence[Exception]) -> Exception:
    """One error for many: permanent only if each of them is, as the next attempt may differ."""
    texts = [without_secrets(error) or type(error).__name__ for error in errors]
    reasons = "; ".join(dict.fromkeys(texts))
    make: Callable[[str], Exception] = redis_errors.ConnectionError
    if errors and all(map(is_permanent, errors)):
        make = BrokerError
    raised = make(f"{what}: {reasons}")
    raised.__cause__ = errors[0] if errors else None
    return raised
