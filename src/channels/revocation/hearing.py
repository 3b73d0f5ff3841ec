"""What a process does about what it is told; on every event loop that serves connections."""

from collections.abc import Iterable

from .. import control
from .._runtime import timers
from .._runtime.identity import session_key_of
from ..close_codes import CloseCode
from ..control import handlers
from .finding import RENAMED, digest, digest_of, end, find
from .plan import Plan
from .telling import ENDED, USERS
from .telling import RENAMED as GOT_ANOTHER_KEY
from .validity import HASH, ends_with_its_session
from .watching import watches

__all__ = ["hear"]


def hear() -> None:
    """Do something about it from now on."""
    control.register(ENDED, _sessions_ended)
    control.register(GOT_ANOTHER_KEY, _sessions_renamed)
    control.register(USERS, _users_changed)
    control.register(handlers.GAP, _gap)


async def _sessions_ended(values: list[str]) -> None:
    """Sessions are gone from their store, or about to go."""
    if Plan.in_force() is None:
        return
    await timers.sleep(0.05)  # for the connection that has signed itself out
    concerned = filter(ends_with_its_session, find("session", values))
    end(concerned, CloseCode.UNAUTHORIZED, "signed out")


def _sessions_renamed(values: Iterable[tuple[str, str]]) -> None:
    """Sessions have got other keys, some of them several times."""
    keys = dict(values)
    found = find("session", keys)
    for connection in found:
        own = digest(str(session_key_of(connection.scope)))
        connection.scope[RENAMED] = (own, _latest(digest_of(connection), keys))
        connection.scope.pop(HASH, None)
    if Plan.in_force() is not None:
        watches.get().run(watches.get().check(found))


def _latest(key: str | None, keys: dict[str, str]) -> str | None:
    """What a key is in the end."""
    for _ in keys:
        key = keys.get(str(key), key)
    return key


def _users_changed(values: list[str]) -> None:
    """Users were changed or deleted."""
    if Plan.in_force() is not None:
        watches.get().run(watches.get().look_soon("user", values))


def _gap(reason: str) -> None:
    """Commands may have been missed: look at everything."""
    if Plan.in_force() is not None:
        watches.get().run(watches.get().look_soon("all"))
