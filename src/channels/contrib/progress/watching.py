"""What both consumers of progress do: who may see a job, and what its page has to be told."""

import asyncio
import logging
from collections.abc import Awaitable
from inspect import isawaitable
from typing import Any, ClassVar

from django.contrib.auth import SESSION_KEY

from ..._runtime import clock, lograte, timers
from ..._runtime.types import Receive, Scope, Send, any_name
from ...auth import get_user
from ...consumer import AsyncConsumer, framework
from ...exceptions import InvalidChannelLayerError, SerializationError
from ...layers.third_party import adapt
from .job import Job, JobState, is_job_id, job_group, user_group, user_key
from .store import Jobs

__all__ = ["Watching"]

logger = logging.getLogger("channels.progress")

# Jobs of which it is remembered what the page was told; of more, ended ones are forgotten.
_REMEMBERED = 1000


class _Seen:
    """What the page was told of a job.

    Args:
        job: its last state, or None if it was told nothing.
    """

    __slots__ = ("heard", "job")

    def __init__(self, job: Job | None) -> None:
        self.job = job
        #: When the last news came.
        self.heard = clock.now()


@framework("progress_report")
class Watching(AsyncConsumer):
    """Shows one job, or all jobs of the user, to one client.

    The job is the keyword argument ``job`` of the route. Without one, it is all jobs of the user
    that is signed in.
    """

    #: Jobs that one client may watch besides those of its user.
    max_jobs: ClassVar[int] = 32

    #: Seconds between two looks at jobs that are silent: some have died, or a message was lost.
    look_interval: ClassVar[float] = 10.0

    #: Seconds between two questions whether the user is still signed in; None for no question.
    check_user_interval: ClassVar[float | None] = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seen: dict[str, _Seen] = {}
        self._owner: str | None = None
        self._all = self._open = self._over = self._by_session = False
        self._watched: set[str] = set()
        # A look and a message may tell of the same job: one after the other.
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client, and look at silent jobs meanwhile."""
        looking = asyncio.ensure_future(self._keep_looking())
        try:
            await super().__call__(scope, receive, send)
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    # For projects

    def may_see(self, job: Job) -> "bool | Awaitable[bool]":
        """Whether this client may see a job. By default, only the user it is for.

        Override it, as a method or as a coroutine, to let others see it. It is asked for each job,
        and again if the job's owner has changed.
        """
        return self._owner is not None and job.owner == self._owner

    # What the consumers implement

    async def tell(self, content: dict[str, Any]) -> None:
        """Send something to the page."""
        raise NotImplementedError  # pragma: no cover - both consumers do

    async def refuse(self, *, signed_in: bool) -> None:
        """End the connection: there is nothing that this client may see, or not any more."""
        raise NotImplementedError  # pragma: no cover - both consumers do

    # The beginning

    async def begin(self) -> list[Job] | None:
        """Join the groups, and then read the last known states: so nothing is between both.

        Returns:
            The jobs to show, or None if the client has been refused.
        """
        self._jobs = Jobs(self._require_layer())
        user = self.scope.get("user")
        self._owner = None if user is None else user_key(user)
        self._by_session = _is_by_session(self.scope, user)
        route = self.scope.get("url_route", {}).get("kwargs", {})
        if "job" not in route:
            found = await self._begin_with_all()
        else:
            found = await self._begin_with(str(route["job"]))
        if found is None:
            await self.refuse(signed_in=self._owner is not None)
        return found

    async def _begin_with_all(self) -> list[Job] | None:
        if self._owner is None:
            return None
        self._all = True
        await self.channel_layer.group_add(user_group(self._owner), self.channel_name)
        return [job for job in await self._jobs.load_of(self._owner) if await self._may_see(job)]

    async def _begin_with(self, job_id: str) -> list[Job] | None:
        job = await self._watch(job_id)
        return None if job is None else [job]

    async def show(self, jobs: list[Job]) -> None:
        """Tell the page of the first jobs; what follows is told as it comes."""
        self._open = True
        for job in jobs:
            await self._show(job)

    def _require_layer(self) -> Any:
        layer: Any = getattr(self, "channel_layer", None)
        if layer is None or not adapt(layer).supports_groups:
            raise InvalidChannelLayerError("BACKEND is unconfigured or doesn't support groups")
        return adapt(layer)

    # One job

    async def _watch(self, job_id: str) -> Job | None:
        """Join a job's group; its last state, or None if there is none that may be seen."""
        # Before it joins, too: strangers that ask for job after job cost the broker a read each.
        if await self._find(job_id) is None:
            return None
        await self.channel_layer.group_add(job_group(job_id), self.channel_name)
        self._watched.add(job_id)
        job = await self._find(job_id)
        if job is None:  # it has just become somebody else's
            await self._leave(job_id)
        return job

    async def _find(self, job_id: str) -> Job | None:
        """The last state of a job that this client may see, or None."""
        job = await self._jobs.load(job_id) if is_job_id(job_id) else None
        return job if job is not None and await self._may_see(job) else None

    async def watch(self, job_id: Any) -> None:
        """The page asks for one more job: tell its state, or that it is refused."""
        job = None
        if isinstance(job_id, str):
            if job_id in self._watched:
                return
            if len(self._watched) < self.max_jobs:
                job = await self._watch(job_id)
        if job is None:
            # The same for a job that is not there and for one that it may not see.
            await self.tell({"type": "refused", "job": str(job_id)[:64]})
        else:
            async with self._turn:
                self._seen.pop(job.id, None)
            await self._show(job)

    async def unwatch(self, job_id: Any) -> None:
        """The page asks for no more of a job."""
        if isinstance(job_id, str) and job_id in self._watched:
            await self._leave(job_id)

    async def _leave(self, job_id: str) -> None:
        self._watched.discard(job_id)
        self._seen.pop(job_id, None)
        await self.channel_layer.group_discard(job_group(job_id), self.channel_name)

    async def _may_see(self, job: Job) -> bool:
        allowed = self.may_see(job)
        return bool(await allowed if isawaitable(allowed) else allowed)

    # What happens to jobs

    @any_name
    async def progress_report(self, message: Any) -> None:
        """A job has reported something."""
        try:
            job = Job.from_dict(message.get("job"))
        except SerializationError as error:
            lograte.log(logger, logging.WARNING, "rubbish", "Ignored a report: %s", error)
            return
        known = job.id in self._watched or job.id in self._seen
        if self._open and not self._over and (known or self._all or getattr(self, "groups", None)):
            await self._show(job)

    async def _show(self, job: Job) -> None:
        """Tell the page of a job, unless it knows as much or more."""
        async with self._turn:
            seen = self._seen.get(job.id)
            before = None if seen is None else seen.job
            if before is not None and not _is_news(before, job):
                return
            if (before is None or before.owner != job.owner) and not await self._may_see(job):
                await self._lose(job.id)
                return
            self._remember(job)
            await self.tell(job.for_page())

    async def _lose(self, job_id: str) -> None:
        """The job is somebody else's now."""
        if job_id in self._watched:
            await self._leave(job_id)
            if not (self._watched or self._all):
                await self.refuse(signed_in=self._owner is not None)
                return
            await self.tell({"type": "refused", "job": job_id})

    def _remember(self, job: Job) -> None:
        self._seen.pop(job.id, None)
        self._seen[job.id] = _Seen(job)
        if len(self._seen) > _REMEMBERED:
            seen = self._seen.items()
            ended = [name for name, known in seen if known.job is not None and known.job.ended]
            del self._seen[ended[0] if ended else next(iter(self._seen))]

    @any_name
    async def layer_gap(self, message: Any) -> None:
        """Messages may have been lost: look at all jobs."""
        await self._look(0)

    # Looking

    async def _keep_looking(self) -> None:
        checked = clock.now()
        while True:
            await timers.sleep(self.look_interval)
            if not self._open or self._over:
                continue
            try:
                interval = self.check_user_interval
                if interval is not None and clock.now() >= checked + interval:
                    checked = clock.now()
                    await self._check_user()
                if not self._over:
                    await self._look(self.look_interval)
            except Exception as error:  # noqa: BLE001 - of a layer or a database: there is a next time
                said = "Could not look at silent jobs (%s: %s); it will be tried again"
                name, text = type(error).__name__, str(error)
                lograte.log(logger, logging.WARNING, "look", said, name, text)

    async def _look(self, silent: float) -> None:
        """Read the state of each job that is not over and has been silent for some seconds."""
        now = clock.now()
        for job_id, seen in list(self._seen.items()):
            if seen.job is None or seen.job.ended or now < seen.heard + silent:
                continue
            seen.heard = now
            job = await self._jobs.load(job_id)
            if self._seen.get(job_id) is not seen:  # the page was told, or has left it, meanwhile
                continue
            if job is None:  # it is kept no more
                job = Job.from_dict({**seen.job.as_dict(), "state": JobState.LOST})
            elif job.attempt < seen.job.attempt:  # the broker has lost what it had
                self._seen[job_id] = _Seen(None)
            await self._show(job)

    async def _check_user(self) -> None:
        """End the connection if the user has signed out, or is no more."""
        if self._owner is None or not self._by_session:
            return
        # As on a WebSocket: the browser could not be told of another session's key by now.
        user = await get_user({**self.scope, "type": "websocket"})
        if user_key(user) != self._owner:
            self._over = True
            await self.refuse(signed_in=False)


def _is_by_session(scope: Scope, user: Any) -> bool:
    """Whether it is the session that says who the user is, and no token or the like."""
    loaded = getattr(scope.get("session"), "_session_cache", {})
    return SESSION_KEY in loaded and str(loaded[SESSION_KEY]) == str(getattr(user, "pk", None))


def _is_news(before: Job, job: Job) -> bool:
    """Whether a page that was told ``before`` is to be told ``job``."""
    if job.revision != before.revision:
        return job.revision > before.revision
    return job.state is not before.state  # lost, or found again
