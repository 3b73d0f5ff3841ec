"""The last event of a connection: whatever fails in it, ``disconnect()`` is called, and once."""

from collections.abc import Callable
from typing import Any

from .._runtime import threads
from .._runtime.scopes import from_server
from .._runtime.types import Message
from ..exceptions import StopConsumer

__all__ = ["dispatch_last"]

_METHOD = "disconnect"


class _Noted:
    """A method that remembers whether it was called."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.called = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.called = True
        return self._method(*args, **kwargs)


async def dispatch_last(consumer: Any, message: Message, *arguments: Any) -> None:
    """Give the disconnect event to its handler, which calls ``disconnect()``.

    The handler also leaves groups, and projects override it and do more. If any of that fails
    before ``disconnect()`` was called, ``disconnect()`` is called all the same.

    Args:
        consumer: the consumer that disconnects.
        message: the event.
        *arguments: those of ``disconnect()``.

    Raises:
        BaseException: the first failure.
    """
    own = vars(consumer)
    before = own.get(_METHOD)
    disconnect = own[_METHOD] = _Noted(consumer.disconnect)
    try:
        await consumer.dispatch(message)
    except (StopConsumer, GeneratorExit):
        raise
    except BaseException as failure:
        if not disconnect.called:
            await _call(consumer, disconnect, arguments, failure)
        raise
    finally:
        if before is None:
            del own[_METHOD]  # it refers to the consumer, which is to be freed at once
        else:
            own[_METHOD] = before


async def _call(
    consumer: Any, disconnect: _Noted, arguments: tuple[Any, ...], failure: BaseException
) -> None:
    """Call ``disconnect()`` after ``failure``. A second failure becomes a note of the first."""
    try:
        if consumer._sync:
            await threads.run(disconnect, *arguments, pooled=from_server(consumer.scope))
        else:
            await disconnect(*arguments)
    except StopConsumer:
        pass
    except Exception as second:  # noqa: BLE001 - the first is told, and this with it
        failure.add_note(f"Then {_METHOD}() raised {second!r}")
