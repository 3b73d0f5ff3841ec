"""Which connection the running code belongs to: a context variable, set once per connection.

It is set as the connection opens, in the task that runs its handlers. So it is there in handlers,
in the threads of synchronous ones and in whatever they start. It refers to the consumer weakly, and
keeps nothing of the connection alive.
"""

import itertools
import secrets
from contextvars import ContextVar
from typing import Any
from weakref import ref

from channels import signals
from channels._runtime.forks import in_child

__all__ = ["connection_fields", "connection_id", "listen"]


class _Connection:
    __slots__ = ("consumer", "id")

    def __init__(self, consumer: Any) -> None:
        self.id = f"{_process[0]}-{next(_numbers):x}"
        self.consumer = ref(consumer)


_current: ContextVar[_Connection | None] = ContextVar("channels_connection", default=None)
_numbers = itertools.count(1)
_process = [secrets.token_hex(4)]  # names this process; its connections are numbered


def _renew() -> None:
    _process[0] = secrets.token_hex(4)


in_child(_renew)


def listen() -> None:
    """Know the connections that open from now on. To call it again changes nothing."""
    signals.connection_opened.connect(
        _opened, weak=False, dispatch_uid="channels.contrib.logs.connections"
    )


def _opened(consumer: Any, **others: Any) -> None:
    _current.set(_Connection(consumer))


def connection_id() -> str | None:
    """The ID of the connection that the running code belongs to; None outside of any.

    It is unique among all processes, and says nothing about the client.
    """
    current = _current.get()
    return None if current is None else current.id


def connection_fields(*, user: bool = False) -> dict[str, Any]:
    """What is known of the connection that the running code belongs to, for a log.

    Args:
        user: whether the user's ID is wanted. It is there if the user has been loaded; nothing is
            loaded for a log.

    Returns:
        ``connection_id``, ``consumer``, ``path`` and ``channel_name``, and ``user_id`` if it is
        wanted and known; empty outside of any connection.
    """
    current = _current.get()
    if current is None:
        return {}
    fields: dict[str, Any] = {"connection_id": current.id}
    consumer = current.consumer()
    if consumer is not None:
        scope = consumer.scope
        fields["consumer"] = type(consumer).__qualname__
        fields["path"] = scope.get("path") or scope.get("channel")
        fields["channel_name"] = getattr(consumer, "channel_name", None)
        if user:
            fields["user_id"] = _user_id(scope.get("user"))
    return {name: value for name, value in fields.items() if value is not None}


def _user_id(user: Any) -> Any:
    """The ID of a user who has been loaded."""
    if user is None:
        return None
    found = vars(user).get("_wrapped", user)  # of the lazy object in a scope
    return getattr(found, "pk", None)
