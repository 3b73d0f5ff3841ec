"""What all processes are together, and what has changed in a second."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from .figures import Count, Crash, Group, Process, Text

__all__ = ["LARGEST", "Overview", "overview", "rates"]

#: How many of the largest groups, of the users with the most connections, and of the latest
#: crashes are shown.
LARGEST = 20

# What is shown as so many in a second.
_RATES = ("received", "received_bytes", "sent", "sent_bytes", "handshakes", "layer", "jobs")


class Overview(msgspec.Struct, frozen=True):
    """All processes together.

    Args:
        processes: those that have answered: servers first, by host and number.
        rates: for each process what happened in a second, by name; None while it is not known.
        totals: the same of all together, and how many connections, users, groups, ... there are.
        consumers: open connections by class.
        users: open connections by user, those with the most.
        groups: the largest groups.
        dropped: messages by reason.
        limits: how often which limit was hit.
        crashes: the latest ones, and the process of each.
        unreadable: answers that were none.
    """

    processes: list[Process] = []
    rates: dict[Text, dict[Text, float] | None] = {}
    totals: dict[Text, float | None] = {}
    consumers: dict[Text, Count] = {}
    users: dict[Text, Count] = {}
    groups: list[Group] = []
    dropped: dict[Text, Count] = {}
    limits: dict[Text, Count] = {}
    crashes: list[tuple[Text, Crash]] = []
    unreadable: Count = 0


def rates(before: Process | None, after: Process) -> dict[str, float] | None:
    """What happened in a second, between two looks at a process, by name.

    Returns:
        None if that cannot be said: there was no look before, or the process has begun to count
        anew since.
    """
    if before is None or before.counting != after.counting:
        return None
    seconds = after.clock - before.clock
    if seconds <= 0:
        return None
    found = {}
    for name in _RATES:
        grown = after.counters.get(name, 0) - before.counters.get(name, 0)
        found[name] = max(grown, 0) / seconds
    return found


def overview(
    answers: Iterable[Process], before: Mapping[str, Process] | None = None, unreadable: int = 0
) -> Overview:
    """What the processes are together.

    Args:
        answers: of the processes. Of two answers of one process the later one counts.
        before: the answers of the look before, by process.
        unreadable: answers that were none.
    """
    latest: dict[str, Process] = {}
    for answer in answers:
        known = latest.get(answer.process)
        if known is None or known.clock <= answer.clock:
            latest[answer.process] = answer
    processes = sorted(latest.values(), key=lambda p: (p.kind, p.host, p.pid, p.process))
    changed = {p.process: rates((before or {}).get(p.process), p) for p in processes}
    return Overview(
        processes=processes,
        rates=changed,
        totals=_totals(processes, list(changed.values())),
        consumers=_most(_sum(p.consumers for p in processes), None),
        users=_most(_sum(p.users for p in processes), LARGEST),
        groups=_largest(processes),
        dropped=_most(_sum(layer.dropped for p in processes for layer in p.layers), None),
        limits=_most(_sum(p.limits for p in processes), None),
        crashes=_latest(processes),
        unreadable=unreadable,
    )


def _totals(
    processes: list[Process], changed: list[dict[str, float] | None]
) -> dict[str, float | None]:
    known = [each for each in changed if each is not None]
    totals: dict[str, float | None] = {
        name: sum(each[name] for each in known) if known else None for name in _RATES
    }
    return totals | {
        "processes": len(processes),
        "connections": sum(p.connections for p in processes),
        "users": _users(processes),
        "slow": sum(p.slow_count for p in processes),
        "dropped": sum(p.dropped for p in processes),
        "crashes": sum(int(p.counters.get("crashes", 0)) for p in processes),
        "lag": max((p.lag for p in processes if p.lag is not None), default=None),
    }


def _users(processes: list[Process]) -> int:
    """How many users there are at least: a process names only those with the most connections."""
    named = {user for process in processes for user in process.users}
    return max(len(named), *(process.user_count for process in processes), 0)


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total


def _most(counts: Counter[str], limit: int | None) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit])


def _largest(processes: list[Process]) -> list[Group]:
    members: defaultdict[tuple[str, str], int] = defaultdict(int)
    for process in processes:
        for group in process.groups:
            members[group.layer, group.name] += group.members
    found = [Group(name, count, layer) for (layer, name), count in members.items()]
    return sorted(found, key=lambda g: (-g.members, g.layer, g.name))[:LARGEST]


def _latest(processes: list[Process]) -> list[tuple[str, Crash]]:
    found = [(process.process, crash) for process in processes for crash in process.crashes]
    return sorted(found, key=lambda pair: -pair[1].at)[:LARGEST]
