"""What lets text travel beside the messages of a channel layer: the context of a trace, say.

A *carrier* is a function that is asked whenever project code sends a message, and gives a few named
texts. Where the message is handled, in whichever process, :func:`received` gives them again, while
the handler itself sees the message that was sent. Register carriers in ``AppConfig.ready()``. While
there is none, a message costs one look at an empty list.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias, TypeVar
from weakref import WeakSet

from .._runtime import carried, lograte

__all__ = [
    "Carrier",
    "Sending",
    "adopt",
    "carriers",
    "carry",
    "encoded",
    "is_due",
    "received",
    "register",
    "unchanged",
    "unregister",
]

_R = TypeVar("_R")

logger = logging.getLogger("channels.layers")


class Sending(NamedTuple):
    """A message that is about to be sent.

    Attributes:
        sender: the channel layer, or the backend of tasks.
        operation: the name of the method that was called: ``"send"``, ``"group_send"``,
            ``"send_later"``, ``"group_send_later"`` or ``"enqueue"``.
        name: of the channel, the group, or the task.
        message: what is sent; not to be changed.
    """

    sender: Any
    operation: str
    name: str
    message: Mapping[str, Any]


#: Called when the message has been sent, with what went wrong or None.
Sent: TypeAlias = Callable[[BaseException | None], None]

#: Given a message, returns the texts that are to travel beside it, by name, and what is to be
#: called when it has been sent, or None. It is called in the context of the code that sends, on an
#: event loop or in a thread; it must not wait. What it raises is logged.
Carrier: TypeAlias = Callable[[Sending], "tuple[Mapping[str, str] | None, Sent | None]"]

#: The registered carriers.
carriers: list[Carrier] = []

# Layers of others that were made before there were any.
_known: "WeakSet[Any]" = WeakSet()

# The message that is being sent with what it carries, or without: no carrier is asked again.
_settled: ContextVar[Any] = ContextVar("channels_settled", default=None)


def register(carrier: Carrier) -> None:
    """Ask ``carrier`` from now on. A second call with the same one does nothing."""
    if carrier not in carriers:
        carriers.append(carrier)
    for layer in tuple(_known):
        adopt(layer)


def unregister(carrier: Carrier) -> None:
    """Do not ask ``carrier`` any more. No error if it is not registered."""
    if carrier in carriers:
        carriers.remove(carrier)


def received() -> Mapping[str, str]:
    """What travelled beside the message that is being handled: texts by name; empty if nothing did.

    It is there for handlers and for listeners of their signals, in threads and tasks that they
    start, in Django tasks, and after ``receive()`` for its caller.
    """
    return carried.decode(carried.carried.get())


# For layers


def is_due(message: object) -> bool:
    """Whether carriers are to be asked for ``message``, which they have not been yet."""
    return _settled.get() is not message


async def carry(
    call: Callable[[str, dict[str, Any]], Awaitable[_R]],
    sender: Any,
    operation: str,
    name: str,
    message: dict[str, Any],
) -> _R:
    """Send a message with what is to be carried.

    Args:
        call: sends it; given the name and the message.
        sender: see :class:`Sending`.
        operation: see :class:`Sending`.
        name: see :class:`Sending`.
        message: without what is to be carried. If it has the key for that, its sender has taken
            that from somewhere, and it is dropped.
    """
    text, sent = _ask(Sending(sender, operation, name, message))
    stamped = message
    if type(message) is dict and (text is not None or carried.KEY in message):
        stamped = {key: value for key, value in message.items() if key != carried.KEY}
        if text is not None:
            stamped[carried.KEY] = text
    before, failure = _settled.get(), None
    _settled.set(stamped)
    try:
        return await call(name, stamped)
    except BaseException as error:
        failure = error
        raise
    finally:
        _settled.set(before)
        _tell(sent, failure)
        del failure  # its traceback holds this frame


@contextmanager
def encoded(sender: Any, operation: str, name: str, message: Mapping[str, Any]) -> Iterator[str]:
    """While something else than a message is sent: what is to be carried, as text; may be empty.

    The arguments are those of :class:`Sending`.
    """
    text, sent = _ask(Sending(sender, operation, name, message)) if carriers else (None, [])
    failure: BaseException | None = None
    try:
        yield text or ""
    except BaseException as error:
        failure = error
        raise
    finally:
        _tell(sent, failure)
        del failure  # its traceback holds this frame


@contextmanager
def unchanged(message: object) -> Iterator[None]:
    """Within this, ``message`` is sent as it is: it has been sent before, and is sent on."""
    before = _settled.get()
    _settled.set(message)
    try:
        yield
    finally:
        _settled.set(before)


def adopt(layer: Any) -> None:
    """Let a layer carry texts that does not do so itself, as the layers of others.

    Without any carrier it is left as it is until there is one.
    """
    if getattr(layer, "carries", False):
        return
    if not carriers:
        with suppress(TypeError):  # it cannot be referred to so, and carries nothing
            _known.add(layer)
        return
    try:
        for operation in ("send", "group_send"):
            if hasattr(layer, operation):
                setattr(layer, operation, _carrying(layer, operation))
        layer.receive = _stripping(layer.receive)
        layer.carries = True
    except AttributeError:  # it has slots, or no such method
        logger.warning(
            "%s takes no new attributes: what it sends carries no context", type(layer).__name__
        )


def _carrying(layer: Any, operation: str) -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    call = getattr(layer, operation)

    async def send(name: str, message: dict[str, Any]) -> None:
        if carriers and is_due(message):
            await carry(call, layer, operation, name, message)
        else:
            await call(name, message)

    return send


def _stripping(receive: Any) -> Callable[[str], Awaitable[dict[str, Any]]]:
    async def stripped(channel: str) -> dict[str, Any]:
        return carried.strip(await receive(channel))

    return stripped


def _ask(sending: Sending) -> tuple[str | None, list[Sent]]:
    """What the carriers give for a message."""
    found: dict[str, str] = {}
    sent: list[Sent] = []
    for carrier in tuple(carriers):
        try:
            texts, told = carrier(sending)
            if texts:
                found.update(texts)
        except Exception as error:  # noqa: BLE001 - the message is sent in any case
            _failed(error)
        else:
            if told is not None:
                sent.append(told)
    return (carried.encode(found) if found else None), sent


def _tell(sent: list[Sent], failure: BaseException | None) -> None:
    """Tell carriers how the sending has ended."""
    for told in sent:
        try:
            told(failure)
        except Exception as error:  # noqa: BLE001 - the message has been sent
            _failed(error)


def _failed(error: Exception) -> None:
    said = "What is to travel beside a message could not be found out: %r"
    lograte.log(logger, logging.ERROR, "carrier", said, error, exc_info=error)
