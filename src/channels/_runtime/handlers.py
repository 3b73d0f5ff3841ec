"""Which method of a consumer handles a message, and which methods no message may call."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import lru_cache
from inspect import getmro
from typing import Any, cast

from ..exceptions import UnknownMessageType
from .denial import printable

__all__ = ["find_handler", "get_handler_name"]

# Set on the instance by the runtime, so no class namespace shows them.
_INSTANCE_ATTRIBUTES = frozenset(
    {"base_send", "channel_layer", "channel_name", "channel_receive", "scope"}
)


def get_handler_name(message: Mapping[str, Any]) -> str:
    """The name of the method that handles ``message``: its type with ``.`` replaced by ``_``.

    Raises:
        ValueError: the message has no usable ``type``, or one that starts with an underscore.
    """
    if "type" not in message:
        raise UnknownMessageType("Incoming message has no 'type' attribute")
    message_type = message["type"]
    if not isinstance(message_type, str):
        raise UnknownMessageType(
            f"The type of a message must be a string, not {type(message_type).__name__}"
        )
    name = message_type.replace(".", "_")
    if name.startswith("_"):
        raise UnknownMessageType("Malformed type in message (leading underscore)")
    return name


def find_handler(
    consumer: Any, message: Mapping[str, Any]
) -> Callable[[Any], Awaitable[None] | None]:
    """The handler of ``message``, looked up by name on the instance.

    Packages add handlers to classes and instances at any time, so between messages nothing is
    remembered but that messages of this type may call a method of this name.

    Raises:
        UnknownMessageType: there is no such handler, or its name is a framework method's.
    """
    try:
        name = _names[consumer.__class__, message["type"]]
    except (KeyError, TypeError):
        name = _permitted_name(consumer.__class__, message)
    handler: Callable[[Any], Awaitable[None] | None] | None = getattr(consumer, name, None)
    if not callable(handler):  # nor is a plain attribute that happens to have that name one
        raise UnknownMessageType(f"No handler for message type {printable(message['type'])}")
    return handler


# By class and type of message: the name of the handler, once it has been found permissible.
_names: dict[tuple[type, str], str] = {}
_NAMES_KEPT = 10_000  # types come from the application, but who knows from where it has them


def _permitted_name(cls: type, message: Mapping[str, Any]) -> str:
    name = get_handler_name(message)
    if name in _forbidden_names(cls):
        raise UnknownMessageType(
            f"Message type {printable(message['type'])!r} names a method of the framework, which "
            "messages may not call; rename the type and its handler"
        )
    if len(_names) >= _NAMES_KEPT:
        _names.clear()
    _names[cls, message["type"]] = name
    return name


@lru_cache(maxsize=1024)
def _forbidden_names(cls: Hashable) -> frozenset[str]:
    """Public names that the framework's base classes define, less the handlers among them.

    A framework class is one that lists in its own namespace, as ``_protocol_handlers``, those of
    its methods that messages may call.
    """
    defined: set[str] = set(_INSTANCE_ATTRIBUTES)
    handlers: set[str] = set()
    for base in getmro(cast("type[Any]", cls)):
        namespace = vars(base)
        if "_protocol_handlers" in namespace:
            defined.update(namespace)
            handlers.update(namespace["_protocol_handlers"])
    return frozenset(defined - handlers)
