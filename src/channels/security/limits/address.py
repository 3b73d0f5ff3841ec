"""Where a client comes from: its address, and what of an address is counted as one client.

A header that says so is believed only if it comes from a proxy that the project trusts
(``CHANNELS_TRUSTED_PROXIES``): everybody else can write what they like there.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from django.core.exceptions import ImproperlyConfigured

from ..._runtime.types import Scope

__all__ = ["UNIX", "TrustedProxies", "address_key", "normalised", "peer_of"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Among trusted networks: who connects through a Unix socket, where there are no addresses.
UNIX = "unix"

# A client's network: providers give a household or a machine a /64 (RFC 6177, RFC 7934).
_IPV6_PREFIX = 64

# Of clients that come by way of a translator (NAT64, SIIT): the last 32 bits are the IPv4 address
# (RFC 6052). As one network, all of them would count as one client.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")

# Bytes of a header Forwarded that are read. Twenty proxies need less.
_LONGEST = 8192

# Bits of an IPv6 address before an IPv4 address within it.
_IPV4_WITHIN = 96

# Entries of a header that are looked at. A chain of proxies has a handful.
_MOST_HOPS = 20

_HEADERS = {"X-Forwarded-For": b"x-forwarded-for", "Forwarded": b"forwarded"}

# A parameter of the header Forwarded: a token, and a token or a quoted string (RFC 7239, 4).
_PAIR = re.compile(
    r"\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&\'*+.^_`|~0-9A-Za-z:\[\]-]+)"
    r'|"((?:[^"\\]|\\.)*)")\s*'
)
_SPACE = re.compile(r"\s*")


def normalised(text: object) -> _Address | None:
    """An address that a server or a proxy tells, with or without a port; None if it is none.

    An IPv4 address within an IPv6 one (``::ffff:192.0.2.1``, ``64:ff9b::192.0.2.1``) is that IPv4
    address.
    """
    return _parse(text) if isinstance(text, str) and len(text) <= 64 else None


@lru_cache(maxsize=4096)
def _parse(text: str) -> _Address | None:
    text = text.strip()
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:443
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address if address.version == 4 else (_ipv4_within(address) or address)


def _ipv4_within(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that stands in an IPv6 one, if one does."""
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


