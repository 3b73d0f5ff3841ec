"""``channels_redis.pubsub.RedisPubSubChannelLayer``: see :mod:`channels.layers.redis`."""

from channels.layers.redis import RedisPubSubChannelLayer

from .serializers import registry
from .utils import _consistent_hash, create_pool, decode_hosts

__all__ = [
    "RedisPubSubChannelLayer",
    "_consistent_hash",
    "create_pool",
    "decode_hosts",
    "registry",
]
