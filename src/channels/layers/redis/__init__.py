"""Channel layers over Redis and Valkey."""

from .pubsub import RedisPubSubChannelLayer
from .streams import RedisChannelLayer

__all__ = ["RedisChannelLayer", "RedisPubSubChannelLayer"]
