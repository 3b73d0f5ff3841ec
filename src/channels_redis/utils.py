"""See the modules ``client`` and ``sharding`` of ``channels.layers.redis.connection``."""

from channels.layers.redis.connection.client import create_pool, decode_hosts
from channels.layers.redis.connection.sharding import consistent_hash as _consistent_hash

__all__ = ["_consistent_hash", "create_pool", "decode_hosts"]
