"""The latest crashes of this process, kept whether or not anybody looks: they are rare."""

import traceback
from collections import deque
from typing import Any

from .. import signals
from .._runtime import clock
from .._runtime.forks import in_child
from .._runtime.logtext import printable
from .figures import Crash

__all__ = ["KEPT", "class_name", "count", "latest", "watch"]

#: How many are kept.
KEPT = 20

_kept: deque[Crash] = deque(maxlen=KEPT)
_counts = {"crashes": 0}


def watch() -> None:
    """Keep the crashes that happen from now on."""
    signals.consumer_crashed.connect(_crashed, dispatch_uid="channels.live")


def latest() -> list[Crash]:
    """The latest ones, the newest last."""
    return list(_kept)


def count() -> int:
    """How many there were."""
    return _counts["crashes"]


def class_name(consumer: type) -> str:
    """The dotted name of a class, as the figures have it."""
    return printable(f"{consumer.__module__}.{consumer.__qualname__}")


def _crashed(sender: type, scope: Any, exception: BaseException, **kwargs: Any) -> None:
    _counts["crashes"] += 1
    frames = traceback.extract_tb(exception.__traceback__)
    where = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    _kept.append(
        Crash(
            at=clock.wall(),
            consumer=class_name(sender),
            path=printable(scope.get("path") or scope.get("channel") or ""),
            error=printable(f"{type(exception).__name__}: {printable(exception)}"),
            where=printable(where),
        )
    )


def _forget() -> None:
    """In a forked child, whose crashes those of its parent are not."""
    _kept.clear()
    _counts["crashes"] = 0


in_child(_forget)
