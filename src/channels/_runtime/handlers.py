"""Which method of a consumer handles a message, and which methods no message may call."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ..exceptions import UnknownMessageType
from .logtext import printable

__all__ = ["find_handler", "framework", "get_handler_name"]

_C = TypeVar("_C", bound=type)

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
        name = _names[message["type"]]
    except (KeyError, TypeError):
        name = _permitted_name(type(consumer), message)
    handler: Callable[[Any], Awaitable[None] | None] | None = getattr(consumer, name, None)
    if not callable(handler):  # nor is a plain attribute that happens to have that name one
        raise UnknownMessageType(f"No handler for message type {printable(message['type'])}")
    return handler


# By type of message: the name of the handler, where that is no framework class's business. There
# are as many types as handlers, but who knows from where an application has them; and nothing here
# may keep a class alive.
_names: dict[str, str] = {}
_NAMES_KEPT = 1000
_LONGEST_KEPT = 100  # characters

# Public names that classes of the framework define, less those that messages may call.
_guarded: set[str] = set(_INSTANCE_ATTRIBUTES)
# The latter.
_open: set[str] = set()


def framework(*handlers: str) -> Callable[[_C], _C]:
    """Mark a class as the framework's: messages may call none of its methods but ``handlers``.

    What a project's class defines or overrides is a handler all the same.
    """

    def mark(cls: _C) -> _C:
        cls._protocol_handlers = frozenset(handlers)  # type: ignore[attr-defined]
        _open.update(handlers)
        _guarded.update(name for name in vars(cls) if not name.startswith("_"))
        _guarded.difference_update(_open)
        _names.clear()
        return cls

    return mark


def _permitted_name(cls: type, message: Mapping[str, Any]) -> str:
    name = get_handler_name(message)
    message_type = message["type"]
    if name in _guarded:
        if not _is_the_projects(cls, name):
            raise UnknownMessageType(
                f"Message type {printable(message_type)!r} names a method of the framework, which "
                "messages may not call; rename the type and its handler"
            )
    elif len(message_type) <= _LONGEST_KEPT:
        if len(_names) >= _NAMES_KEPT:
            _names.clear()
        _names[message_type] = name
    return name


def _is_the_projects(cls: type, name: str) -> bool:
    """Whether it is a project's class that gives ``cls`` this method."""
    if name in _INSTANCE_ATTRIBUTES:
        return False
    for base in cls.__mro__:
        if name in vars(base):
            return "_protocol_handlers" not in vars(base)
    return True  # it has it from elsewhere, if it has it at all
