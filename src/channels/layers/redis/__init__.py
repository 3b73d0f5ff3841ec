"""Channel layers over Redis and Valkey."""

try:
    import redis.asyncio  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"The Redis channel layers need redis-py ({error}); install it with: "
        'pip install "channels[redis]"'
    ) from error

from .pubsub.layer import RedisPubSubChannelLayer
from .streams.layer import RedisChannelLayer

__all__ = ["RedisChannelLayer", "RedisPubSubChannelLayer"]
