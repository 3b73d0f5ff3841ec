"""``channels_redis.core.RedisChannelLayer``: see :mod:`channels.layers.redis`."""

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer
from channels.layers.redis import RedisChannelLayer

from .serializers import registry
from .utils import _consistent_hash, create_pool, decode_hosts

__all__ = [
    "BaseChannelLayer",
    "ChannelFull",
    "RedisChannelLayer",
    "_consistent_hash",
    "create_pool",
    "decode_hosts",
    "registry",
]
