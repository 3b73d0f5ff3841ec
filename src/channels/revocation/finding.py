"""The connections of one event loop that a command is about, and their end."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from .._runtime.connections import Drainable, connections
from .._runtime.identity import session_key_of, user_id_of

__all__ = ["RENAMED", "digest", "digest_of", "end", "find"]

#: Key in a scope: the digest of the key that the session has got meanwhile.
RENAMED = "channels.session"


def digest(session_key: str) -> str:
    """What stands for a session key in commands: the key itself lets its owner in."""
    return hashlib.sha256(session_key.encode()).hexdigest()


def digest_of(connection: Drainable) -> str | None:
    """The digest of the key of a connection's session; None without a session."""
    renamed: str | None = connection.scope.get(RENAMED)
    key = session_key_of(connection.scope)
    return renamed or (digest(key) if key else None)


def find(by: str, value: str | None) -> list[Drainable]:
    """The connections of the running event loop that belong to a user, a session and so on.

    Every connection is looked at, at some 1 to 3 microseconds each. In return a connection costs
    nothing meanwhile, and what a consumer has put into its scope counts as it is now.

    Args:
        by: "user", "session" (``value`` is a digest), "channel" or "all".
        value: which one.
    """
    here = connections.get().open
    match: Callable[[Drainable], bool]
    if by == "user":
        match = lambda found: user_id_of(found.scope) == value  # noqa: E731
    elif by == "session":
        match = lambda found: digest_of(found) == value  # noqa: E731
    elif by == "channel":
        match = lambda found: found.channel_name == value  # noqa: E731
    else:
        return list(here)
    return [found for found in here if match(found)]


_ending: set[Any] = set()


def end(found: Iterable[Drainable], code: int, reason: str) -> int:
    """Begin to end these connections. Returns how many."""
    count = 0
    for connection in found:
        count += 1
        task = connection.disconnect(code, reason)
        if task is not None:
            _ending.add(task)
            task.add_done_callback(_ending.discard)
    return count
