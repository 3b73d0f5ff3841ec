"""Asking all processes how they are, and answering."""

from typing import Any

from .. import control, signals
from .._runtime.forks import in_child
from ..control.plane import control_layer
from . import crashes
from .figures import Connections, Process, as_message, read
from .looking import FARTHEST, Query, as_figure, connections_here, process_here
from .rates import Overview, overview

__all__ = [
    "FARTHEST",
    "TIMEOUT",
    "Look",
    "aask_connections",
    "ask_connections",
    "reaches_others",
    "watch",
]

#: Seconds that processes have to answer.
TIMEOUT = 0.8

_PROCESS, _CONNECTIONS = "live.process", "live.connections"

# What kind of process this is.
_kinds = {"kind": "server"}


def watch() -> None:
    """Answer from now on, and keep the latest crashes."""
    crashes.watch()
    control.register(_PROCESS, _tell_process)
    control.register(_CONNECTIONS, _tell_connections)
    signals.worker_started.connect(_is_worker, dispatch_uid="channels.live")


def reaches_others() -> bool:
    """Whether a channel layer of the project reaches other processes."""
    return control_layer() is not None


def _is_worker(**kwargs: Any) -> None:
    _kinds["kind"] = "worker"


def _forget() -> None:
    _kinds["kind"] = "server"


in_child(_forget)


async def _tell_process(**data: Any) -> dict[str, Any]:
    return as_message(await process_here(control.process_name(), _kinds["kind"]))


async def _tell_connections(query: Any = None, **data: Any) -> dict[str, Any] | None:
    wanted = read(Query, query)
    return None if wanted is None else as_message(await connections_here(wanted))


class Look:
    """Looks at all processes again and again; what has changed gives the rates."""

    def __init__(self) -> None:
        self._before: dict[str, Process] = {}

    async def aask(self, seconds: float = TIMEOUT) -> Overview:
        """How all processes are.

        Args:
            seconds: that they have to answer.

        Raises:
            BrokerError: the layer cannot reach its broker.
        """
        return self._understand(await control.aask(_PROCESS, timeout=seconds))

    def ask(self, seconds: float = TIMEOUT) -> Overview:
        """The same for code without an event loop."""
        return self._understand(control.ask(_PROCESS, timeout=seconds))

    def _understand(self, answers: list[dict[str, Any]]) -> Overview:
        found = [read(Process, answer.get("answer")) for answer in answers]
        known = [process for process in found if process is not None]
        made = overview(known, self._before, unreadable=len(found) - len(known))
        self._before = {process.process: process for process in made.processes}
        return made


async def aask_connections(
    query: Query, offset: int = 0, seconds: float = TIMEOUT
) -> tuple[int, list[tuple[str, Any]]]:
    """The connections of all processes that are asked for.

    Args:
        query: which, in which order, and how many.
        offset: how many of them to leave out.
        seconds: that processes have to answer.

    Returns:
        How many there are in all, and those from ``offset`` on, each with its process. Nothing is
        found beyond the first :data:`FARTHEST`.
    """
    wanted = as_message(_wanted(query, offset))
    return _merge(await control.aask(_CONNECTIONS, timeout=seconds, query=wanted), query, offset)


def ask_connections(
    query: Query, offset: int = 0, seconds: float = TIMEOUT
) -> tuple[int, list[tuple[str, Any]]]:
    """The same for code without an event loop."""
    wanted = as_message(_wanted(query, offset))
    return _merge(control.ask(_CONNECTIONS, timeout=seconds, query=wanted), query, offset)


def _wanted(query: Query, offset: int) -> Query:
    """What each process is asked for: any of them may have all of the first ones."""
    return Query(
        text=query.text,
        group=query.group,
        sort=query.sort,
        ascending=query.ascending,
        limit=min(offset + query.limit, FARTHEST),
    )


def _merge(
    answers: list[dict[str, Any]], query: Query, offset: int
) -> tuple[int, list[tuple[str, Any]]]:
    total, rows, heard = 0, [], set()
    for answer in answers:
        found = read(Connections, answer.get("answer"))
        process = str(answer.get("process"))
        if found is not None and process not in heard:
            heard.add(process)
            total += found.found
            rows += [(process, row) for row in found.rows]
    name = "group_count" if query.sort == "groups" else query.sort
    rows.sort(key=lambda pair: as_figure(getattr(pair[1], name)), reverse=not query.ascending)
    return total, rows[offset : offset + query.limit]
