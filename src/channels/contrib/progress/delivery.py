"""How reports get out: at a bounded rate, by one task for each job, on an event loop of its own.

A job reports from whatever runs it: a thread, a process of Celery, a coroutine. None of them waits
for the broker. A report only changes a :class:`Draft`; a task on the bridge's event loop, which
every process has, looks at it every ``interval`` seconds as long as there is something new.
"""

import asyncio
import atexit
import contextlib
import logging
import math
import os
import threading
from typing import Any

from ..._runtime import clock, lograte
from ..._runtime.clock import wall
from ..._runtime.loops import bridge, running_loop
from ...exceptions import BridgeClosed
from ...layers.base import BaseChannelLayer
from .job import KEEP_QUEUED, Job, JobState, job_group, job_message, revision_of, user_group
from .store import Jobs

__all__ = ["END_PATIENCE", "Delivery", "Draft"]

logger = logging.getLogger("channels.progress")

#: Seconds that the end of a block waits until the end of the job has been delivered.
END_PATIENCE = 5.0

# Seconds between two attempts to deliver, at the most.
_LONGEST_PAUSE = 5.0

# Seconds that the end of the process waits for what has not been delivered.
_LAST_WORDS = 2.0


class Draft:
    """What a job has reported so far. Its lock guards it.

    Args:
        job: what is known at the beginning.
    """

    __slots__ = ("lock", "values", "version")

    def __init__(self, job: Job) -> None:
        self.lock = threading.Lock()
        #: The fields of :class:`~.job.Job` as they are now.
        self.values: dict[str, Any] = job.as_dict()
        #: Grows with each report.
        self.version = 0

    def snapshot(self, revision: int) -> tuple[Job, int]:
        """The job as it is now, with this revision, and the version of that."""
        with self.lock:
            values, version = dict(self.values), self.version
        if values["percent"] is None and values["total"] and values["current"] is not None:
            values["percent"] = round(100 * values["current"] / values["total"], 1)
        if values["percent"] is not None:
            values["percent"] = min(max(values["percent"], 0), 100)
        return Job.from_dict({**values, "revision": revision}), version

    def inherit(self, known: Job) -> None:
        """Take over what an announcement, or the attempt before, has said and this one has not."""
        with self.lock:
            for name in ("owner", "group", "total"):
                if self.values[name] is None:
                    self.values[name] = getattr(known, name)
            self.values["title"] = self.values["title"] or known.title


