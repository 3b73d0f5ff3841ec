"""System checks of the metrics."""

import os
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004

from .client import InvalidMetrics
from .listening import MULTIPROCESS, configured

__all__ = ["check_metrics"]


def check_metrics(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What is wrong with the setting, and with the folder that processes share."""
    found: list[CheckMessage] = []
    try:
        configured()
    except InvalidMetrics as error:
        found.append(Error(str(error), id="channels.prometheus.E001"))
    folder = os.environ.get(MULTIPROCESS)
    if folder is not None and not (Path(folder).is_dir() and os.access(folder, os.W_OK)):
        told = f"{MULTIPROCESS} is {folder!r}, which is no folder that this process may write to."
        hint = "Make it, empty, before the server starts: it must not hold files of an earlier run."
        found.append(Warning(told, hint=hint, id="channels.prometheus.W001"))
    return found
