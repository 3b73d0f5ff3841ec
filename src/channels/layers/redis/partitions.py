"""The servers among which names are spread, and what each event loop sends to them."""

from collections.abc import Sequence
from functools import lru_cache, partial

from ..._runtime.loops import PerLoop
from ..options import milliseconds
from .connection.sender import Sender
from .connection.servers import Server
from .keys import consistent_hash, pattern_of_all

__all__ = ["Partitions", "milliseconds"]

# Names of which the partition is remembered.
_REMEMBERED = 4096


class Partitions:
    """A server for each partition of the names, and what its keys begin with.

    Args:
        servers: one for each partition.
        bases: what all keys of a partition begin with.
    """

    def __init__(self, servers: list[Server], bases: list[str]) -> None:
        self.servers = servers
        self.bases = bases
        #: The number of the partition that has a name: ``number_of(name) -> int``.
        self.number_of = lru_cache(_REMEMBERED)(partial(consistent_hash, ring_size=len(servers)))
        #: What each event loop sends.
        self.senders = PerLoop(lambda: Sender(servers, bases))

    async def delete_keys(self, but: Sequence[str] = ()) -> None:
        """Delete every key of the layer, but for some."""
        kept = {key.encode("utf-8") for key in but}
        for connection, base in zip(self.senders.get().connections, self.bases, strict=True):
            pattern, cursor = pattern_of_all(base), b""
            while cursor != b"0":
                cursor, keys = await connection.call(
                    "SCAN", cursor or b"0", "MATCH", pattern, "COUNT", 1000
                )
                keys = [key for key in keys if key not in kept]
                if keys:
                    await connection.call("UNLINK", *keys)
