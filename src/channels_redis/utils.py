"""See :mod:`channels.layers.redis.client` and :mod:`channels.layers.redis.sharding`."""

from channels.layers.redis.client import create_pool, decode_hosts
from channels.layers.redis.sharding import consistent_hash as _consistent_hash

__all__ = ["_consistent_hash", "create_pool", "decode_hosts"]
