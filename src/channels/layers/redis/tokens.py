"""Token buckets at Redis servers: a key for each, which expires when the bucket is full."""

from .keys import tokens_key
from .partitions import Partitions

__all__ = ["Tokens"]

_MICROSECONDS = 1_000_000


class Tokens:
    """Takes tokens; see :class:`~channels.layers.broker.transport.Transport`.

    Args:
        partitions: where the buckets are.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions

    async def take(
        self, key: str, rate: float, burst: float, least: float, most: float
    ) -> tuple[float, float]:
        """Take tokens from a bucket."""
        partition = self._partitions.number_of(key)
        connection = self._partitions.senders.get().connections[partition]
        bucket = tokens_key(self._partitions.bases[partition], key)
        arguments = [repr(_MICROSECONDS / rate), repr(float(burst)), repr(least), repr(most)]
        taken, wait = await connection.run("take_tokens", [bucket], arguments)
        return float(taken), float(wait) / _MICROSECONDS
