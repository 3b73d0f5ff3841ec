"""Where the keys of a partition live, and how to connect there: one server, Sentinel, a cluster.

Everything here ends in connections of redis-py, made one by one and owned by who asked for them.
There is no pool that a burst of callers could drain, and no timeout or retry that this package
did not set itself.
"""

import contextlib
import math
import random
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

from redis import exceptions as redis_errors
from redis.asyncio import connection as _connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot

from ...._runtime import clock, timers
from ....exceptions import BrokerError, ChannelsError
from .refusals import explain_opening, shorn

__all__ = [
    "Address",
    "BrokerError",
    "ClusterServer",
    "Connection",
    "Opener",
    "SentinelServer",
    "Server",
    "SingleServer",
]

Connection = _connection.AbstractConnection
Address: TypeAlias = tuple[str, int]

# Seconds to connect, and the default for how long an answer may take.
CONNECT_TIMEOUT = 5.0
RESPONSE_TIMEOUT = 5.0

# Seconds that one sentinel, or one node of a cluster, is given to say where the keys are. Another
# one can be asked, so it is less than a connection to the keys is given.
_ASKING_TIMEOUT = 2.0

# Seconds after which the files with certificates are read anew. To read all that a system trusts
# takes longer than to connect; but they are renewed while a process runs.
_TLS_FRESH = 60.0

# Options of redis-py's pools, which settings may hold although there is no pool here.
_POOL_OPTIONS = frozenset({"max_connections", "timeout", "check_connection"})


class _Parser(_connection.DefaultParser):  # type: ignore[misc, valid-type]
    """Gives the errors of a cluster classes; redis-py before 6 does for its own client only."""

    EXCEPTION_CLASSES: ClassVar[Any] = {
        **_connection.DefaultParser.EXCEPTION_CLASSES,
        "ASK": redis_errors.AskError,
        "CLUSTERDOWN": redis_errors.ClusterDownError,
        "MASTERDOWN": redis_errors.MasterDownError,
        "MOVED": redis_errors.MovedError,
        "TRYAGAIN": redis_errors.TryAgainError,
    }


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


class Opener:
    """Opens connections with the same options to one address or another.

    Args:
        options: those of redis-py's connections, and ``ssl``.

    Raises:
        TypeError, ValueError: redis-py does not know such an option, or not such a value.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        options = {name: value for name, value in options.items() if name not in _POOL_OPTIONS}
        self.response_timeout = float(options.pop("socket_timeout", None) or RESPONSE_TIMEOUT)
        self._tls: Any = None
        self._tls_until = -math.inf
        self._class: type[Connection] = _class_for(options)
        if issubclass(self._class, _connection.Connection):
            options.setdefault("socket_keepalive", True)
        if issubclass(self._class, _TlsConnection) and not _is_unverified(options):
            options.setdefault("ssl_check_hostname", True)  # redis-py does not before version 6
        self._options = {
            **options,
            "socket_connect_timeout": options.get("socket_connect_timeout") or CONNECT_TIMEOUT,
            # RESP2, whose answers have one shape in every version of the client and the server.
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": None,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),
            "parser_class": _Parser,
        }
        #: The address that the options hold.
        self.where = _where(self.make())

    def make(self, **where: Any) -> Connection:
        """A connection that is not open yet, to ``host`` and ``port`` if given."""
        connection = self._class(**{**self._options, **where})
        if isinstance(connection, _TlsConnection):
            if clock.now() > self._tls_until:
                self._tls = connection.ssl_context
                self._tls_until = clock.now() + _TLS_FRESH
            connection.ssl_context = self._tls
        return connection

    async def open(self, **where: Any) -> Connection:
        """A connection, ready for commands."""
        connection = self.make(**where)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - told in other words
            encrypted = isinstance(connection, _connection.SSLConnection)
            failure = explain_opening(_where(connection), error, encrypted=encrypted)
        else:
            return connection
        # Out of reach of what redis-py raised, which may hold the password.
        raise failure

    async def ask(self, address: Address, *command: str) -> Any:
        """What the server at ``address`` answers to one command."""
        async with timers.timeout(_ASKING_TIMEOUT):
            connection = await self.open(host=address[0], port=address[1])
            try:
                return await _answer(connection, *command)
            finally:
                await connection.disconnect(nowait=True)


class _TlsConnection(_connection.SSLConnection):
    """Ends without a farewell.

    The end of TLS is a handshake of its own, which would keep the socket open for as long as the
    server takes, and for ever once the event loop has stopped. Every command ends with its answer,
    so there is nothing that a farewell would protect.
    """

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """Drop the connection."""
        writer = self._writer
        if writer is not None:
            writer.transport.abort()
        await super().disconnect(*args, **options)


def _class_for(options: dict[str, Any]) -> type[Connection]:
    """The class of connections that the options need; it is taken out of them."""
    chosen, encrypted = options.pop("connection_class", None), options.pop("ssl", False)
    if chosen is _connection.SSLConnection or (encrypted and chosen is None):
        return _TlsConnection
    if chosen is not None:
        return chosen  # type: ignore[no-any-return]
    return _connection.UnixDomainSocketConnection if "path" in options else _connection.Connection


def _is_unverified(options: Mapping[str, Any]) -> bool:
    """Whether the options say that a server's certificate need not be valid."""
    wanted = options.get("ssl_cert_reqs", "required")
    return wanted == ssl.CERT_NONE or str(wanted).lower() == "none"


async def _answer(connection: Connection, *command: str) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()


def _place(host: Any, port: Any) -> str:
    """An address as it is written."""
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _where(connection: Connection) -> str:
    """The address that a connection is made to."""
    parts = vars(connection)
    return str(parts["path"]) if parts.get("path") else _place(parts["host"], parts["port"])


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
        asked = ", ".join(_place(*sentinel) for sentinel in sentinels)
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
                role = await _answer(connection, "ROLE")
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
        self.name = f"the Redis Cluster at {', '.join(_place(*node) for node in nodes)}"
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
    reasons = "; ".join(dict.fromkeys(shorn(error) or type(error).__name__ for error in errors))
    make: Callable[[str], Exception] = redis_errors.ConnectionError
    if errors and all(map(_is_permanent, errors)):
        make = BrokerError
    raised = make(f"{what}: {reasons}")
    raised.__cause__ = errors[0] if errors else None
    return raised


def _is_permanent(error: Exception) -> bool:
    return isinstance(
        error,
        ChannelsError
        | redis_errors.ResponseError
        | redis_errors.AuthenticationError
        | redis_errors.AuthorizationError,
    )
