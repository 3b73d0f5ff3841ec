"""Whether servers throw away what channel layers keep there when their memory is full."""

import asyncio
from collections.abc import Iterable

from django.core.checks import CheckMessage, Warning  # noqa: A004

from .opening import address_of, ask
from .servers import Server

__all__ = ["check_eviction"]

_KEEPS_ALL = "noeviction"


async def check_eviction(alias: str, servers: Iterable[Server]) -> list[CheckMessage]:
    """Warn of servers that evict keys, with the policy of each (``maxmemory-policy``).

    Args:
        alias: the layer's, in ``CHANNEL_LAYERS``.
        servers: to connect to and to ask, all at once. One that does not say is left out.
    """
    asked = await asyncio.gather(*map(_ask, servers), return_exceptions=True)
    found = dict(answer for answer in asked if not isinstance(answer, BaseException))
    return [
        Warning(
            f"Channel layer {alias!r}: the server at {address} evicts keys when its memory is full "
            f"(maxmemory-policy is {policy}), and with them messages and members of groups.",
            hint="Set its maxmemory-policy to noeviction. Every key of a channel layer has an "
            "expiry, so the volatile policies evict it as well; a cache needs a server of its own.",
            id="channels.W010",
        )
        for address, policy in found.items()
        if policy not in ("", _KEEPS_ALL)
    ]


async def _ask(server: Server) -> tuple[str, str]:
    """Where a server is, and its policy; "" if it does not say."""
    connection = await server.connect()
    try:
        # Not CONFIG GET, which hosting services refuse.
        lines = (await ask(connection, "INFO", "memory")).decode("utf-8", "replace").splitlines()
        policies = [line for line in lines if line.startswith("maxmemory_policy:")]
        return address_of(connection), "".join(policies[:1]).partition(":")[2].strip()
    finally:
        await connection.disconnect(nowait=True)
