"""How many messages of each channel a worker handles at a time."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..exceptions import InvalidWorkerOption

__all__ = ["Concurrency", "per_channel"]

#: A number for every channel, or numbers by channel; those that are not named have 1.
Concurrency = int | Mapping[str, int]


def per_channel(channels: Iterable[str], concurrency: Concurrency) -> dict[str, int]:
    """The number of messages that are handled at a time, by channel.

    Raises:
        InvalidWorkerOption: a number is below 1 or none, or a channel is not listened to.
    """
    names = list(dict.fromkeys(channels))
    if not isinstance(concurrency, Mapping):
        return dict.fromkeys(names, _number(concurrency, "concurrency"))
    strangers = [name for name in concurrency if name not in names]
    if strangers:
        raise InvalidWorkerOption(
            f"concurrency names {', '.join(map(repr, strangers))}, which the worker does not "
            "listen to."
        )
    numbers = {name: _number(n, f"The concurrency of {name}") for name, n in concurrency.items()}
    return {name: numbers.get(name, 1) for name in names}


def _number(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidWorkerOption(f"{what} must be a whole number from 1, not {value!r}.")
    return value
