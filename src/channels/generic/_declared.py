"""Gives declared messages to their handlers, in consumers of both kinds."""

from typing import Any

from django.core.exceptions import PermissionDenied

from .._runtime.kinds import call, refuse_plain
from ..exceptions import MessageRefused
from ..messages.declarations import Declaration, declarations
from ..messages.refusals import close_code, forbidden, reply, select, tell

__all__ = ["areceive_declared", "arefuse", "receive_declared", "refuse"]


async def areceive_declared(consumer: Any, content: Any) -> None:
    """Give ``content`` to the handler of its type, or refuse it."""
    if consumer._channels_refused_too_many:
        return
    declaration: Declaration | None = None
    try:
        declaration = select(declarations(type(consumer)), content)
        rule = declaration.permissions
        if rule is not None and not await rule.acheck(consumer.scope, declaration.type):
            raise forbidden(consumer.scope)
        message = declaration.read(content)
        try:
            await getattr(consumer, declaration.handler)(message)
        except TypeError as error:
            refuse_plain(consumer, declaration.handler, error)
            raise
        except PermissionDenied:
            raise forbidden(consumer.scope) from None
    except MessageRefused as refused:
        await arefuse(consumer, refused, declaration, content)


async def arefuse(
    consumer: Any, refused: MessageRefused, declaration: Declaration | None, content: Any
) -> None:
    """Tell the client, and close the socket if that was one too many."""
    tell(consumer, refused, declaration)
    code = close_code(consumer, refused)
    await consumer.send_json(reply(refused, declaration, content))
    if code is not None:
        consumer._channels_refused_too_many = True
        await consumer.close(code)


def receive_declared(consumer: Any, content: Any) -> None:
    """Give ``content`` to the handler of its type, or refuse it."""
    if consumer._channels_refused_too_many:
        return
    declaration: Declaration | None = None
    try:
        declaration = select(declarations(type(consumer)), content)
        rule = declaration.permissions
        if rule is not None and not rule.check(consumer.scope, declaration.type):
            raise forbidden(consumer.scope)
        message = declaration.read(content)
        try:
            call(consumer, declaration.handler, message)
        except PermissionDenied:
            raise forbidden(consumer.scope) from None
    except MessageRefused as refused:
        refuse(consumer, refused, declaration, content)


def refuse(
    consumer: Any, refused: MessageRefused, declaration: Declaration | None, content: Any
) -> None:
    """Tell the client, and close the socket if that was one too many."""
    tell(consumer, refused, declaration)
    code = close_code(consumer, refused)
    consumer.send_json(reply(refused, declaration, content))
    if code is not None:
        consumer._channels_refused_too_many = True
        consumer.close(code)
