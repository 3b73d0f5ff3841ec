"""Whether servers throw away what channel layers keep there when their memory is full."""

import asyncio
from collections.abc import Iterable

from .servers import Connection, Server

__all__ = ["find_evicting"]

_KEEPS_ALL = "noeviction"


async def find_evicting(servers: Iterable[Server]) -> dict[str, str]:
    """The servers that evict keys, and the policy of each (``maxmemory-policy``).

    Args:
        servers: to connect to and to ask, all at once.

    Returns:
        By address, such as ``"localhost:6379"``. A server that does not say is left out.
    """
    asked = await asyncio.gather(*map(_ask, servers), return_exceptions=True)
    found = [answer for answer in asked if not isinstance(answer, BaseException)]
    return {address: policy for address, policy in found if policy not in ("", _KEEPS_ALL)}


async def _ask(server: Server) -> tuple[str, str]:
    """Where a server is, and its policy; "" if it does not say."""
    connection = await server.connect()
    try:
        # Not CONFIG GET, which hosting services refuse.
        await connection.send_command("INFO", "memory", check_health=False)
        lines = (await connection.read_response()).decode("utf-8", "replace").splitlines()
        policies = [line for line in lines if line.startswith("maxmemory_policy:")]
        return _address(connection), "".join(policies[:1]).partition(":")[2].strip()
    finally:
        await connection.disconnect(nowait=True)


def _address(connection: Connection) -> str:
    path = getattr(connection, "path", None)
    return str(path) if path else f"{connection.host}:{connection.port}"  # type: ignore[attr-defined]
