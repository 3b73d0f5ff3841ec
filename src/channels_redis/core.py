"""``channels_redis.core.RedisChannelLayer``: see :mod:`channels.layers.redis`."""

from channels.exceptions import ChannelFull
from channels.layers.redis import RedisChannelLayer

__all__ = ["ChannelFull", "RedisChannelLayer"]
