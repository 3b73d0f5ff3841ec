"""See :mod:`channels.layers.redis.sharding`."""

from channels.layers.redis.sharding import consistent_hash as _consistent_hash

__all__ = ["_consistent_hash"]
