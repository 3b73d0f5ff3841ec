"""What ``channels_top`` shows in a terminal, and what its keys do: without a terminal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .._runtime.logtext import printable
from ..live import Overview, Process, Query

__all__ = ["VIEWS", "Column", "Found", "Row", "View", "fitting_columns", "is_numeric"]

Row = tuple[Any, ...]

# Characters between two columns, and those that text may be cut to when a screen is narrow.
_GAP = 1
_SHORTEST = 12

#: Connections that are asked for: more do not fit on a screen that anybody reads.
LIMIT = 200


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: its heading.
        sort: for connections, what processes call this order; empty if they do not know it.
    """

    title: str
    sort: Any = ""


class Found(NamedTuple):
    """What the last look has found.

    Attributes:
        overview: of all processes.
        connections: how many there are that match, and the first of them with their process; None
            while nobody has asked for any.
        error: why there is nothing newer; empty if there is.
    """

    overview: Overview
    connections: tuple[int, list[tuple[str, Any]]] | None = None
    error: str = ""


def _processes(found: Found) -> Iterable[Row]:
    for each in found.overview.processes:
        yield _process(each, found.overview.rates.get(each.process) or {})


def _process(each: Process, rates: dict[str, float]) -> Row:
    received, sent, layer = (rates.get(name) for name in ("received", "sent", "layer"))
    lag = None if each.lag is None else each.lag * 1000
    busy = f"{each.threads_busy}/{each.threads}"
    kind = f"{each.kind}, draining" if each.draining else each.kind
    return (
        each.host, each.pid, kind, each.age, each.connections, received, sent, layer,
        each.dropped, each.slow_count, lag, busy,
    )  # fmt: skip


def _connections(found: Found) -> Iterable[Row]:
    hosts = {each.process: f"{each.host}:{each.pid}" for each in found.overview.processes}
    for process, each in found.connections[1] if found.connections else ():
        consumer = each.consumer.rpartition(".")[2]
        user = each.username or each.user
        yield (
            consumer, each.path, user, each.address, each.age, each.receiving, each.sending,
            each.unsent, each.waiting, each.mailbox, each.group_count, hosts.get(process, ""),
        )  # fmt: skip


def _groups(found: Found) -> Iterable[Row]:
    return ((each.name, each.layer, each.members) for each in found.overview.groups)


def _users(found: Found) -> Iterable[Row]:
    return found.overview.users.items()


class _Table(NamedTuple):
    columns: tuple[Column, ...]
    rows: Callable[[Found], Iterable[Row]]
    order: int  # the column that it is sorted by at first


def _columns(*titles: str) -> tuple[Column, ...]:
    return tuple(map(Column, titles))


_TABLES = {
    "processes": _Table(
        _columns("HOST", "PID", "KIND", "UP s", "CONN", "IN/s", "OUT/s", "LAYER/s", "DROPPED",
                 "SLOW", "LAG ms", "THREADS"), _processes, 4,
    ),
    "connections": _Table(
        (Column("CONSUMER"), Column("PATH"), Column("USER"), Column("ADDRESS"),
         Column("AGE s", "age"), Column("IN/s", "receiving"), Column("OUT/s", "sending"),
         Column("UNSENT B", "unsent"),
         Column("WAIT s", "waiting"), Column("MAILBOX", "mailbox"), Column("GROUPS", "groups"),
         Column("PROCESS")), _connections, 4,
    ),
    "groups": _Table(_columns("GROUP", "LAYER", "MEMBERS"), _groups, 2),
    "users": _Table(_columns("USER", "CONNECTIONS"), _users, 1),
}  # fmt: skip

#: The tables, in the order of the keys 1 to 4.
VIEWS = tuple(_TABLES)


