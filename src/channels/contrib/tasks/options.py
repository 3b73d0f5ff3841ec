"""The ``OPTIONS`` of a backend in the setting ``TASKS``, read and checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from channels import DEFAULT_CHANNEL_LAYER

from .exceptions import InvalidTaskOptions

__all__ = ["TaskOptions", "parse_options"]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How tasks of one backend are kept and run.

    Attributes:
        layer: alias in ``CHANNEL_LAYERS`` of the layer on whose broker the tasks are.
        capacity: tasks of one queue that may wait, be deferred or run.
        result_ttl: seconds for which a result is kept after its task has finished.
        max_attempts: times that a task is run before it has failed for good.
        backoff: seconds before the second attempt, as the first limit, which doubles with each
            further one, and the last limit. The pause is random below the limit ("full jitter":
            M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
        lease: seconds without a sign of life after which a worker's tasks are another's.
        timeout: seconds that one attempt may take; None for no limit.
        max_bytes: of a task's arguments, and of its result, as they are stored.
        dead_letters: failed tasks of one queue that are kept to be looked at and sent again.
        concurrency: tasks that a worker runs at the same time.
        autostart: whether a worker starts in this process with the first task, if the tasks are
            in its memory.
    """

    layer: str = DEFAULT_CHANNEL_LAYER
    capacity: int = 100_000
    result_ttl: float = 3600.0
    max_attempts: int = 3
    backoff: tuple[float, float] = (1.0, 300.0)
    lease: float = 10.0
    timeout: float | None = None
    max_bytes: int = 1_048_576
    dead_letters: int = 1000
    concurrency: int = 8
    autostart: bool = True


_COUNTS = {"capacity": 1, "max_attempts": 1, "max_bytes": 1, "dead_letters": 0, "concurrency": 1}


def parse_options(alias: str, given: Any) -> TaskOptions:
    """Read the options of a backend.

    Args:
        alias: of the backend in ``TASKS``, for the errors.
        given: what is there as ``OPTIONS``.

    Raises:
        InvalidTaskOptions: an option does not exist, or has a value that it cannot have.
    """
    where = f"TASKS[{alias!r}]['OPTIONS']"
    if not isinstance(given, Mapping):
        raise InvalidTaskOptions(f"{where} must be a dict, not a {type(given).__name__}")
    known = [field.name for field in fields(TaskOptions)]
    for name in given:
        if name not in known:
            meant = get_close_matches(str(name), known, 1)
            hint = f"; did you mean {meant[0]!r}?" if meant else f"; there are {', '.join(known)}"
            raise InvalidTaskOptions(f"{where} has no option {name!r}{hint}")
    values = dict(given)
    for name, least in _COUNTS.items():
        if name in values:
            _require_count(where, name, values[name], least)
    if "result_ttl" in values:
        values["result_ttl"] = _seconds(where, "result_ttl", values["result_ttl"], zero=True)
    if "lease" in values:
        values["lease"] = _seconds(where, "lease", values["lease"])
    if values.get("timeout") is not None:
        values["timeout"] = _seconds(where, "timeout", values["timeout"])
    if "backoff" in values:
        values["backoff"] = _limits(where, values["backoff"])
    if not isinstance(values.get("layer", ""), str):
        raise InvalidTaskOptions(f"{where}: layer must be an alias, not {values['layer']!r}")
    if not isinstance(values.get("autostart", True), bool):
        raise InvalidTaskOptions(f"{where}: autostart must be True or False")
    return TaskOptions(**values)


def _require_count(where: str, name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidTaskOptions(
            f"{where}: {name} must be a whole number from {least}, not {value!r}"
        )


def _seconds(where: str, name: str, value: Any, *, zero: bool = False) -> float:
    valid = isinstance(value, int | float) and not isinstance(value, bool)
    if not valid or not math.isfinite(value) or value < 0 or (not value and not zero):
        raise InvalidTaskOptions(f"{where}: {name} must be a number of seconds, not {value!r}")
    return float(value)


def _limits(where: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidTaskOptions(
            f"{where}: backoff must be two numbers of seconds, the first and the last limit, "
            f"not {value!r}"
        )
    first, last = (_seconds(where, "backoff", number, zero=True) for number in value)
    return first, last
