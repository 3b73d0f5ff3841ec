"""The option ``hosts``: everything it may say, and the servers it stands for."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection, parse_url

from ....exceptions import ChannelsError
from ..keys import base_of
from .servers import (
    Address,
    ClusterServer,
    SentinelServer,
    Server,
    SingleServer,
)

__all__ = ["HostsError", "parse_hosts"]

# Slot groups of a cluster over which groups and channels are spread. All processes must agree.
CLUSTER_PARTITIONS = 8

_UNESCAPED = (
    "A URL cannot be taken apart. Its port must be a number, and special characters in a user name "
    "or password must be percent-encoded."
)

_SHAPES = (
    'write a URL ("redis://host:6379/0", "rediss://...", "unix:///path"), a pair of host and '
    "port, or a dict"
)


class HostsError(ChannelsError, ValueError):
    """The option ``hosts`` cannot be understood; says where and why."""


def parse_hosts(hosts: Any, prefix: str) -> tuple[list[Server], list[str]]:
    """The servers that the option names, one for each partition of the keys.

    Args:
        hosts: a list of URLs, pairs of host and port, or dicts; by default a server on this
            machine. See the reference of the layer's options.
        prefix: of all keys.

    Returns:
        The servers, and for each the base that all its keys start with. It is a hash tag, so that
        a cluster keeps the keys of one partition together.

    Raises:
        HostsError: the option cannot be understood.
    """
    if isinstance(hosts, str | bytes):
        raise HostsError("You must pass a list of Redis hosts, even if there is only one.")
    if hosts is not None and (isinstance(hosts, Mapping) or not isinstance(hosts, Iterable)):
        raise HostsError(f"hosts must be a list, not a {type(hosts).__name__}; in it, {_SHAPES}.")
    entries = list(hosts or [("localhost", 6379)])
    clusters = [entry for entry in entries if isinstance(entry, Mapping) and "cluster" in entry]
    if clusters and len(entries) > 1:
        raise HostsError("A cluster must be the only entry of hosts.")
    servers: list[Server] = []
    for number, entry in enumerate(entries):
        try:
            if clusters:
                servers += _parse_cluster(dict(entry), prefix)
            else:
                servers.append(_parse_host(entry))
        except UnicodeError:  # which holds the text
            problem = "A text cannot be read as UTF-8."
        except (TypeError, ValueError, redis_errors.RedisError) as error:
            problem = _suggest(str(error))
        else:
            continue
        # Out of reach of what was raised, for errors of others may hold a password.
        raise HostsError(f"hosts[{number}]: {problem}")
    return servers, [base_of(prefix, number) for number in range(len(servers))]


def _suggest(problem: str) -> str:
    """What redis-py says of an option that it does not know, with one that may be meant."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", problem)
    if not unknown:
        return problem
    known = {name for kind in (Redis, SSLConnection) for name in signature(kind).parameters}
    known |= {"address", "cluster", "partitions", "sentinels", "master_name", "sentinel_kwargs"}
    meant = get_close_matches(unknown[1], known, 1)
    suggestion = f" Did you mean {meant[0]!r}?" if meant else ""
    return f"There is no option {unknown[1]!r} of a connection.{suggestion}"


def _parse_cluster(options: dict[str, Any], prefix: str) -> list[ClusterServer]:
    nodes = options.pop("cluster")
    if not isinstance(nodes, list | tuple) or not nodes:
        raise HostsError("cluster must be a list of some of the cluster's nodes.")
    count = options.pop("partitions", CLUSTER_PARTITIONS)
    if not isinstance(count, int) or count < 1:
        raise HostsError(f"partitions must be a number from 1 up, not {count!r}.")
    if prefix.startswith("}"):  # {}...} is no hash tag
        raise HostsError("A prefix that begins with '}' does not work with a cluster.")
    addresses: list[Address] = []
    for node in nodes:
        where = _connection_options(node)
        if "path" in where:
            raise HostsError("A node of a cluster has a host and a port, and no path.")
        addresses.append((where.pop("host", "localhost"), int(where.pop("port", 6379))))
        options = {**options, **where}
    return [ClusterServer(addresses, base_of(prefix, number), options) for number in range(count)]


def _parse_host(entry: Any) -> Server:
    if isinstance(entry, Mapping) and {"sentinels", "master_name"} & entry.keys():
        return _parse_sentinels(dict(entry))
    return SingleServer(_connection_options(entry))


def _parse_sentinels(options: dict[str, Any]) -> SentinelServer:
    sentinels, master_name = options.pop("sentinels", None), options.pop("master_name", None)
    if not isinstance(sentinels, list | tuple) or not sentinels or not master_name:
        raise HostsError(
            "To ask sentinels takes both sentinels, a list of pairs of host and port, and "
            "master_name."
        )
    if not options.pop("is_master", True):
        raise HostsError("A channel layer writes, so it needs the master; leave out is_master.")
    sentinel_options = options.pop("sentinel_kwargs", None)
    if not isinstance(sentinel_options, Mapping | None):
        raise HostsError("sentinel_kwargs must be a dict of options for connecting to sentinels.")
    if sentinel_options is None:
        sentinel_options = {k: v for k, v in options.items() if k.startswith("socket_")}
    addresses = [_parse_pair(sentinel) for sentinel in sentinels]
    return SentinelServer(addresses, str(master_name), sentinel_options, options)


def _connection_options(entry: Any) -> dict[str, Any]:
    """What redis-py's connections call the parts of an entry."""
    if isinstance(entry, Mapping):
        options = dict(entry)
        address = options.pop("address", None)
        # What an address says counts, as it does with redis-py.
        return options if address is None else {**options, **_connection_options(address)}
    if isinstance(entry, bytes):
        entry = entry.decode()
    if isinstance(entry, str):
        return _parse_url(entry)
    host, port = _parse_pair(entry)
    return {"host": host, "port": port}


def _parse_url(url: str) -> dict[str, Any]:
    # No text of it is shown, for any part of what is no URL may be a password.
    if not re.match(r"(rediss?|unix)://", url, re.IGNORECASE):
        scheme = re.match(r"[a-z]+://", url)
        begins = f" begins with {scheme[0]!r}, which" if scheme else ""
        raise HostsError(f"The text{begins} is no URL of a server; {_SHAPES}.")
    place, _, rest = url.partition("//")[2].partition("?")
    *_, beyond = re.split("[/#]", place, maxsplit=1)[1:] or [""]
    if not url.lower().startswith("unix") and ("@" in beyond or re.match("[^=&]*@", rest)):
        raise HostsError(_UNESCAPED)
    try:
        options: dict[str, Any] | None = dict(parse_url(url))
    except ValueError:  # whose text may hold a part of the password
        options = None
    if options is None:
        raise HostsError(_UNESCAPED)
    if "connection_class" in options and url.lower().startswith("unix") and "path" not in options:
        raise HostsError("A unix:// URL needs the path of the socket: unix:///path/to/socket.")
    return options


def _parse_pair(pair: Any) -> Address:
    if isinstance(pair, list | tuple) and len(pair) == 2:
        host, port = pair
        if isinstance(host, str) and host and str(port).isdecimal() and 0 < int(port) < 65536:
            return host, int(port)
    # Without the values: one of three may be a password.
    shape = type(pair).__name__
    if isinstance(pair, list | tuple):
        shape += f" of {', '.join(type(item).__name__ for item in pair) or 'nothing'}"
    more = ", which takes a password too" if isinstance(pair, list | tuple) else ""
    raise HostsError(f"Cannot understand this {shape}; {_SHAPES}{more}.")
