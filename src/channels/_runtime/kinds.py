"""Errors for plain methods where coroutines are needed, and the reverse, with what to write."""

import inspect
from typing import Any, NoReturn, TypeVar

from ..exceptions import InvalidMethodError

__all__ = ["call", "refuse_background", "refuse_coroutine", "refuse_plain", "twin"]

_T = TypeVar("_T")

# How Python's complaint ends, before and since 3.14.
_COMPLAINTS = ("'await' expression", "can't be awaited")

# What a plain call must not return: it has done nothing yet.
_NOT_BEGUN = (
    inspect.iscoroutine,
    inspect.isasyncgen,
    inspect.isgenerator,
)


def call(consumer: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of a synchronous consumer.

    Raises:
        InvalidMethodError: the method is a coroutine function.
    """
    outcome = getattr(consumer, name)(*args, **kwargs)
    return outcome if outcome is None else refuse_coroutine(consumer, name, outcome)


def refuse_plain(consumer: Any, name: str, error: TypeError) -> None:
    """Name the method, if ``error`` is Python's complaint that its result cannot be awaited.

    Call it in the function that has awaited ``consumer.<name>(...)``.

    Raises:
        InvalidMethodError: ``error`` is that complaint.
    """
    traceback = error.__traceback__
    if traceback is None or traceback.tb_next is not None:
        return  # it comes from within the method
    if str(error).endswith(_COMPLAINTS):
        _refuse(consumer, name, inspect.isasyncgenfunction(getattr(consumer, name, None)))


def refuse_coroutine(consumer: Any, name: str, outcome: _T) -> _T:
    """Return ``outcome``, what ``consumer.<name>(...)`` has returned, unless it needs ``await``.

    Raises:
        InvalidMethodError: it is a coroutine or a generator, so nothing of the method has run.
    """
    if outcome is not None and any(has_not_begun(outcome) for has_not_begun in _NOT_BEGUN):
        close = getattr(outcome, "close", None)
        if close is not None:  # so that Python does not complain as well
            close()
        _refuse(consumer, name, not inspect.iscoroutine(outcome))
    return outcome


def refuse_background(consumer: Any, target: Any, outcome: Any) -> NoReturn:
    """Refuse ``target`` as a background task, whose call has returned ``outcome``.

    Raises:
        InvalidMethodError: always; says what to write.
    """
    close = getattr(outcome, "close", None)
    if close is not None and any(has_not_begun(outcome) for has_not_begun in _NOT_BEGUN):
        close()  # so that Python does not complain as well
    method = f"{type(consumer).__qualname__}.start_background_task()"
    if not callable(target):
        problem = "was given what is no function"
        advice = "write the function without calling it, and its arguments after it: (self.work, 1)"
    elif consumer._sync:
        problem = "was given a coroutine function, and runs plain ones in a thread"
        advice = "write `def`, or `async_to_sync(function)`"
    else:
        problem = "was given a function that returns nothing to await"
        advice = "write `async def`, or `sync_to_async(function)`"
    raise InvalidMethodError(f"{method} {problem}; {advice}")


def _refuse(consumer: Any, name: str, generator: bool) -> NoReturn:
    cls = type(consumer)
    method = f"{cls.__qualname__}.{name}()"
    base, other = twin(cls)
    if generator:
        problem = "contains `yield`, which makes it a generator: nothing of it runs"
        advice = "remove the `yield`"
    elif consumer._sync:
        problem = f"is a coroutine, and {base} does not await it: nothing of it runs"
        advice = f"write `def {name}(...)`"
    else:
        problem = f"is a plain method, and {base} awaits it"
        advice = f"write `async def {name}(...)`"
    if other and not generator:
        advice += f", or derive {cls.__qualname__} from {other}"
    raise InvalidMethodError(f"{method} {problem}; {advice}") from None


def twin(cls: type) -> tuple[str, str]:
    """The framework's class that ``cls`` derives from, and the one of the other kind, if any."""
    for base in cls.__mro__:
        if "_channels_protocol_handlers" in vars(base):
            name = base.__name__
            if name in {"AsyncConsumer", "SyncConsumer"}:
                return name, "SyncConsumer" if name == "AsyncConsumer" else "AsyncConsumer"
            if "Websocket" not in name:
                return name, ""
            plain = name.removeprefix("Async")
            return name, plain if plain != name else f"Async{name}"
    return cls.__qualname__, ""
