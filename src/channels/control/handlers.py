"""Which function handles which command."""

import logging
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, TypeAlias

from .._runtime import lograte

__all__ = ["GAP", "Handler", "call", "register"]

logger = logging.getLogger("channels.control")

#: The command that no process sends: commands may have been missed, for a ``reason``.
GAP = "gap"

Handler: TypeAlias = Callable[..., Any]

_handlers: dict[str, list[Handler]] = {}


def register(command: str, handler: Handler) -> None:
    """Let ``handler`` be called for ``command``, on every event loop that serves connections.

    It is called on the event loop, with what the command was published with as keyword arguments,
    so it must be quick. What it returns is its answer to :func:`ask`; None is none. It may be a
    coroutine function. The command ``"gap"``, with a ``reason``, comes when commands may have been
    missed. To register the same handler again changes nothing.

    Args:
        command: the command's name.
        handler: a function or a coroutine function.
    """
    handlers = _handlers.setdefault(command, [])
    if handler not in handlers:
        handlers.append(handler)


async def call(command: str, data: dict[str, Any]) -> list[Any]:
    """Call the handlers of a command. Returns the answers of those that have one.

    A handler that raises is logged, and disturbs no other.
    """
    answers = []
    for handler in list(_handlers.get(command, ())):
        try:
            answer = handler(**data)
            if isawaitable(answer):
                answer = await answer
        except Exception as error:  # noqa: BLE001 - it is logged
            text = "A handler of the command %s failed: %s"
            lograte.log(logger, logging.ERROR, command, text, command, error, exc_info=error)
        else:
            if answer is not None:
                answers.append(answer)
    return answers
