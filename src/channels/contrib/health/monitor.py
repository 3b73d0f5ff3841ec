"""What is checked: liveness, readiness, and the flag that takes a process out of service."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from ..._runtime import clock
from ..._runtime.draining import is_draining
from ..._runtime.loops import PerLoop, bridge, is_passing
from ..._runtime.reports import Answer, Report, Result, answer
from ..._runtime.threads import full_for
from ...layers import channel_layers
from .checks import query_database, round_trip
from .lag import LoopLag
from .probing import InvalidHealthCheck, Prober

__all__ = ["TIMEOUT", "Health", "is_ready", "set_ready"]

# Seconds that a check may take. A layer or a database that needs longer is of no use to clients.
TIMEOUT = 2.0

_DRAINING = "draining"
_imported = clock.now()

# Why this process should get no traffic, or None if it should.
_out_of_service: str | None = None


def set_ready(ready: bool, reason: str = _DRAINING) -> None:
    """Take this process out of service, or back into it. Callable from any thread.

    While it is out of service, readiness answers 503 at once and runs no check: a check would open
    a layer again that is being closed.

    Args:
        ready: whether the process should get traffic, provided that the checks pass.
        reason: why it should not; the answer to every readiness request shows it.
    """
    global _out_of_service  # noqa: PLW0603 - a process is in service or not, as a whole
    _out_of_service = None if ready else reason


def is_ready() -> bool:
    """Whether this process is in service: not taken out, and not about to end."""
    return _out_of_service is None and not is_draining()


class Health:
    """Liveness and readiness of this process.

    The process is ready when all of this is true: :func:`set_ready` has not taken it out of
    service; a thread was free for handlers of synchronous consumers within the last seconds; every
    channel layer carries a message; every database answers; each of your own checks passes. The
    checks run at the same time, each for at most ``timeout`` seconds, and at most once a second
    however many requests come.

    Args:
        layers: aliases in ``CHANNEL_LAYERS``; by default all.
        databases: aliases in ``DATABASES``; by default none, since a process without a database
            may still serve the clients that are connected.
        checks: your own, by name: functions or coroutine functions without arguments. One fails
            by raising, or by returning False. Plain functions run in a thread of their own.
        timeout: seconds that each check may take.

    Raises:
        InvalidHealthCheck: at construction, when a check cannot be called, or a name is taken.
    """

    def __init__(
        self,
        *,
        layers: Iterable[str] | None = None,
        databases: Iterable[str] = (),
        checks: Mapping[str, Callable[[], Any]] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        if timeout <= 0:
            raise InvalidHealthCheck(f"timeout must be more than 0 seconds, not {timeout!r}.")
        self._layers = None if layers is None else _aliases("layers", layers)
        self._databases = _aliases("databases", databases)
        self._checks = dict(checks or {})
        self._timeout = timeout
        for name, check in self._checks.items():
            _validate(name, check)
        self._probers: PerLoop[dict[str, Prober]] = PerLoop(dict)
        self._lag = PerLoop(LoopLag)

    async def liveness(self) -> Report:
        """A report that the process answers, with the delays of its event loop."""
        up = round(clock.now() - _imported, 1)
        checks = {"process": Result(True, details={"pid": os.getpid(), "uptime_s": up})}
        if not is_passing(asyncio.get_running_loop()):  # that one is gone by the next request
            checks["event_loop"] = await self._lag.get().ask()
        return Report(checks)

    async def readiness(self) -> Report:
        """Whether this process should get traffic, and if not, why."""
        if not is_ready():
            return Report({"serving": Result(False, error=_out_of_service or _DRAINING)})
        # Under WSGI each request has an event loop of its own. Results that requests share need a
        # loop that stays.
        passing = is_passing(asyncio.get_running_loop())
        results = await (bridge.cross(self._perform()) if passing else self._perform())
        return Report({"serving": Result(True), **_threads(), **results})

    async def _perform(self) -> dict[str, Result]:
        probers = self._probers.get()
        wanted = self._wanted()
        for name, check in wanted.items():
            if name not in probers:
                probers[name] = Prober(name, check, self._timeout)
        results = await asyncio.gather(*(probers[name].ask() for name in wanted))
        return dict(zip(wanted, results, strict=True))

    def _wanted(self) -> dict[str, Callable[[], Any]]:
        layers = list(channel_layers.configs) if self._layers is None else self._layers
        return {
            **{f"layer:{alias}": partial(round_trip, alias) for alias in layers},
            **{f"database:{alias}": partial(query_database, alias) for alias in self._databases},
            **self._checks,
        }

    # Django views. A load balancer is not logged in, and a POST should be answered with 405, not
    # with 403 for lack of a CSRF token.

    @csrf_exempt
    @login_not_required
    async def live(self, request: HttpRequest) -> HttpResponse:
        """A Django view of :meth:`liveness`."""
        return _response(await answer(request.method or "", self.liveness))

    @csrf_exempt
    @login_not_required
    async def ready(self, request: HttpRequest) -> HttpResponse:
        """A Django view of :meth:`readiness`."""
        return _response(await answer(request.method or "", self.readiness))


def _threads() -> dict[str, Result]:
    """The check that fails while no thread is free for handlers of sync consumers."""
    seconds = full_for()
    if seconds is None:
        return {}
    error = f"no thread has been free for handlers of sync consumers for {seconds:.0f} s"
    return {"sync_threads": Result(False, error=error)}


def _aliases(option: str, aliases: Iterable[str]) -> list[str]:
    if isinstance(aliases, str):
        raise InvalidHealthCheck(f"{option} must be a list of aliases, not the text {aliases!r}.")
    return list(aliases)


def _validate(name: Any, check: Any) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidHealthCheck(f"A check's name must be a text, not {name!r}.")
    if name in {"serving", "sync_threads"} or name.startswith(("layer:", "database:")):
        raise InvalidHealthCheck(f"The name {name!r} is taken; choose another for your check.")
    if not callable(check):
        raise InvalidHealthCheck(f"The check {name!r} must be a function, not {check!r}.")


def _response(given: Answer) -> HttpResponse:
    return HttpResponse(given.body, status=given.status, headers=given.headers)
