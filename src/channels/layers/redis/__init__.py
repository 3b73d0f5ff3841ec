"""Channel layers over Redis and Valkey."""

from .streams import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
