"""Tells all processes of sign-ins that may have ended: what comes close together in one command."""

import threading

from .._runtime import timers
from .._runtime.forks import in_child
from .._runtime.loops import bridge
from ..control.commands import publish_soon

__all__ = ["ENDED", "RENAMED", "TOKENS", "USERS", "Bulletin", "bulletin"]

#: The commands. Each has ``values``: digests of session keys, pairs of them (the former one and
#: the present one), the primary keys of users as text, and digests of the names of tokens.
ENDED, RENAMED, USERS = "sessions_ended", "sessions_renamed", "users_changed"
TOKENS = "tokens_revoked"

# Seconds for which more is waited for, so that a loop over many users makes few commands.
_WINDOW = 0.05

# Values in one command: 64 kB of digests.
_MOST = 1000


class Bulletin:
    """What this process has to tell, from whichever thread."""

    def __init__(self) -> None:
        self._begin()
        in_child(self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        # In this order: a session may end under the key that it has just got.
        commands = (RENAMED, ENDED, USERS, TOKENS)
        self._waiting: dict[str, dict[object, None]] = {command: {} for command in commands}
        self._under_way = False

    def add(self, command: str, value: object) -> None:
        """Tell this soon, without waiting for it."""
        with self._lock:
            self._waiting[command][value] = None
            is_first, self._under_way = not self._under_way, True
        if is_first:
            bridge.spawn(self._tell())

    async def _tell(self) -> None:
        await timers.sleep(_WINDOW)
        with self._lock:
            told = [(command, list(values)) for command, values in self._waiting.items()]
            for waiting in self._waiting.values():
                waiting.clear()
            self._under_way = False
        for command, values in told:
            for start in range(0, len(values), _MOST):
                publish_soon(command, values=values[start : start + _MOST])


#: The one of this process.
bulletin = Bulletin()