class View:
    """Which table is shown, in which order, and which of its rows."""

    def __init__(self) -> None:
        self.name = VIEWS[0]
        #: What rows must have in them, in any case.
        self.filter = ""
        #: Whether keys are letters of the filter.
        self.typing = False
        #: Whether the smallest come first.
        self.ascending = False
        #: Rows that are scrolled away.
        self.offset = 0
        self._orders = {name: table.order for name, table in _TABLES.items()}

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the table."""
        return _TABLES[self.name].columns

    @property
    def order(self) -> int:
        """The number of the column that it is sorted by."""
        return self._orders[self.name]

    @property
    def query(self) -> Query | None:
        """The connections to ask for; None if they are not shown."""
        if self.name != "connections":
            return None
        sort = self.columns[self.order].sort
        return Query(text=self.filter, sort=sort, ascending=self.ascending, limit=LIMIT)

    def press(self, key: str) -> bool:
        """A key was pressed: a character, or the name of a key.

        Returns:
            False if it is the one that ends.
        """
        if key == "end of input":
            return False
        if self.typing:
            self._type(key)
        elif key == "q":
            return False
        elif key == "escape":
            self.filter = ""
        elif key in {"1", "2", "3", "4"}:
            self._show(VIEWS[int(key) - 1])
        elif key == "tab":
            self._show(VIEWS[(VIEWS.index(self.name) + 1) % len(VIEWS)])
        elif key in {"s", "right"}:
            self._sort(1)
        elif key in {"S", "left"}:
            self._sort(-1)
        elif key == "r":
            self.ascending = not self.ascending
        elif key == "/":
            self.typing = True
        elif key in _SCROLL:
            self.offset = max(0, self.offset + _SCROLL[key])
        return True

    def _type(self, key: str) -> None:
        self.offset = 0
        if key == "enter":
            self.typing = False
        elif key == "escape":
            self.typing, self.filter = False, ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1:
            self.filter = (self.filter + key)[:100]

    def _show(self, name: str) -> None:
        self.name, self.offset = name, 0

    def _sort(self, step: int) -> None:
        columns, order = self.columns, self.order
        while True:
            order = (order + step) % len(columns)
            if self.name != "connections" or columns[order].sort:
                break
        self._orders[self.name] = order

    def rows(self, found: Found) -> list[tuple[str, ...]]:
        """The rows that match the filter, in order."""
        rows, wanted = list(_TABLES[self.name].rows(found)), self.filter.casefold()
        if self.name != "connections":  # whose processes filter and sort them
            rows.sort(key=lambda row: _sortable(row[self.order]), reverse=not self.ascending)
        shown = [tuple(map(_cell, row)) for row in rows]
        if self.name != "connections" and wanted:
            shown = [row for row in shown if wanted in "\0".join(row).casefold()]
        return shown


_SCROLL = {"up": -1, "down": 1, "page up": -10, "page down": 10, "home": -LIMIT}


def _sortable(value: Any) -> tuple[bool, Any]:
    """``None`` is less than any number."""
    return value is not None, value.casefold() if isinstance(value, str) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if isinstance(value, float) else printable(str(value))


def fitting_columns(
    titles: Sequence[str], rows: Sequence[Sequence[str]], order: int, width: int
) -> dict[int, int]:
    """The columns for which a screen has room: their numbers, and how wide they are.

    Headings and numbers are shown in full or not at all; text may be cut. The column that the table
    is sorted by comes first, then those further left.

    Args:
        titles: the headings.
        rows: what is shown below them.
        order: the number of the column that the table is sorted by.
        width: characters in a line.
    """
    numbers = range(len(titles))
    full = [max([len(titles[it]), *(len(row[it]) for row in rows)]) for it in numbers]
    least = [
        full[it] if is_numeric(rows, it) else min(full[it], max(len(titles[it]), _SHORTEST))
        for it in numbers
    ]
    chosen: set[int] = set()
    left = width + _GAP
    for it in sorted(numbers, key=lambda it: it != order):
        if least[it] + _GAP <= left:
            chosen.add(it)
            left -= least[it] + _GAP
    found = {}
    for it in sorted(chosen):
        more = min(full[it] - least[it], left)
        left -= more
        found[it] = least[it] + more
    return found or {order: width}


def is_numeric(rows: Sequence[Sequence[str]], number: int) -> bool:
    """Whether a column has numbers, or none that is known."""
    return bool(rows) and all(row[number][:1].isdigit() or row[number] == "-" for row in rows)
