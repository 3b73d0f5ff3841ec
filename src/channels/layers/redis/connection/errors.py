"""What a broker's errors mean: whether to try again, when, and what to tell who waits."""

import asyncio
import re
from typing import Any

from redis import exceptions as redis_errors

from ....exceptions import BrokerError, ChannelsError
from ..scripts import SCRIPTS
from .refusals import shorn
from .servers import Server

__all__ = ["explain", "forget", "heed_move", "is_moving", "is_transient"]

# What a script says when keys that it works out itself are being moved. None of ours has changed
# anything before it has looked at all of them.
_MOVING = ("access a non local key", "during rehashing of the slot")

# Refusals that redis-py has no class for; Redis before 7 wraps those that end a script.
# Somebody's script has kept the server for longer than busy-reply-threshold.
_BUSY = "BUSY "
_TRANSIENT = ("MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "-READONLY", *_MOVING)


def is_transient(error: BaseException) -> bool:
    """Whether a server that answered so may answer otherwise in a moment."""
    if isinstance(error, redis_errors.ResponseError):
        return (
            isinstance(
                error,
                redis_errors.AskError  # MOVED too
                | redis_errors.TryAgainError
                | redis_errors.ClusterDownError
                | redis_errors.ReadOnlyError,
            )
            or any(words in str(error) for words in _TRANSIENT)
            or str(error).startswith(_BUSY)
        )
    return isinstance(
        error,
        redis_errors.ConnectionError | redis_errors.TimeoutError | OSError | TimeoutError,
    ) and not isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError)


def heed_move(server: Server, error: Exception) -> Exception:
    """Let ``server`` know, if ``error`` says so, that its keys are at another node now.

    Returns:
        What to go on with: ``error``, or what is wrong if ``server`` is not known as a cluster.
    """
    if isinstance(error, redis_errors.MovedError):
        if not server.is_cluster:
            return BrokerError(
                f"{server.name} is a node of a Redis Cluster, which keeps these keys on another "
                'node; let hosts say so: [{"cluster": [("host", port), ...]}]'
            )
        server.moved(error.host, error.port)
    return error


def is_moving(error: Exception) -> bool:
    """Whether the keys are on their way to another node, and nothing can be done but wait."""
    if isinstance(error, redis_errors.MovedError):  # they have arrived
        return False
    return isinstance(error, redis_errors.AskError | redis_errors.TryAgainError) or any(
        words in str(error) for words in _MOVING
    )


def forget(future: "asyncio.Future[Any]") -> None:
    """Let a call fail unheard, as one may whose purpose an expiry or a lease serves as well."""
    if not future.cancelled():
        future.exception()


def explain(error: Exception, what: str = "a command") -> Exception:
    """What the caller is told when the broker answered ``what`` with ``error``."""
    if isinstance(error, ChannelsError):
        return error
    text = shorn(error)
    # Redis 6 wraps what goes wrong in a script.
    if isinstance(error, redis_errors.OutOfMemoryError) or "OOM command" in text:
        return BrokerError(
            "The broker is out of memory (maxmemory) and takes no more messages; give it more, or "
            f"send less: {text}"
        )
    if (
        isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError)
        or "unauthenticated" in text  # what a long command is answered before signing in
    ):
        return BrokerError(f"The broker refused the credentials: {text}")
    if isinstance(error, redis_errors.NoPermissionError) or _FORBIDDEN.search(text):
        return BrokerError(
            f"The broker refused {what}{_in_script(text)}, as the rights (ACL) of the user that "
            f"hosts names do not allow it: {text}"
        )
    if "MISCONF" in text:
        return BrokerError(f"The broker cannot save to its disk, and takes no messages: {text}")
    return BrokerError(f"The broker refused {what}: {text}")


# What users who lack a right are told of commands, and of commands in scripts.
_FORBIDDEN = re.compile(r"no permissions to|can't run this command|NOPERM", re.IGNORECASE)

# Where a script failed: its name, with which Redis 6 makes a function, and the line.
_LINE = re.compile(r"([0-9a-f]{40}).*?user_script:(\d+)", re.DOTALL)


def _in_script(text: str) -> str:
    """The commands that a line of a script holds. Redis before 7.2 names the line only."""
    found = _LINE.search(text)
    script = found and next((s for s in SCRIPTS.values() if s.sha == found[1]), None)
    if not found or not script:
        return ""
    line = script.source.decode().splitlines()[int(found[2]) - 1]
    commands = re.findall(r"redis\.p?call\('([^']+)'(?:, '([A-Z]+)')?", line)
    named = " or ".join(" ".join(filter(None, command)) for command in commands)
    return f", {named}" if named else f" of the script {script.name}"