@lru_cache(maxsize=4096)
def address_key(address: _Address) -> str:
    """What is counted as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))


def peer_of(scope: Scope) -> "_Address | str | None":
    """Who the server says has connected: an address; :data:`UNIX` or None where it tells none."""
    client = scope.get("client")
    host = client[0] if client else None
    return normalised(host) if host else UNIX


class TrustedProxies(NamedTuple):
    """Which proxies are believed, and what they say the client's address is."""

    networks: "tuple[_Network, ...]" = ()
    unix: bool = False
    hops: int | None = None
    header: bytes = b"x-forwarded-for"

    @classmethod
    def from_setting(cls, value: object) -> "TrustedProxies":
        """What the setting ``CHANNELS_TRUSTED_PROXIES`` says.

        Raises:
            ImproperlyConfigured: it is no such setting; says what to write.
        """
        if value is None:
            return cls()
        options: Mapping[Any, Any] = value if isinstance(value, Mapping) else {"NETWORKS": value}
        unknown = [repr(key) for key in options if key not in ("NETWORKS", "HOPS", "HEADER")]
        if unknown:
            raise ImproperlyConfigured(
                f"CHANNELS_TRUSTED_PROXIES has {', '.join(unknown)}; there are NETWORKS, HOPS and "
                "HEADER."
            )
        networks, unix = _networks(options.get("NETWORKS", ()))
        hops, header = options.get("HOPS"), options.get("HEADER", "X-Forwarded-For")
        if hops is not None and (type(hops) is not int or not 1 <= hops <= _MOST_HOPS):
            raise ImproperlyConfigured(
                f"HOPS of CHANNELS_TRUSTED_PROXIES must be a number of proxies from 1 to "
                f"{_MOST_HOPS}, not {hops!r}."
            )
        if header not in _HEADERS:
            raise ImproperlyConfigured(
                'HEADER of CHANNELS_TRUSTED_PROXIES must be "X-Forwarded-For" or "Forwarded", not '
                f"{header!r}."
            )
        if hops is None and any(network.prefixlen == 0 for network in networks):
            raise ImproperlyConfigured(
                "CHANNELS_TRUSTED_PROXIES trusts every address, so that any client could name any "
                "other: add HOPS, the number of proxies in front, such as "
                '{"NETWORKS": ["0.0.0.0/0"], "HOPS": 1}.'
            )
        return cls(networks, unix, hops, _HEADERS[header])

    def client_of(self, scope: Scope) -> _Address | None:
        """The client's address, or None where nobody who is believed tells it.

        The header is read from the right, where the nearest proxy has written whom it was called
        by, as long as that is a proxy that is trusted as well. What stands further left may be the
        client's own invention.
        """
        peer = peer_of(scope)
        known = peer if not isinstance(peer, str) else None
        if not self._trusts(peer):
            return known
        entries = self._entries(scope)
        for hop, text in enumerate(entries, 1):
            address = normalised(text)
            if address is None:  # hidden, or rubbish: the last that is known is as near as we get
                break
            known = address
            if hop == self.hops or hop == _MOST_HOPS or not self._trusts(address):
                break
        return known

    def _trusts(self, peer: "_Address | str | None") -> bool:
        if peer is None or isinstance(peer, str):
            return peer == UNIX and self.unix
        return any(peer.version == network.version and peer in network for network in self.networks)

    def _entries(self, scope: Scope) -> "Iterable[str]":
        """What the header says of each proxy's client, from the right."""
        values = [value for name, value in scope.get("headers", ()) if name == self.header]
        text = b",".join(values).decode("latin-1")
        if self.header == b"forwarded":
            return reversed(_forwarded_for(text))
        return reversed(text.rsplit(",", _MOST_HOPS)) if text else ()


def _networks(value: Any) -> "tuple[tuple[_Network, ...], bool]":
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise ImproperlyConfigured(
            'CHANNELS_TRUSTED_PROXIES must be a list of networks, such as ["10.0.0.0/8"], or a '
            f"dict with such a list as NETWORKS; not {value!r}."
        )
    found = []
    for entry in value:
        if entry == UNIX:
            continue
        try:
            found.append(_network(entry))
        except ValueError:
            raise ImproperlyConfigured(
                f"CHANNELS_TRUSTED_PROXIES has {entry!r}, which is no network: write addresses "
                'such as "10.1.2.3", networks such as "10.0.0.0/8", or "unix" for a proxy that '
                "connects through a Unix socket."
            ) from None
    return tuple(found), UNIX in value


def _network(entry: object) -> _Network:
    """A network as addresses are compared with it: one of IPv4 addresses within IPv6 is of IPv4.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(entry, str | _Address | _Network):
        raise ValueError  # the library takes numbers and bytes too, which nobody means
    network = ipaddress.ip_network(entry, strict=False)
    if network.version == 6 and network.prefixlen >= _IPV4_WITHIN:
        ipv4 = _ipv4_within(network.network_address)
        if ipv4 is not None:
            return ipaddress.IPv4Network((ipv4, network.prefixlen - _IPV4_WITHIN), strict=False)
    return network


def _forwarded_for(text: str) -> list[str]:
    """The ``for`` of each element of a header ``Forwarded`` (RFC 7239), or "" where it has none.

    The list is empty if the header is not well formed: a client could have written what makes one
    element look like another.
    """
    found, position, element = [], 0, ""
    if len(text) > _LONGEST:
        return []
    while position <= len(text):
        pair = _PAIR.match(text, position)
        if pair is not None:
            name, token, quoted = pair.groups()
            if name.lower() == "for":
                element = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            position = pair.end()
        else:
            position += len(_SPACE.match(text, position)[0])  # type: ignore[index]
        mark = text[position : position + 1]
        if mark not in ("", ",", ";"):
            return []
        if mark != ";":
            found.append(element)
            element = ""
        position += 1
    return found[-_MOST_HOPS:]
