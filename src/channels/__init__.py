"""Real-time Django: WebSockets, long-lived HTTP, background workers and other ASGI protocols."""

from ._runtime import installed as _installed  # noqa: F401 - registers a check

__all__ = ["DEFAULT_CHANNEL_LAYER", "__version__"]

__version__ = "5.0.0.dev0"

DEFAULT_CHANNEL_LAYER = "default"
