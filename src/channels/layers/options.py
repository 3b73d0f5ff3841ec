"""What a layer's options may be; others are refused when the layer is made."""

import math
from typing import Any

from ..exceptions import InvalidChannelLayerError

__all__ = ["require_count", "require_duration"]


def require_count(name: str, value: Any) -> None:
    """Refuse what is no whole number, such as the text that environment variables have.

    Raises:
        InvalidChannelLayerError: says which option, and what it is.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidChannelLayerError(f"{name} must be a whole number, not {value!r}")


def require_duration(name: str, value: Any) -> None:
    """Refuse what is no number of seconds.

    Raises:
        InvalidChannelLayerError: says which option, and what it is.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        raise InvalidChannelLayerError(f"{name} must be a number of seconds, not {value!r}")
