"""How one connection is opened, as redis-py does it, with the options that an entry of hosts holds.

Connections are made one by one and belong to the caller. There is no pool that a burst of callers
could drain, and no timeout or retry that this package did not set itself.
"""

import math
import ssl
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from redis import exceptions as redis_errors
from redis.asyncio import connection as _connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ...._runtime import clock, timers
from .errors import explain_opening

__all__ = ["Address", "Connection", "Opener", "address_of", "ask", "write_address"]

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
        self.where = address_of(self.make())

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
            failure = explain_opening(address_of(connection), error, encrypted=encrypted)
        except BaseException:
            # Cancelled, because time is up or the event loop ends: redis-py leaves the socket open.
            await connection.disconnect(nowait=True)
            raise
        else:
            return connection
        # Out of reach of what redis-py raised, which may hold the password.
        raise failure

    async def ask(self, address: Address, *command: str) -> Any:
        """What the server at ``address`` answers to one command, over a connection of its own."""
        async with timers.timeout(_ASKING_TIMEOUT):
            connection = await self.open(host=address[0], port=address[1])
            try:
                return await ask(connection, *command)
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


async def ask(connection: Connection, *command: Any) -> Any:
    """The answer to one command over a connection that is used for nothing else meanwhile."""
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()


def write_address(host: Any, port: Any) -> str:
    """An address as it is written."""
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def address_of(connection: Connection) -> str:
    """The address that a connection is made to."""
    parts = vars(connection)
    return str(parts["path"]) if parts.get("path") else write_address(parts["host"], parts["port"])
