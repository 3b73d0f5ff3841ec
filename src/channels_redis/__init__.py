"""The well-known import paths of the Redis channel layers. Everything is in ``channels``."""

from channels import __version__

__all__ = ["__version__"]
