"""What the commands share: which backend they are about, and what they show of tasks."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from channels._runtime.loops import bridge
from channels.exceptions import ChannelsError

from .backend import ChannelsBackend
from .codec import Errors
from .compat import task_backends
from .exceptions import UnknownTask
from .records import Record
from .results import moment
from .store import Store

__all__ = ["add_arguments", "ask", "describe", "find_backend", "find_queues"]

_T = TypeVar("_T")

# Seconds that a broker may take for what a command asks.
_TIMEOUT = 60.0


def add_arguments(parser: CommandParser) -> None:
    """Add those that say which tasks a command is about."""
    parser.add_argument(
        "--backend",
        default="default",
        metavar="ALIAS",
        help="Alias of the backend in TASKS (default: default).",
    )
    parser.add_argument(
        "--queue",
        action="append",
        metavar="QUEUE",
        help="A queue of the backend; may be repeated (default: all of them).",
    )


def find_backend(alias: str) -> ChannelsBackend:
    """The backend of this alias, whose tasks are on a broker.

    Raises:
        CommandError: it is not there, cannot be used, or has its tasks in memory.
    """
    try:
        backend: Any = task_backends[alias]
        if isinstance(backend, ChannelsBackend):
            store = backend.store
    except (ChannelsError, ImportError, ImproperlyConfigured, TypeError, ValueError) as error:
        raise CommandError(f"TASKS[{alias!r}] cannot be used: {error}") from error
    if not isinstance(backend, ChannelsBackend):
        raise CommandError(
            f"TASKS[{alias!r}] is a {type(backend).__name__}; this command is for ChannelsBackend. "
            "Name another one with --backend."
        )
    if store.is_local:
        raise CommandError(
            f"The tasks of TASKS[{alias!r}] are in the memory of the process that enqueues them, "
            "and so is their worker, as its channel layer is in memory. Use a layer with a broker."
        )
    return backend


def find_queues(backend: ChannelsBackend, names: Sequence[str] | None) -> list[str]:
    """The queues that a command is about.

    Raises:
        CommandError: the backend has none of this name.
    """
    known = sorted(backend.queues)
    for name in names or ():
        if known and name not in known:
            raise CommandError(f"There is no queue {name!r}; QUEUES has {', '.join(known)}.")
    queues = list(dict.fromkeys(names or known))
    if not queues:
        raise CommandError("QUEUES is empty, which allows any: say which with --queue.")
    return queues


def ask(call: Callable[..., Coroutine[Any, Any, _T]], *arguments: Any) -> _T:
    """What a store answers, for a command.

    Raises:
        CommandError: the broker cannot do it.
    """
    try:
        return bridge.call(call(*arguments), _TIMEOUT)
    except (ChannelsError, OSError) as error:
        raise CommandError(str(error)) from error


def describe(store: Store, record: Record) -> dict[str, Any]:
    """A dead letter, for people and programs."""
    path: str = "?"
    args: Any = None
    kwargs: Any = None
    errors: Errors = []
    try:
        path, args, kwargs = store.codec.decode_call(record.id, record.payload)
        errors = store.codec.decode_errors(record.id, record.errors)
    except UnknownTask as error:
        errors = [("", str(error))]
    failed = moment(record.finished_at)
    return {
        "id": record.id,
        "queue": record.queue,
        "priority": record.priority,
        "task": path,
        "args": args,
        "kwargs": kwargs,
        "attempts": len(record.worker_ids),
        "failed_at": None if failed is None else failed.isoformat(),
        "errors": [{"exception": kind, "traceback": text} for kind, text in errors],
    }
