"""What a process does about what it is told; on every event loop that serves connections.

To find out whom it concerns, all connections are looked at. So what comes close together is handled
together, and the longer a look takes, the longer is the pause before the next one: a client that
signs out all the time, with cookies that it has made up, must not keep every process busy.
"""

from collections.abc import Iterable

from .. import control
from .._runtime import clock, timers
from .._runtime.connections import Drainable
from .._runtime.identity import session_key_of
from .._runtime.per_loop import PerLoop
from ..close_codes import CloseCode
from ..control import handlers
from .finding import RENAMED, digest, digest_of, end, find
from .plan import Plan
from .telling import ENDED, TOKENS, USERS
from .telling import RENAMED as GOT_ANOTHER_KEY
from .validity import HASH, acceptable, ends_with_its_session
from .watching import watches

__all__ = ["Hearing", "hear", "hearings"]

# The limits of the pause before a look, in seconds. The shortest is for the connection that has
# signed itself out.
_SHORTEST, _LONGEST = 0.05, 0.5

# How many times as long as a look took, the pause before the next one is.
_TIMES = 20


class Hearing:
    """What one event loop has been told, until it looks whom that concerns."""

    def __init__(self) -> None:
        self._ended: set[str] = set()
        self._keys: dict[str, str] = {}
        self._users: set[str] = set()
        self._tokens: set[str] = set()
        self._waits = False
        #: Seconds that the latest look took.
        self.took = 0.0

    def add(
        self,
        *,
        ended: Iterable[str] = (),
        keys: Iterable[tuple[str, str]] = (),
        users: Iterable[str] = (),
        tokens: Iterable[str] = (),
    ) -> None:
        """Look soon whom this concerns."""
        self._ended.update(ended)
        self._keys.update(keys)
        self._users.update(users)
        self._tokens.update(tokens)
        if not self._waits:
            self._waits = True
            watches.get().run(self._look())

    async def _look(self) -> None:
        await timers.sleep(min(max(_SHORTEST, self.took * _TIMES), _LONGEST))
        ended, keys, users, tokens = self._ended, self._keys, self._users, self._tokens
        self._ended, self._keys, self._users, self._tokens = set(), {}, set(), set()
        self._waits = False
        began, watch, plan = clock.now(), watches.get(), Plan.in_force()
        if keys:
            renamed = _rename(keys)
            if plan is not None:
                watch.run(watch.check(renamed))
        if ended and plan is not None:
            concerned = filter(ends_with_its_session, find("session", ended))
            end(concerned, CloseCode.UNAUTHORIZED, "signed out")
        if tokens and plan is not None:
            concerned = filter(acceptable, find("token", tokens))
            end(concerned, CloseCode.UNAUTHORIZED, "the token was revoked")
        self.took = clock.now() - began
        if users and plan is not None:
            watch.run(watch.look_soon("user", users))


def _rename(keys: dict[str, str]) -> list[Drainable]:
    """Note that sessions have got other keys, some of them several times. Returns whose."""
    found = find("session", keys)
    for connection in found:
        own = digest(str(session_key_of(connection.scope)))
        connection.scope[RENAMED] = (own, _latest(digest_of(connection), keys))
        connection.scope.pop(HASH, None)
    return found


def _latest(key: str | None, keys: dict[str, str]) -> str | None:
    """What a key is in the end."""
    for _ in keys:
        key = keys.get(str(key), key)
    return key


#: That of each event loop.
hearings = PerLoop(Hearing)


def hear() -> None:
    """Do something about it from now on."""
    control.register(ENDED, _sessions_ended)
    control.register(GOT_ANOTHER_KEY, _sessions_renamed)
    control.register(USERS, _users_changed)
    control.register(TOKENS, _tokens_revoked)
    control.register(handlers.GAP, _gap)


def _sessions_ended(values: list[str]) -> None:
    """Sessions are gone from their store, or about to go."""
    hearings.get().add(ended=values)


def _sessions_renamed(values: list[tuple[str, str]]) -> None:
    """Sessions have got other keys."""
    hearings.get().add(keys=values)


def _users_changed(values: list[str]) -> None:
    """Users were changed or deleted."""
    hearings.get().add(users=values)


def _tokens_revoked(values: list[str]) -> None:
    """Tokens were revoked."""
    hearings.get().add(tokens=values)


def _gap(reason: str) -> None:
    """Commands may have been missed: look at everything."""
    if Plan.in_force() is not None:
        watches.get().run(watches.get().look_soon("all"))
