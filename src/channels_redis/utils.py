"""See ``channels.layers.redis.connection.client`` and ``channels.layers.redis.keys``."""

from channels.layers.redis.connection.client import create_pool, decode_hosts
from channels.layers.redis.keys import consistent_hash as _consistent_hash

__all__ = ["_consistent_hash", "create_pool", "decode_hosts"]
