"""Which handler of a consumer takes which message: declared by a decorator, found by class."""

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

from ..exceptions import InvalidDeclaration
from ..security.permissions.base import Permission, as_permission
from .schemas import Read, literal_type, reader

__all__ = ["Declaration", "accepts", "declarations", "is_declared", "marks"]

_H = TypeVar("_H", bound=Callable[[Any, Any], Any])

# What the decorator leaves on a function, and where a class keeps what it declares.
_MARK = "_channels_accepts"
_TABLE = "_channels_declarations"

_LONGEST = 100  # characters of a type
# Types that Channels itself sends and receives.
_REPLY = "error"
_OURS = "channels."


@dataclass(frozen=True)
class Declaration:
    """One type of message that a consumer accepts."""

    #: What clients write into ``type``.
    type: str
    #: The class of which the handler gets an object (a dict, if it is a ``TypedDict``).
    schema: Any
    #: The name of the method.
    handler: str
    #: What the handler's docstring says; empty if it has none.
    description: str = ""
    #: Who may send it; None for everybody who is connected.
    permissions: Permission | None = None
    read: Read = field(repr=False, compare=False, default=lambda content: content)


@dataclass(frozen=True)
class _Mark:
    """What the decorator was given."""

    type: str | None
    schema: Any
    permissions: Permission | None


def accepts(
    message_type: str | None = None,
    schema: Any = None,
    *,
    permissions: Permission | type[Permission] | None = None,
) -> Callable[[_H], _H]:
    """Declare that clients may send a type of message, and that the decorated method handles it.

    Args:
        message_type: what the ``type`` of the message has to be. By default the tag of the struct,
            or the one value of its field ``type``.
        schema: the shape of the message: a ``msgspec.Struct``, a dataclass, a ``TypedDict``, or a
            model of pydantic. By default the annotation of the method's argument.
        permissions: who may send it, asked before the message is looked at.

    Raises:
        InvalidDeclaration: it was written without parentheses, or not above a method.
        InvalidPermission: ``permissions`` are none.
    """
    given: Any = message_type
    if callable(given):
        raise InvalidDeclaration(
            f"@accepts above {getattr(given, '__qualname__', given)} has no "
            'parentheses; write @accepts("the.type"), or @accepts() if the message knows its type'
        )
    rule = None if permissions is None else as_permission(permissions)

    def mark(method: _H) -> _H:
        what: object = method
        if isinstance(what, type | staticmethod | classmethod):
            raise InvalidDeclaration(f"@accepts stands above {method!r}, which is no method")
        setattr(method, _MARK, _Mark(message_type, schema, rule))
        return method

    return mark


def declarations(cls: type) -> dict[str, Declaration]:
    """What consumers of ``cls`` accept, by type.

    Raises:
        InvalidDeclaration: something in it cannot work; says what to write.
    """
    table: dict[str, Declaration] | None = vars(cls).get(_TABLE)
    if table is None:
        table = {}
        for name, mark in marks(cls).items():
            declaration = _declare(cls, name, mark)
            other = table.setdefault(declaration.type, declaration)
            if other is not declaration:
                raise InvalidDeclaration(
                    f"{cls.__qualname__}: {other.handler}() and {name}() both accept "
                    f"{declaration.type!r}; give one of them another type"
                )
        setattr(cls, _TABLE, table)
    return table


def is_declared(cls: type, name: str) -> bool:
    """Whether this method of ``cls`` takes messages of clients, and therefore no others."""
    return any(_mark_of(vars(base).get(name)) is not None for base in cls.__mro__)


def marks(cls: type) -> dict[str, _Mark]:
    """The decorated methods, by name. An override stays what the method is that it overrides."""
    found: dict[str, _Mark] = {}
    for base in cls.__mro__:
        for name, value in vars(base).items():
            mark = _mark_of(value)
            if mark is not None:
                found.setdefault(name, mark)
    return {name: mark for name, mark in found.items() if getattr(cls, name, None) is not None}


def _mark_of(value: Any) -> _Mark | None:
    mark = getattr(value, "__dict__", {}).get(_MARK)
    return mark if type(mark) is _Mark else None


def _declare(cls: type, name: str, mark: _Mark) -> Declaration:
    where = f"{cls.__qualname__}.{name}()"
    _require_handler(cls, name, where)
    method = getattr(cls, name)
    schema = mark.schema or _annotation(cls, name, where)
    read = reader(schema, where)
    known = literal_type(schema)
    message_type = mark.type or known
    if message_type is None:
        raise InvalidDeclaration(
            f'{where} does not say which type of message it accepts; write @accepts("the.type")'
        )
    if known is not None and known != message_type:
        raise InvalidDeclaration(
            f"{where} accepts {message_type!r}, but its message is always a {known!r}; "
            "let the two agree"
        )
    _require_type(message_type, where)
    description = inspect.getdoc(method) or ""
    return Declaration(message_type, schema, name, description, mark.permissions, read)


def _require_handler(cls: Any, name: str, where: str) -> None:
    if not hasattr(cls, "receive_json"):
        raise InvalidDeclaration(
            f"{where} accepts messages, which only JSON consumers receive; derive "
            f"{cls.__qualname__} from AsyncJsonWebsocketConsumer or JsonWebsocketConsumer"
        )
    if any(
        name in vars(base) for base in cls.__mro__ if "_channels_protocol_handlers" in vars(base)
    ):
        raise InvalidDeclaration(f"{where} overrides a method of Channels; give it another name")
    if cls._sync and inspect.iscoroutinefunction(getattr(cls, name)):
        raise InvalidDeclaration(
            f"{where} is a coroutine, and {cls.__qualname__} a synchronous consumer; write "
            f"`def {name}(...)`"
        )


def _require_type(message_type: Any, where: str) -> None:
    if not isinstance(message_type, str) or not 0 < len(message_type) <= _LONGEST:
        raise InvalidDeclaration(
            f"{where} accepts {message_type!r}; a type is a text of 1 to {_LONGEST} characters"
        )
    if message_type == _REPLY or message_type.startswith(_OURS):
        raise InvalidDeclaration(
            f"{where} accepts {message_type!r}, which Channels itself uses; take another type"
        )


def _annotation(cls: type, name: str, where: str) -> Any:
    """The annotation of the handler's argument: of its own, or of the method that it overrides."""
    for base in cls.__mro__:
        method = vars(base).get(name)
        if method is None:
            continue
        for parameter in _arguments(method):
            if parameter.annotation is not parameter.empty:
                return _resolve(parameter.annotation, method, vars(cls), where)
            break
    raise InvalidDeclaration(
        f"{where} does not say what its message is; annotate the argument, as in "
        '`message: SendMessage`, or write @accepts("the.type", SendMessage)'
    )


def _arguments(method: Any) -> Iterator[inspect.Parameter]:
    parameters = iter(inspect.signature(method).parameters.values())
    next(parameters, None)  # self
    return parameters


def _resolve(annotation: Any, method: Any, names: Any, where: str) -> Any:
    if not isinstance(annotation, str):
        return annotation
    function = inspect.unwrap(method)
    probe: Any = SimpleNamespace(__annotations__={"message": annotation})
    try:
        hints = typing.get_type_hints(
            probe, getattr(function, "__globals__", {}), dict(names), include_extras=True
        )
    except Exception as error:
        raise InvalidDeclaration(
            f"{where}: the annotation {annotation!r} means nothing where Channels reads it "
            f'({error}); write @accepts("the.type", the_class)'
        ) from error
    return hints["message"]
