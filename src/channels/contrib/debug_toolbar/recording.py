"""Notes the calls of channel layers that one request makes.

A layer's methods are replaced, in its class, by descriptors that give the same methods to whoever
looks them up, and note where that happens. To look a method up and to call it may be two things:
``async_to_sync(layer.group_send)(...)`` and :class:`~channels.layers.SyncChannelLayer` call it in
another thread, where nothing tells which line of the project has asked for it.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import msgspec

__all__ = ["METHODS", "Call", "Recorder", "recorder", "watch"]

#: What is recorded.
METHODS = (
    "send",
    "group_send",
    "group_add",
    "group_discard",
    "send_later",
    "group_send_later",
    "send_every",
    "group_send_every",
    "cancel_later",
    "cancel_every",
    "set_state",
    "get_state",
    "get_states",
    "delete_state",
)

# Where their messages go to, and what they carry, by the names of their arguments.
_DESTINATIONS = ("group", "channel", "collection", "handle", "name")
_CONTENTS = ("message", "value")


@dataclass(slots=True)
class Call:
    """One call of a layer.

    Args:
        layer: the layer.
        method: the name of the method.
        destination: the group, the channel, or what else the call is about.
        content: the message, or the state; None if the call carries none.
        seconds: how long the caller waited.
        error: what it raised, or None.
        trace: where it was called, outermost first, as ``Recorder.locate`` gives it.
    """

    layer: Any
    method: str
    destination: str
    content: Any
    seconds: float = 0.0
    error: BaseException | None = None
    trace: Sequence[Any] = ()

    def size(self) -> int | None:
        """The bytes of the content: as the layer sends it, or as MessagePack if that has no bytes.

        None without a content, and for one that cannot be encoded.
        """
        if self.content is None:
            return None
        encode = getattr(self.layer, "serialize", None) or msgspec.msgpack.encode
        try:
            return len(encode(self.content))
        except Exception:  # noqa: BLE001 - the call has said what is wrong with it
            return None


@dataclass(slots=True, eq=False)
class Recorder:
    """The calls of one request.

    Args:
        locate: says where the caller is, in any form.
        limit: calls to keep; more are counted.
    """

    locate: Callable[[], Sequence[Any]]
    limit: int = 500
    calls: list[Call] = field(default_factory=list)
    count: int = 0
    seconds: float = 0.0
    #: Whether the request is still under way. What it has started may go on after it.
    open: bool = True

    def add(self, call: Call) -> None:
        """Keep a call that has ended."""
        if self.open:
            self.count += 1
            self.seconds += call.seconds
            if len(self.calls) < self.limit:
                self.calls.append(call)


#: That of the request which the running code belongs to, if calls are to be recorded.
recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


class _Watched:
    """A method of a layer's class, which tells the recorder of each call."""

    def __init__(self, name: str, method: Callable[..., Awaitable[Any]]) -> None:
        self.name, self.method = name, method
        self.parameters = inspect.signature(method)

    def __get__(self, layer: Any, cls: type) -> Callable[..., Awaitable[Any]]:
        if layer is None:
            return self.method
        asked = recorder.get()
        trace = asked.locate() if asked is not None else ()

        @functools.wraps(self.method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            at_work = recorder.get()
            if at_work is None:
                return await self.method(layer, *args, **kwargs)
            where = trace if at_work is asked else at_work.locate()
            return await self._recorded(at_work, where, layer, args, kwargs)

        return call

    async def _recorded(
        self, at_work: Recorder, trace: Sequence[Any], layer: Any, args: Any, kwargs: Any
    ) -> Any:
        noted = self._note(layer, args, kwargs)
        noted.trace = trace
        token = recorder.set(None)  # what the layer itself calls is not the project's call
        started = perf_counter()
        try:
            return await self.method(layer, *args, **kwargs)
        except BaseException as error:
            noted.error = error
            raise
        finally:
            noted.seconds = perf_counter() - started
            recorder.reset(token)
            at_work.add(noted)

    def _note(self, layer: Any, args: Any, kwargs: Any) -> Call:
        try:
            given = self.parameters.bind(layer, *args, **kwargs).arguments
        except TypeError:  # the call will say so
            given = {}
        destination = next((given[name] for name in _DESTINATIONS if name in given), "")
        content = next((given[name] for name in _CONTENTS if name in given), None)
        return Call(layer, self.name, str(destination), content)


def watch(layer: object) -> None:
    """Tell recorders of the calls of a layer, and of all others of its class.

    To watch a layer again changes nothing.
    """
    for name in METHODS:
        for cls in type(layer).__mro__:
            method = vars(cls).get(name)
            if method is not None:
                if inspect.iscoroutinefunction(method):
                    setattr(cls, name, _Watched(name, method))
                break
