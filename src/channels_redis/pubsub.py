"""``channels_redis.pubsub.RedisPubSubChannelLayer``: see :mod:`channels.layers.redis`."""

from channels.layers.redis import RedisPubSubChannelLayer

__all__ = ["RedisPubSubChannelLayer"]
