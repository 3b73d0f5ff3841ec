"""Channel layers for code without an event loop: views, signals, commands, tasks, threads.

Whatever the layer, its calls run on one event loop that the process keeps on a thread of its own,
so all threads together use one long-lived connection. Calls block until the layer has done its
part, and may be made from any number of threads at once. After a fork the child has a connection
of its own, made when it first sends.
"""

from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.db import transaction

from .. import DEFAULT_CHANNEL_LAYER
from .._runtime.logtext import printable
from .._runtime.loops import bridge, running_loop
from ..exceptions import (
    BridgeClosed,
    CallTimeout,
    EventLoopRunning,
    InvalidChannelLayerError,
)
from .base import BaseChannelLayer, ChannelLayer
from .manager import get_channel_layer
from .third_party import adapt

__all__ = [
    "BridgeClosed",
    "CallTimeout",
    "EventLoopRunning",
    "SyncChannelLayer",
    "get_sync_channel_layer",
    "group_send_on_commit",
    "send_on_commit",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Seconds to wait for anything but a message. Longer than the project's own layers try to reach
# their broker, so that they can say what is wrong; other layers may not know when to give up.
TIMEOUT = 60.0

# Seconds that sending after a commit may hold up the request, which has done its work.
ON_COMMIT_TIMEOUT = 5.0


class SyncChannelLayer:
    """The blocking methods of a channel layer.

    Every method raises what the layer's coroutine of that name does, and besides:

    - :exc:`EventLoopRunning`, an event loop runs in the calling thread: await the coroutine;
    - :exc:`CallTimeout`, a ``TimeoutError``: it took too long. The message may still arrive;
    - :exc:`BridgeClosed`: the interpreter is exiting, or the layer has been closed meanwhile.

    Args:
        layer: any channel layer.
        timeout: seconds to wait for each call but :meth:`receive`; None for as long as it takes.
    """

    def __init__(self, layer: ChannelLayer, timeout: float | None = TIMEOUT) -> None:
        #: The layer itself.
        self.layer = layer
        self.timeout = timeout
        self._backend = adapt(layer)
        self._is_immediate = self._backend.is_immediate

    def __repr__(self) -> str:
        return f"<SyncChannelLayer of {self.layer!r}>"

    def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send ``message`` to one channel.

        Raises:
            ChannelFull: the channel holds as many messages as it may.
            TypeError: the name is not valid, or the message is not a dict that can be carried.
        """
        self._call("send", self.layer.send, channel, message)

    def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send ``message`` to every member of ``group``."""
        self._call("group_send", self.layer.group_send, group, message)

    def group_add(self, group: str, channel: str) -> None:
        """Add ``channel`` to ``group``, so that it receives what is sent to the group."""
        self._call("group_add", self.layer.group_add, group, channel)

    def group_discard(self, group: str, channel: str) -> None:
        """Remove ``channel`` from ``group``. No error if it was not a member."""
        self._call("group_discard", self.layer.group_discard, group, channel)

    def new_channel(self) -> str:
        """The name of a new channel, which only this process receives from."""
        return self._call("new_channel", self.layer.new_channel)

    def receive(self, channel: str, timeout: float | None = None) -> dict[str, Any]:
        """The next message of ``channel``, as soon as there is one.

        Args:
            channel: a channel of this process, or a named one.
            timeout: seconds to wait; None for as long as it takes.

        Raises:
            CallTimeout: no message came in time. None is lost.
        """
        _refuse_event_loop("receive")
        return bridge.call(_awaited(self.layer.receive, channel), timeout)

    def set_state(
        self,
        collection: str,
        field: str,
        value: dict[str, Any],
        expiry: float,
        *,
        revision: int | None = None,
    ) -> bool:
        """Keep ``value`` under a name; see :meth:`BaseChannelLayer.set_state`."""
        setting = self._backend.set_state
        return self._call("set_state", setting, collection, field, value, expiry, revision=revision)

    def get_states(self, collection: str) -> dict[str, dict[str, Any]]:
        """All states of a collection, by field."""
        return self._call("get_states", self._backend.get_states, collection)

    def get_state(self, collection: str, field: str) -> dict[str, Any] | None:
        """One state, or None if there is none (any more)."""
        return self._call("get_state", self._backend.get_state, collection, field)

    def delete_state(self, collection: str, field: str) -> None:
        """Forget a state. No error if there is none."""
        self._call("delete_state", self._backend.delete_state, collection, field)

    def send_later(
        self,
        channel: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to one channel later; see :meth:`BaseChannelLayer.send_later`."""
        handle: str = self._schedule("send_later", channel, message, delay=delay, at=at)
        return handle

    def group_send_later(
        self,
        group: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to every member that ``group`` has then."""
        handle: str = self._schedule("group_send_later", group, message, delay=delay, at=at)
        return handle

    def cancel_later(self, handle: str) -> bool:
        """Cancel what was to be sent later. Whether it had not been sent."""
        return bool(self._schedule("cancel_later", handle))

    def send_every(
        self, seconds: float, channel: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to one channel every so many seconds."""
        self._schedule("send_every", seconds, channel, message, name=name)

    def group_send_every(
        self, seconds: float, group: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to every member of ``group`` every so many seconds."""
        self._schedule("group_send_every", seconds, group, message, name=name)

    def cancel_every(self, name: str) -> bool:
        """End what is sent again and again under ``name``. Whether there was anything."""
        return bool(self._schedule("cancel_every", name))

    def _schedule(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method that a layer which does not derive from BaseChannelLayer may lack."""
        function = getattr(self.layer, method, None) or getattr(self._backend, method)
        return self._call(method, partial(function, *args, **kwargs))

    def _call(
        self,
        name: str,
        method: Callable[_P, Coroutine[Any, Any, _T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        _refuse_event_loop(name)
        if self._is_immediate(name):
            return _run_at_once(method(*args, **kwargs))
        return bridge.call(_awaited(method, *args, **kwargs), self.timeout)


def get_sync_channel_layer(
    alias: str = DEFAULT_CHANNEL_LAYER, timeout: float | None = TIMEOUT
) -> SyncChannelLayer:
    """The channel layer of this alias, with methods that block instead of being awaited.

    Args:
        alias: in ``CHANNEL_LAYERS``.
        timeout: seconds to wait for each call but ``receive``; None for as long as it takes.

    Raises:
        InvalidChannelLayerError: no such layer is configured, or it cannot be made.
    """
    layer: Any = get_channel_layer(alias)
    if layer is None:
        raise InvalidChannelLayerError(f"CHANNEL_LAYERS has no layer {alias!r}; configure it")
    return SyncChannelLayer(layer, timeout)


def send_on_commit(
    channel: str,
    message: dict[str, Any],
    *,
    using: str | None = None,
    alias: str = DEFAULT_CHANNEL_LAYER,
    timeout: float | None = ON_COMMIT_TIMEOUT,
) -> None:
    """Send ``message`` to one channel once the database transaction has been committed.

    Without a transaction it is sent at once, and after a rollback never. The message is taken as
    it is now. What is wrong with the name or the message is raised now; what goes wrong when it is
    sent is logged by Django, as the transaction is over, and raised nowhere.

    Args:
        channel: where to.
        message: what to send.
        using: the database's alias; the default database's if None.
        alias: the channel layer's.
        timeout: seconds that sending may take.

    Raises:
        InvalidChannelLayerError: no such layer is configured, or it cannot be made.
        TypeError: the name is not valid, or the message is not a dict that can be carried.
    """
    layer = get_sync_channel_layer(alias, timeout)
    backend = adapt(layer.layer)
    backend.require_valid_channel_name(channel)
    _on_commit(backend, layer.send, channel, message, using)


def group_send_on_commit(
    group: str,
    message: dict[str, Any],
    *,
    using: str | None = None,
    alias: str = DEFAULT_CHANNEL_LAYER,
    timeout: float | None = ON_COMMIT_TIMEOUT,
) -> None:
    """Send ``message`` to a group once the database transaction has been committed.

    Like :func:`send_on_commit` otherwise.

    Args:
        group: where to.
        message: what to send.
        using: the database's alias; the default database's if None.
        alias: the channel layer's.
        timeout: seconds that sending may take.
    """
    layer = get_sync_channel_layer(alias, timeout)
    backend = adapt(layer.layer)
    backend.require_valid_group_name(group)
    _on_commit(backend, layer.group_send, group, message, using)


def _on_commit(
    backend: BaseChannelLayer,
    send: Callable[[str, dict[str, Any]], None],
    name: str,
    message: dict[str, Any],
    using: str | None,
) -> None:
    unpack = backend.snapshot(message)  # later nobody could be told that it cannot be sent

    def send_it() -> None:
        send(name, unpack())

    # Django logs an error with this name, as part of a format.
    send_it.__qualname__ = f"{send.__name__} to {printable(name)}".replace("%", "%%")
    transaction.on_commit(send_it, using=using, robust=True)


def _refuse_event_loop(method: str) -> None:
    loop = running_loop()
    if loop is None:
        return
    if bridge.runs(loop):
        raise EventLoopRunning(
            f"SyncChannelLayer.{method}() waits for the event loop that runs in this very thread. "
            "Threads are greenlets here (gevent or eventlet), which event loops do not work with; "
            "use real threads or processes"
        )
    raise EventLoopRunning(
        f"SyncChannelLayer.{method}() would hold up the event loop that runs in this thread. "
        f"Write instead: await get_channel_layer().{method}(...)"
    )


async def _awaited(method: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What a layer's method gives, whatever kind of awaitable it returns."""
    return await method(*args, **kwargs)


def _run_at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine that waits for nothing returns."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: _T = finished.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} is declared immediate, but waits")
