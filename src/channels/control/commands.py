"""Giving commands to all processes, and asking all of them."""

import asyncio
import contextlib
import logging
from typing import Any

from .._runtime import lograte, timers
from .._runtime.loops import bridge, is_passing, running_loop
from ..exceptions import EventLoopRunning
from ..layers.base import BaseChannelLayer
from . import handlers
from .plane import ANSWER, COMMAND, control_group, control_layer, planes, process_name

__all__ = ["TIMEOUT", "aask", "apublish", "ask", "publish", "publish_soon", "register"]

logger = logging.getLogger("channels.control")

register = handlers.register

#: Seconds that a caller without an event loop waits for the layer.
TIMEOUT = 10.0

# Pauses, in seconds, before a command that could not be sent is sent again.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)


def publish(command: str, **data: Any) -> None:
    """Have a command handled in every process that serves connections, this one included.

    It returns when the layer has taken the command, and does not wait until it has been handled.

    Args:
        command: its name, for which handlers are registered.
        **data: what they are called with: what a message of a layer may hold.

    Raises:
        EventLoopRunning: an event loop runs in this thread: use :func:`apublish`.
        CallTimeout: the layer's broker has not answered within 10 seconds.
        BrokerError: it refuses. In both cases the command has been handled in this process.
    """
    if running_loop() is not None:
        raise EventLoopRunning(
            "control.publish() would hold up the event loop that runs in this thread. Write "
            "instead: await control.apublish(...)"
        )
    _handle_here(command, data)
    layer = control_layer()
    if layer is not None:
        bridge.call(_send(layer, command, data), TIMEOUT)


async def apublish(command: str, **data: Any) -> None:
    """The same for coroutines, for as long as the layer tries to reach its broker.

    See :func:`publish`.
    """
    _handle_here(command, data)
    layer = control_layer()
    if layer is not None:
        await _send(layer, command, data)


def publish_soon(command: str, **data: Any) -> None:
    """The same from anywhere, without waiting; tried again for a while if the broker is away."""
    _handle_here(command, data)
    layer = control_layer()
    if layer is not None:
        bridge.spawn(_send_in_the_end(layer, command, data))


def ask(command: str, /, timeout: float = 1.0, **data: Any) -> list[dict[str, Any]]:
    """What the handlers of a command answer, in every process that serves connections.

    How many processes there are is not known, so this waits for all of ``timeout``.

    Args:
        command: its name, for which handlers are registered.
        timeout: seconds to wait for answers.
        **data: what the handlers are called with.

    Returns:
        For each answer a dict with ``process``, the name of the process, and ``answer``. A process
        with several event loops may answer more than once.

    Raises:
        EventLoopRunning: an event loop runs in this thread: use :func:`aask`.
        CallTimeout: the layer's broker has not answered within 10 seconds.
        BrokerError: it refuses.
    """
    if running_loop() is not None:
        raise EventLoopRunning(
            "control.ask() would hold up the event loop that runs in this thread. Write instead: "
            "await control.aask(...)"
        )
    return bridge.call(_ask(command, data, timeout), timeout + TIMEOUT)


async def aask(
    command: str,
    /,
    timeout: float = 1.0,  # noqa: ASYNC109 - it returns what has come by then
    **data: Any,
) -> list[dict[str, Any]]:
    """The same for coroutines; see :func:`ask`."""
    asking = _ask(command, data, timeout)
    if is_passing(asyncio.get_running_loop()):
        return await bridge.cross(asking)
    return await asking


async def _ask(command: str, data: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    here = _ask_here(command, data)
    layer = control_layer()
    found = [] if layer is None else await _ask_others(layer, command, data, seconds)
    if layer is None and here:
        await asyncio.wait(here, timeout=seconds)
    for future in here:
        if future.done() and not future.cancelled() and future.exception() is None:
            found += [{"process": process_name(), "answer": each} for each in future.result()]
    return found


async def _ask_others(
    layer: BaseChannelLayer, command: str, data: dict[str, Any], seconds: float
) -> list[dict[str, Any]]:
    news = asyncio.Event()
    found: list[dict[str, Any]] = []
    channel = await layer.new_channel()
    mailbox = layer.open_mailbox(channel, news.set)
    try:
        await _send(layer, command, data, channel)
        with contextlib.suppress(TimeoutError):
            async with timers.timeout(seconds):
                while True:
                    news.clear()
                    while (message := mailbox.take()) is not None:
                        if message["type"] == ANSWER:
                            found.append({key: message[key] for key in ("process", "answer")})
                    await news.wait()
    finally:
        await mailbox.close()
    return found


def _ask_here(command: str, data: dict[str, Any]) -> list["asyncio.Future[list[Any]]"]:
    """What the event loops of this process will answer."""
    return [
        asyncio.wrap_future(asyncio.run_coroutine_threadsafe(handlers.call(command, data), loop))
        for loop, _ in planes.all()
        if loop.is_running()
    ]


def _handle_here(command: str, data: dict[str, Any]) -> None:
    """Have a command handled on each event loop of this process."""
    for loop, plane in planes.all():
        if loop.is_running():
            loop.call_soon_threadsafe(plane.handle, command, data)


async def _send(
    layer: BaseChannelLayer, command: str, data: dict[str, Any], reply: str | None = None
) -> None:
    message = {"type": COMMAND, "command": command, "data": data, "reply": reply}
    await layer.group_send(control_group(), {**message, "origin": process_name()})


async def _send_in_the_end(layer: BaseChannelLayer, command: str, data: dict[str, Any]) -> None:
    for pause in (*_PAUSES, None):
        try:
            await _send(layer, command, data)
            return
        except Exception as error:  # noqa: BLE001 - of whatever layer
            text = "The command %s does not reach other processes (%s: %s); %s"
            then = "given up" if pause is None else "trying again"
            name = type(error).__name__
            lograte.log(logger, logging.WARNING, then, text, command, name, str(error), then)
        if pause is not None:
            await timers.sleep(pause)
