"""A process that serves WSGI has no consumers: what it sends in memory reaches nobody.

The log says so once. Nothing is logged where it is no mistake: a process that serves ASGI may send
before anybody has connected, and so may management commands and tests.
"""

import logging
from typing import Any

from django.core import mail, signals

__all__ = ["tell_once", "watch"]

logger = logging.getLogger("channels.layers")

_UID = "channels.layers.nowhere"

# Whether the first request of this process was one of WSGI, and whether the log has been told.
_serves_wsgi = False
_told = False


def watch() -> None:
    """Find out with the first request what this process serves."""
    signals.request_started.connect(_request_started, dispatch_uid=_UID)


def _request_started(sender: Any, **kwargs: Any) -> None:
    from django.core.handlers.asgi import ASGIHandler  # noqa: PLC0415
    from django.core.handlers.wsgi import WSGIHandler  # noqa: PLC0415

    global _serves_wsgi  # noqa: PLW0603
    # Test clients have handlers of their own, which tell nothing.
    if isinstance(sender, type) and issubclass(sender, WSGIHandler | ASGIHandler):
        _serves_wsgi = issubclass(sender, WSGIHandler)
        signals.request_started.disconnect(dispatch_uid=_UID)


def tell_once(group: str) -> None:
    """Tell the log, once, if what was sent to ``group``, which nobody is in, can reach nobody."""
    global _told  # noqa: PLW0603
    if not _serves_wsgi or _told or hasattr(mail, "outbox"):  # which the set-up of tests makes
        return
    _told = True
    logger.warning(
        "What this process sends to its in-memory channel layer reaches nobody, as the message to "
        "group %s now: the process serves WSGI, which has no consumers, and the layer reaches none "
        "in other processes. Configure a layer with a broker in CHANNEL_LAYERS, such as "
        "channels_redis.core.RedisChannelLayer, or serve this project by an ASGI server.",
        group,
    )
