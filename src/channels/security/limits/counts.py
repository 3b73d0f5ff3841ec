"""How often clients were over a limit, in this process."""

from collections import Counter
from typing import Any

from ... import signals
from ..._runtime.types import Scope

__all__ = ["UNSHARED", "count", "counts", "statistics"]

#: What was counted in this process alone, because the broker could not be asked.
UNSHARED = ("shared", "process", "unshared")

#: By limit, by what it is counted for, and by what followed.
counts: Counter[tuple[str, str, str]] = Counter()


def count(scope: Scope, consumer: Any, limit: str, key_kind: str, action: str) -> None:
    """Somebody was over a limit: count it, and tell the listeners.

    Args:
        scope: the connection's.
        consumer: the consumer, or None where a middleware has refused.
        limit: ``"handshakes"``, ``"connections"``, ``"messages"``, ``"bytes"``,
            ``"message_size"``, ``"groups"``.
        key_kind: what it is counted for: ``"connection"``, ``"address"``, ``"user"`` or
            ``"consumer"``.
        action: ``"refused"``, ``"closed"`` or ``"waited"``.
    """
    counts[limit, key_kind, action] += 1
    if signals.limit_exceeded.receivers:
        signals.emit(
            signals.limit_exceeded,
            type(consumer) if consumer is not None else count,
            scope=scope,
            consumer=consumer,
            limit=limit,
            key_kind=key_kind,
            action=action,
        )


def statistics() -> dict[str, int]:
    """How often clients of this process were over a limit, since it began.

    Returns:
        Numbers by names such as ``"messages per user: closed"``, and by ``"not shared"`` how often
        a limit was counted in this process alone, because the broker could not be asked.
    """
    found = {
        f"{limit} per {key_kind}: {action}": number
        for (limit, key_kind, action), number in sorted(counts.items())
        if (limit, key_kind, action) != UNSHARED
    }
    return {**found, "not shared": counts[UNSHARED]}
