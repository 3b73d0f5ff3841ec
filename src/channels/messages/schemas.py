"""Shapes of messages, and what reads a decoded JSON object as one of them.

msgspec reads its structs, dataclasses, attrs classes and typed dicts. Models of pydantic are read
by pydantic, which is imported only if there is such a model.
"""

import re
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect as shapes

from ..exceptions import InvalidDeclaration, MessageRefused

__all__ = ["Read", "literal_type", "reader"]

#: Makes a typed object of the content of a message. Raises MessageRefused if that does not fit.
Read: TypeAlias = Callable[[dict[str, Any]], Any]

# What belongs to the envelope, unless the message has a field of that name.
_ENVELOPE = ("type", "ref")

_OBJECTS = (shapes.StructType, shapes.DataclassType, shapes.TypedDictType)
# `Expected `int`, got `str` - at `$.number``
_PLACE = re.compile(r"(?P<message>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)
# How messages begin that go on with what the client has sent.
_QUOTING = re.compile(r"(Invalid (?:enum )?value) .*", re.DOTALL)

_INVALID = "The message does not have the shape that is declared for its type."


def reader(schema: Any, where: str) -> Read:
    """What reads the content of a message as ``schema``.

    Raises:
        InvalidDeclaration: it is no shape that a message can have. ``where`` is told.
    """
    return _pydantic_reader(schema) if _is_pydantic(schema) else _msgspec_reader(schema, where)


def literal_type(schema: Any) -> str | None:
    """The one value that the ``type`` of such a message has, by the struct's tag or a literal."""
    if _is_pydantic(schema):
        fields = getattr(schema, "__pydantic_fields__", {})
        annotation = fields["type"].annotation if "type" in fields else None
        values = (
            typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()
        )
    else:
        info: Any = shapes.type_info(schema)
        if getattr(info, "tag_field", None) == "type":
            return info.tag if isinstance(info.tag, str) else None
        literals = [it.type for it in info.fields if it.encode_name == "type"]
        values = tuple(
            value for it in literals if isinstance(it, shapes.LiteralType) for value in it.values
        )
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def _msgspec_reader(schema: Any, where: str) -> Read:
    try:
        info: Any = shapes.type_info(schema)
    except Exception as error:
        raise InvalidDeclaration(f"{where}: no message can be a {schema!r}: {error}") from error
    if not isinstance(info, _OBJECTS) or getattr(info, "array_like", False):
        raise InvalidDeclaration(
            f"{where}: no message can be a {schema!r}, because a message is a JSON object; use a "
            "msgspec.Struct, a dataclass, a TypedDict or a pydantic model"
        )
    for part in _parts(info, set()):
        if isinstance(part, shapes.CustomType | shapes.ExtType | shapes.RawType):
            raise InvalidDeclaration(
                f"{where}: {schema!r} has a field of a type that JSON cannot be read as: "
                f"{getattr(part, 'cls', part)!r}; a model of pydantic may only be in another one"
            )
    own = {it.encode_name for it in info.fields} | {getattr(info, "tag_field", None)}
    strip = [name for name in _ENVELOPE if name not in own]

    def read(content: dict[str, Any]) -> Any:
        try:
            return msgspec.convert(_stripped(content, strip), schema, str_keys=True)
        except msgspec.ValidationError as error:
            match = _PLACE.fullmatch(str(error))
            path, message = "$", str(error)
            if match is not None:  # pragma: no branch - it matches anything
                path, message = match["path"] or "$", _QUOTING.sub(r"\1", match["message"])
            raise MessageRefused("invalid", _INVALID, [(path, message)]) from error

    return read


def _parts(shape: Any, seen: set[int]) -> Iterator[Any]:
    """A type, and the types of its parts."""
    if id(shape) in seen:
        return
    seen.add(id(shape))
    if isinstance(shape, shapes.Type):
        yield shape
    if isinstance(shape, tuple):
        inner = shape
    elif isinstance(shape, shapes.Type | shapes.Field):
        inner = tuple(getattr(shape, name) for name in shape.__struct_fields__)
    else:
        return
    for part in inner:
        yield from _parts(part, seen)


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and hasattr(schema, "__pydantic_validator__")


def _pydantic_reader(schema: Any) -> Read:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - the schema is of pydantic

    adapter = TypeAdapter(schema)
    own = {info.alias or name for name, info in schema.__pydantic_fields__.items()}
    strip = [name for name in _ENVELOPE if name not in own]

    def read(content: dict[str, Any]) -> Any:
        # As JSON, which is what came: in its strict mode, pydantic takes dates from JSON alone.
        text = msgspec.json.encode(_stripped(content, strip))
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            problems = [(_path(one["loc"]), _said(one["type"], one["msg"])) for one in found]
            raise MessageRefused("invalid", _INVALID, problems) from error

    return read


def _stripped(content: dict[str, Any], names: list[str]) -> dict[str, Any]:
    if not names:
        return content
    content = content.copy()
    for name in names:
        content.pop(name, None)
    return content


def _path(location: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{it}]" if isinstance(it, int) else f".{it}" for it in location)


def _said(kind: str, message: str) -> str:
    if kind == "union_tag_invalid":  # it quotes what the client has sent
        return "Input tag does not match any of the expected tags"
    return message
