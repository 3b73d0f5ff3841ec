"""The connections of one event loop that a command is about, and their end."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from typing import Any

from .._runtime.connections import Drainable, connections
from .._runtime.identity import session_key_of, user_id_of
from .._runtime.scopes import CREDENTIAL

__all__ = ["RENAMED", "digest", "digest_of", "digest_of_token", "end", "find", "renamed"]

#: Key in a scope: the digests of the key that the session had, and of the one it has got meanwhile.
RENAMED = "channels.session"


def digest(secret: str) -> str:
    """What stands for a session key in commands, which itself lets its owner in.

    And for the name of a token: whoever reads commands is not to learn more than is needed.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def renamed(connection: Drainable) -> str | None:
    """The digest of the key that a connection's session has got elsewhere; None if it has not."""
    pair = connection.scope.get(RENAMED)
    if pair is None:
        return None
    key = session_key_of(connection.scope)
    # The connection itself may have given it another key since, or begun another session.
    return pair[1] if key and digest(key) == pair[0] else None


def digest_of(connection: Drainable) -> str | None:
    """The digest of the key of a connection's session; None without a session."""
    key = session_key_of(connection.scope)
    return renamed(connection) or (digest(key) if key else None)


def digest_of_token(connection: Drainable) -> str | None:
    """The digest of the name of a connection's token; None if it has none."""
    credential = connection.scope.get(CREDENTIAL)
    token_id = None if credential is None else credential.token_id
    return None if token_id is None else digest(token_id)


def find(by: str, values: Collection[str] = ()) -> list[Drainable]:
    """The connections of the running event loop that belong to some users, sessions and so on.

    Every connection is looked at, at some 0.5 to 3 microseconds each, however many ``values`` there
    are. In return a connection costs nothing meanwhile, and what a consumer has put into its scope
    counts as it is now.

    Args:
        by: "user", "session" or "token" (``values`` are digests), "channel" or "all".
        values: which ones.
    """
    here = connections.get().open
    wanted = frozenset(values)
    match: Callable[[Drainable], bool]
    if by == "user":
        match = lambda found: user_id_of(found.scope) in wanted  # noqa: E731
    elif by == "session":
        match = lambda found: digest_of(found) in wanted  # noqa: E731
    elif by == "token":
        match = lambda found: digest_of_token(found) in wanted  # noqa: E731
    elif by == "channel":
        match = lambda found: found.channel_name in wanted  # noqa: E731
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