class Delivery:
    """Delivers what one job reports.

    Args:
        draft: what it reports.
        layer: where to.
        interval: seconds between two messages, at the least.
        lost_after: seconds without a sign of life after which the job counts as lost.
        keep: seconds for which its last state is kept.
    """

    def __init__(
        self,
        draft: Draft,
        layer: BaseChannelLayer,
        *,
        interval: float,
        lost_after: float,
        keep: float,
    ) -> None:
        self._draft = draft
        self._layer = layer
        self._jobs = Jobs(layer)
        self._interval = interval
        self._lost_after = lost_after
        self._keep = keep
        self._job_id: str = draft.values["id"]
        self._process = os.getpid()
        #: Whether the bridge knows that there is something new. Set by who reports.
        self.announced = False
        self._task: asyncio.Task[None] | None = None
        self._attempt = self._count = self._beats = 0
        self._delivered = -1  # the version of the draft
        self._ending = False
        self._began = 0.0
        # When each was done last. The clock may begin with the machine, so 0 would be lately.
        self._sent = self._beaten = self._saved = -math.inf
        #: Deliveries that failed.
        self.failures = 0
        #: Whether a newer attempt has taken over the job.
        self.superseded = False

    # For who reports, in any thread

    def is_foreign(self) -> bool:
        """Whether this is the copy in a forked process: there, nothing is delivered."""
        return os.getpid() != self._process

    def announce(self) -> None:
        """There is something new. To be called with the draft's lock held."""
        if not self.announced:
            self.announced = True
            self._call(self._wake)

    def end(self) -> None:
        """There is something new, and it is the last. With the draft's lock held."""
        self.announced = True
        _unfinished.add(self)
        self._call(self._hurry)

    def abandon(self) -> None:
        """Nobody will report any more, and there was no end: give no more signs of life."""
        if not self.is_foreign():
            self._call(self._stop)

    @staticmethod
    def _call(function: Any) -> None:
        with contextlib.suppress(BridgeClosed, RuntimeError):  # the interpreter is exiting
            bridge.loop.call_soon_threadsafe(function)

    def wait(self) -> None:
        """Wait until the end has been delivered, for some seconds. Not where an event loop runs."""
        if running_loop() is None and not self.is_foreign():
            with contextlib.suppress(BridgeClosed):
                bridge.call(self._until_over())

    async def await_end(self) -> None:
        """The same in a coroutine."""
        if not self.is_foreign():
            with contextlib.suppress(BridgeClosed):
                await bridge.cross(self._until_over())

    # On the bridge

    def _wake(self) -> "asyncio.Task[None]":
        if self._task is None:
            self._news, self._last = asyncio.Event(), asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._news.set()
        return self._task

    def _hurry(self) -> None:
        task = self._wake()
        self._ending = True
        self._last.set()
        if task.done():  # a newer attempt has ended it
            _unfinished.discard(self)

    def _stop(self) -> None:
        if self._task is not None and not self._ending:
            self._task.cancel()

    async def _until_over(self) -> None:
        if self._task is None:
            return
        _, late = await asyncio.wait({self._task}, timeout=END_PATIENCE)
        if late:
            logger.warning(
                "The end of job %s has not been delivered within %g s; it will be when the broker "
                "is back, if this process lives that long",
                self._job_id,
                END_PATIENCE,
            )

    async def _run(self) -> None:
        try:
            pause, given_up = 0.0, None
            while True:
                await self._until_due(pause)
                try:
                    await self._deliver()
                    pause = 0.0
                except Exception as error:  # noqa: BLE001 - of whatever layer: the job goes on
                    self._count_failure(error)
                    pause = min(max(2 * pause, self._interval, 0.1), _LONGEST_PAUSE)
                    if self._ending:
                        given_up = given_up or clock.now() + self._keep
                        if clock.now() > given_up:
                            return
                else:
                    done = self._ending and self._delivered == self._draft.version
                    if done or self.superseded:
                        return
        finally:
            _unfinished.discard(self)

    async def _until_due(self, pause: float) -> None:
        """Wait for something new, or for the time to give a sign of life; not too short a time."""
        if not (pause or self._ending):
            beat = self._beaten + self._lost_after / 3 - clock.now()
            await _wait(self._news, beat)
        if self._ending:  # nothing but a failure makes it wait
            await asyncio.sleep(pause)
        else:
            wait = self._sent + self._interval - clock.now()
            await _wait(self._last, max(pause, wait))

    async def _deliver(self) -> None:
        """Keep the state, tell the groups, and give a sign of life, as far as each is due."""
        if not self._attempt:
            await self._begin()
        elif clock.now() >= self._beaten + self._lost_after / 3:
            await self._beat(self._attempt)
        self._news.clear()
        with self._draft.lock:
            self.announced = False
            news = self._draft.version != self._delivered
        if news or clock.now() > self._saved + self._keep / 2:
            await self._send()

    async def _begin(self) -> None:
        """Become the newest attempt."""
        self._began = wall()
        while not self._attempt:
            known, attempt = await self._jobs.load(self._job_id), 1
            if known is not None:
                self._draft.inherit(known)
                attempt = known.attempt + 1
            await self._beat(attempt)
            first, _ = self._draft.snapshot(revision_of(attempt, 0))
            if await self._jobs.save(first, self._keep):  # or another one has begun just now
                self._attempt = attempt

    async def _beat(self, attempt: int) -> None:
        self._beats += 1
        job, _ = self._draft.snapshot(0)
        revision = revision_of(attempt, self._beats)
        await self._jobs.beat(self._job_id, self._lost_after, revision)
        await self._jobs.list(job, self._began, self._keep)
        self._beaten = clock.now()

    async def _send(self) -> None:
        self._count += 1
        job, version = self._draft.snapshot(revision_of(self._attempt, self._count))
        keep = max(self._keep, KEEP_QUEUED) if job.state is JobState.QUEUED else self._keep
        if not await self._jobs.save(job, keep):
            self.superseded = True
            logger.info("A newer attempt of job %s has begun; this one is ignored", self._job_id)
            return
        self._saved = clock.now()
        groups = [job_group(job.id), job.owner and user_group(job.owner), job.group]
        message = job_message(job)
        sending = (self._layer.group_send(group, message) for group in groups if group)
        try:
            await asyncio.gather(*sending)
        finally:
            self._sent = clock.now()
        self._delivered = version

    def _count_failure(self, error: Exception) -> None:
        self.failures += 1
        said = "Progress of job %s is not delivered (%s: %s); it will be tried again"
        name, text = type(error).__name__, str(error)
        lograte.log(logger, logging.WARNING, "undelivered", said, self._job_id, name, text)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, for some seconds at the most."""
    if seconds > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


# Ends that have not been delivered.
_unfinished: set[Delivery] = set()


def _last_words() -> None:
    """At the exit of the interpreter, before the bridge ends."""
    own = [delivery for delivery in list(_unfinished) if not delivery.is_foreign()]

    async def wait() -> None:
        tasks = {delivery._task for delivery in own if delivery._task is not None}
        await asyncio.wait(tasks, timeout=_LAST_WORDS)

    if own:
        with contextlib.suppress(BridgeClosed):
            bridge.call(wait())


atexit.register(_last_words)
