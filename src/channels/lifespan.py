"""Code that runs when the server starts and when it stops."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from inspect import isawaitable, signature
from typing import Any, TypeAlias

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections

from . import signals
from ._runtime import draining
from ._runtime.connections import Connections, connections
from ._runtime.exits import current_task, is_crash
from ._runtime.servers import SETTLED
from ._runtime.types import Receive, Scope, Send
from .exceptions import InvalidHookError

__all__ = ["Lifespan"]

logger = logging.getLogger("channels.lifespan")

Hook: TypeAlias = Callable[..., Any]

# Seconds that shutdown hooks wait for connections which the server has cut.
_CUT = 2.0

# Seconds by which the event loop is held up if it comes so late, and how often that is waited for.
_LATE, _ATTEMPTS = 0.05, 20


class Lifespan:
    """An ASGI application that answers the lifespan protocol and runs your hooks.

    ``ProtocolTypeRouter`` uses one without hooks by itself. To have hooks, map it::

        ProtocolTypeRouter({
            "lifespan": Lifespan(on_startup=[open_pool], on_shutdown=[close_pool]),
            ...
        })

    A hook is a plain function or a coroutine function; a plain one runs in a thread, so that it
    does not block the event loop. It takes no argument, or one: the server's lifespan state, a
    dict that servers which support it show to every connection as ``scope["state"]``.

    Each server process runs the hooks once. Startup hooks run in order, and the server accepts
    connections after the last one; when one raises, the rest (and the shutdown hooks) do not run
    and the server does not start. Shutdown hooks run in reverse order, each of them even when
    another raised. ``sys.exit()`` in a hook is a failure like any other. A server that is killed or
    told to quit at once runs no shutdown hooks, and Daphne runs no hooks at all because it does not
    speak the protocol.

    Args:
        on_startup: hooks to run before the first connection.
        on_shutdown: hooks to run after the last one.

    Raises:
        InvalidHookError: at construction, when a hook cannot be called as described.

    """

    def __init__(self, on_startup: Sequence[Hook] = (), on_shutdown: Sequence[Hook] = ()) -> None:
        self._on_startup = [_Hook(hook) for hook in on_startup]
        self._on_shutdown = [_Hook(hook) for hook in on_shutdown]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Answer the server until its shutdown, or until the startup failed."""
        if scope["type"] != "lifespan":
            raise ValueError(f"Lifespan serves the 'lifespan' scope, not {scope['type']!r}.")
        state = scope.get("state", {})
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                failure = await self._start(state)
                await _answer(send, "lifespan.startup", failure)
                if failure:
                    return
            elif message["type"] == "lifespan.shutdown":
                failure = await self._stop(state)
                await _answer(send, "lifespan.shutdown", failure)
                return

    async def _start(self, state: Any) -> str:
        try:
            draining.Plan.from_settings()
        except ImproperlyConfigured as error:
            return str(error)
        failure = await _run(self._on_startup, state, stop_at_failure=True)
        if not failure:
            signals.emit(signals.server_started, type(self))
            _prepare_when_settled(connections.get())
        return failure

    async def _stop(self, state: Any) -> str:
        signals.emit(signals.server_stopping, type(self))
        draining.release()
        await connections.get().ended(_CUT)
        return await _run(reversed(self._on_shutdown), state, stop_at_failure=False)


def _prepare_when_settled(here: Connections, attempts: int = _ATTEMPTS) -> None:
    """Arrange for the end of the process when the server has gone on with its startup.

    It has not either as long as the event loop is held up, so that it comes late to this.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + SETTLED

    def look() -> None:
        if attempts and loop.time() > due + _LATE:
            _prepare_when_settled(here, attempts - 1)
        else:
            draining.prepare(here)

    loop.call_later(SETTLED, look)


class _Hook:
    """A callable, and how to call it."""

    def __init__(self, function: Hook) -> None:
        self.function = function
        self.name = getattr(function, "__qualname__", repr(function))
        self.takes_state = _takes_state(function)

    async def __call__(self, state: Any) -> None:
        arguments = (state,) if self.takes_state else ()
        call = self.function
        if not iscoroutinefunction(call) and not iscoroutinefunction(type(call).__call__):
            call = sync_to_async(call)
        result = await call(*arguments)
        # A plain callable that returns a coroutine, such as a lambda around one.
        if isawaitable(result):
            await result


def _takes_state(function: Hook) -> bool:
    if not callable(function):
        raise InvalidHookError(f"A lifespan hook must be callable, not {function!r}.")
    try:
        parameters = signature(function)
    except ValueError:  # some built-in functions do not tell
        return False
    for arguments in ((), ("state",)):
        try:
            parameters.bind(*arguments)
        except TypeError:
            continue
        return bool(arguments)
    raise InvalidHookError(
        f"Lifespan hook {function!r} must take no argument, or one (the state); it takes "
        f"{parameters}."
    )


async def _run(hooks: Iterable[_Hook], state: Any, *, stop_at_failure: bool) -> str:
    """Run the hooks; returns what failed, or an empty text."""
    failures: list[str] = []
    ran = False
    for hook in hooks:
        ran = True
        task = current_task()
        asked = task.cancelling() if task is not None else 0
        try:
            await hook(state)
        except BaseException as error:
            if not is_crash(error, task, asked):
                raise
            logger.exception("Lifespan hook %s failed", hook.name)
            failures.append(f"{hook.name}: {type(error).__name__}: {error}")
            if stop_at_failure:
                break
    if ran:
        # No request will come by in the hooks' thread to close the connections they opened. One
        # that cannot be closed is no reason to keep the server from starting or stopping.
        with suppress(Exception):
            await sync_to_async(close_old_connections)()
    return f"Lifespan hooks failed: {'; '.join(failures)}" if failures else ""


async def _answer(send: Send, event: str, failure: str) -> None:
    if failure:
        await send({"type": f"{event}.failed", "message": failure})
    else:
        await send({"type": f"{event}.complete"})
