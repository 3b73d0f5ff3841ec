"""What the page shows, bounded: a site with many processes and connections has no larger page."""

import heapq
from collections.abc import Mapping
from typing import Any

from ...live.figures import Connection, Process
from ...live.rates import Overview
from .asking import Page

__all__ = ["connections_picture", "overview_picture"]

# Rows of each table, the first ones.
_PROCESSES, _ROWS = 100, 20

# Groups that are named for one connection.
_GROUPS = 3


def overview_picture(found: Overview, names: Mapping[str, str]) -> dict[str, Any]:
    """All processes, as the page shows them.

    Args:
        found: what they have answered.
        names: of users, by primary key.
    """
    slow = [row for process in found.processes for row in process.slow]
    return {
        "totals": found.totals,
        "processes": [_process(p, found.rates.get(p.process)) for p in _first(found.processes)],
        "consumers": _counts(found.consumers),
        "users": [[key, names.get(key, ""), count] for key, count in _counts(found.users)],
        "groups": [[group.layer, group.name, group.members] for group in found.groups[:_ROWS]],
        "slow": [_row(row) for row in heapq.nlargest(_ROWS, slow, key=lambda row: row.waiting)],
        "dropped": _counts(found.dropped),
        "limits": _counts(found.limits),
        "crashes": [
            [crash.at, crash.consumer, crash.path, crash.error, crash.where]
            for _, crash in found.crashes[:_ROWS]
        ],
        "unreadable": found.unreadable,
    }


def connections_picture(page: Page, offset: int) -> dict[str, Any]:
    """A part of the list of connections, as the page shows it."""
    total, rows = page
    return {"total": total, "offset": offset, "rows": [_row(row) for _, row in rows]}


def _first(processes: list[Process]) -> list[Process]:
    return processes[:_PROCESSES]


def _counts(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """They are sorted already, the most frequent first."""
    return list(counts.items())[:_ROWS]


def _process(process: Process, rates: Mapping[str, float] | None) -> dict[str, Any]:
    return {
        "id": process.process,
        "host": process.host,
        "pid": process.pid,
        "kind": process.kind,
        "version": process.version,
        "age": process.age,
        "connections": process.connections,
        "users": process.user_count,
        "received": None if rates is None else rates["received"],
        "sent": None if rates is None else rates["sent"],
        "layer": None if rates is None else rates["layer"],
        "jobs": None if rates is None else rates["jobs"],
        "dropped": process.dropped,
        "slow": process.slow_count,
        "lag": process.lag,
        "threads": process.threads,
        "busy": process.threads_busy,
        "draining": process.draining,
    }


def _row(row: Connection) -> dict[str, Any]:
    return {
        "consumer": row.consumer,
        "protocol": row.protocol,
        "path": row.path,
        "channel": row.channel,
        "user": row.user,
        "username": row.username,
        "address": row.address,
        "age": row.age,
        "received": row.received,
        "sent": row.sent,
        "receiving": row.receiving,
        "sending": row.sending,
        "unsent": row.unsent,
        "waiting": row.waiting,
        "mailbox": row.mailbox,
        "groups": row.groups[:_GROUPS],
        "more_groups": max(row.group_count - _GROUPS, 0),
    }
