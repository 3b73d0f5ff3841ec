"""Which exceptions of application code end the process or the task, and which one connection only.

``sys.exit()`` in a handler, or a cancellation that no code requested, is a mistake like any other.
asyncio takes it for the end of the process, or of the task: so it has to be caught within the task
that runs the handler (``asyncio.Task`` raises ``SystemExit`` and ``KeyboardInterrupt`` again out of
the event loop), and reported as a crash.

A worker's process ends by signals, which :func:`signals_handled` hears.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..exceptions import ApplicationExit
from . import clock

__all__ = ["contained", "current_task", "is_crash", "is_interrupt", "signals_handled"]

# Seconds within which two signals are one request: Ctrl-C reaches every process of a terminal, and
# parents pass on to their children what has reached those already.
_SAME = 0.5


def is_crash(
    error: BaseException, task: "asyncio.Task[Any] | None", cancellations: int = 0
) -> bool:
    """Whether what application code raised in ``task`` is its own failure.

    Every exception is, but for three that end the task or the process: a cancellation that was
    requested of the task, a Ctrl-C (see :func:`is_interrupt`), and the closing of a coroutine that
    nothing runs any more. Callers clean up after these, and raise them again.

    Args:
        error: what was raised.
        task: the task that ran the code; None where the server has tasks of another kind, so that a
            requested cancellation looks like any other, and every one counts as requested.
        cancellations: requests that ``task.cancelling()`` counted before the code was called.
    """
    if isinstance(error, Exception):
        return True
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() <= cancellations
    if isinstance(error, GeneratorExit):
        return task is not None and current_task() is task
    return not is_interrupt(error)


def is_interrupt(error: BaseException) -> bool:
    """Whether ``error`` is a Ctrl-C, which ends the process.

    That is possible where Ctrl-C raises ``KeyboardInterrupt``: in the main thread, while Python's
    own handler or the one of ``asyncio.run()`` is installed. Servers have handlers of their own,
    which raise nothing, so under them it is the application that has raised it.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        return True
    function = getattr(handler, "func", None)  # asyncio.run() has a partial of a method
    return getattr(function, "__qualname__", "") == "Runner._on_sigint"


def contained(error: BaseException, what: str) -> Exception:
    """A crash as an exception that ends nothing else, to be raised to the caller.

    Args:
        error: what was raised; an ``Exception`` is returned as it is.
        what: what raised it, for the text.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, asyncio.CancelledError):
        text = f"{what} was cancelled by what it awaited; nobody had cancelled {what} itself"
    else:
        text = f"{what} raised {error!r}, which ends this and not the process"
    crash = ApplicationExit(text)
    crash.__cause__ = error
    return crash


def current_task() -> "asyncio.Task[Any] | None":
    """The running task; None where there is none, or it is of a server's own kind."""
    with contextlib.suppress(RuntimeError):
        return asyncio.current_task()
    return None


@contextlib.contextmanager
def signals_handled(stop: Callable[[], object], give_up: Callable[[], object]) -> Iterator[None]:
    """Handle SIGTERM and SIGINT on the running event loop, as long as the block runs.

    Only the main thread gets signals: in another one this does nothing.

    Args:
        stop: called at the first signal.
        give_up: called at every later one, unless it comes so soon that it is the same request.
    """
    loop = asyncio.get_running_loop()
    told_at: float | None = None

    def handle() -> None:
        nonlocal told_at
        now = clock.now()
        if told_at is None:
            told_at = now
            stop()
        elif now - told_at > _SAME:
            give_up()

    handled: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends without draining
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, handle)
                handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
