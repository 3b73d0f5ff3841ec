"""What background code calls: :class:`Progress`."""

import logging
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from ... import DEFAULT_CHANNEL_LAYER
from ..._runtime import lograte
from ...exceptions import ChannelsError
from .delivery import Delivery, Draft
from .job import JobState, new_job
from .store import require_layer
from .values import number_of, plain, short

__all__ = ["JobFailed", "Progress"]

logger = logging.getLogger("channels.progress")

_T = TypeVar("_T")

#: Seconds between two messages of a job.
INTERVAL = 0.2

#: Seconds without a sign of life after which a job counts as lost.
LOST_AFTER = 30.0

#: Seconds for which the last state of a job is kept.
KEEP = 3600.0

#: What is shown of an exception, which may tell secrets.
FAILED = "The job has failed."

_UNCHANGED: Any = object()


class JobFailed(ChannelsError):
    """Raise it within a job to let it fail with a text that its user may read."""


class Progress:
    """Reports how far a job is, from any code: a worker, a task, a thread, a command.

    Use it in ``with``, or in ``async with``::

        with Progress(user=request.user, title="Import", total=len(rows)) as progress:
            for row in rows:
                load(row)
                progress.advance()

    When the block is left, the job has finished; with an exception, it has failed. No report waits
    for the broker, and none raises because of it. At most one message is sent per ``interval``, and
    what was reported last is sent in any case.

    Args:
        job: the name of the job, up to 64 ASCII letters, digits, ``-``, ``_`` and ``.``; a random
            one if there is none. If a job of this name is known, this is its next attempt, which
            takes over its user, title and total, and earlier attempts are ignored from then on.
        user: who may see it: a user or a primary key.
        title: what people call it.
        total: how much there is to do, in units of your own.
        group: a group that gets each message too, of the type ``progress.report``.
        interval: seconds between two messages, at the least.
        lost_after: seconds without a sign of life after which the page is told that the job is
            lost. It gives one every third of that.
        keep: seconds for which the last state is kept.
        retry_on: exceptions after which the job is queued again, such as Celery's ``Retry``.
        layer: the channel layer's alias.

    Raises:
        TypeError: ``job`` cannot be a name.
        ValueError: ``total`` is no number, or some seconds are none.
        InvalidChannelLayerError: there is no such layer, or it has no groups.
    """

    def __init__(
        self,
        job: str | None = None,
        *,
        user: Any = None,
        title: str = "",
        total: float | None = None,
        group: str | None = None,
        interval: float = INTERVAL,
        lost_after: float = LOST_AFTER,
        keep: float = KEEP,
        retry_on: tuple[type[BaseException], ...] = (),
        layer: str = DEFAULT_CHANNEL_LAYER,
    ) -> None:
        backend = require_layer(layer)
        for name, seconds in (("interval", interval), ("lost_after", lost_after), ("keep", keep)):
            if not seconds > 0:  # nor NaN
                raise ValueError(f"{name} must be seconds, more than 0, not {seconds!r}")
        first = new_job(backend, job, user, title, total, group, JobState.RUNNING)
        #: The name of the job, which a page needs.
        self.job = first.id
        self._retry_on = retry_on
        self._ended = False
        self._draft = Draft(first)
        self._values, self._lock = self._draft.values, self._draft.lock
        self._delivery = Delivery(
            self._draft,
            backend,
            interval=interval,
            lost_after=lost_after,
            keep=keep,
        )

    def __repr__(self) -> str:
        return f"<Progress of job {self.job}: {self._values['state']}>"

    def __del__(self) -> None:
        if not getattr(self, "_ended", True):
            self._delivery.abandon()

    @property
    def superseded(self) -> bool:
        """Whether a newer attempt has taken over the job, so that nobody is told of this one."""
        return self._delivery.superseded

    @property
    def failures(self) -> int:
        """How often a message could not be delivered, and was tried again later."""
        return self._delivery.failures

    # Reports

    def advance(self, by: float = 1, text: str = _UNCHANGED) -> None:
        """Go on by some units.

        Args:
            by: how many.
            text: what happens now.
        """
        if type(by) is not int:
            by = float(by)
        with self._lock:
            if self._goes_on():
                self._values["current"] = (self._values["current"] or 0) + by
                if text is not _UNCHANGED:
                    self._values["text"] = short(text)
                self._changed()

    def report(
        self,
        *,
        percent: float | None = _UNCHANGED,
        current: float | None = _UNCHANGED,
        total: float | None = _UNCHANGED,
        text: str = _UNCHANGED,
        title: str = _UNCHANGED,
        preview: Any = _UNCHANGED,
    ) -> None:
        """Say how far the job is. What is not given stays as it is.

        Args:
            percent: how much is done, from 0 to 100. Without it, it is computed of ``current``
                and ``total``.
            current: how much is done, in units of your own.
            total: how much there is to do.
            text: what happens now.
            title: what people call the job.
            preview: what can be shown by now: any JSON of up to 64 KiB. What is no JSON, or
                larger, is left out and logged.

        Raises:
            ValueError: a number is infinite, or none.
        """
        changes: dict[str, Any] = {}
        for name, number in (("percent", percent), ("current", current), ("total", total)):
            if number is not _UNCHANGED:
                changes[name] = number_of(name, number)
        for name, words in (("text", text), ("title", title)):
            if words is not _UNCHANGED:
                changes[name] = short(words)
        if preview is not _UNCHANGED:
            self._add(changes, "preview", preview)
        with self._lock:
            if self._goes_on():
                self._values.update(changes)
                self._changed()

    def track(self, things: Iterable[_T]) -> Iterator[_T]:
        """Go on by one for each of some things, as they are taken.

        Args:
            things: if they have a length and there is no total yet, it is the total.
        """
        length = getattr(things, "__len__", None)
        if length is not None and self._values["total"] is None:
            self.report(total=length())
        for thing in things:
            yield thing
            self.advance()

    def _goes_on(self) -> bool:
        """Whether reports count: not after the end, nor in a copy of a forked process."""
        return not (self._ended or self._delivery.is_foreign())

    def _changed(self) -> None:
        """Something was reported. The lock is held."""
        self._draft.version += 1
        self._delivery.announce()

    def _add(self, changes: dict[str, Any], name: str, value: Any) -> None:
        try:
            changes[name] = plain(value)
        except ValueError as error:
            said = "Left out the %s of job %s: %s"
            lograte.log(logger, logging.WARNING, name, said, name, self.job, str(error))

    # The end

    def finish(self, result: Any = None, text: str = _UNCHANGED) -> None:
        """The job has ended well.

        Args:
            result: what has come of it: any JSON of up to 64 KiB.
            text: what there is to say.
        """
        changes: dict[str, Any] = {}
        if self._values["total"] is not None:
            changes["current"] = self._values["total"]
        self._add(changes, "result", result)
        self._end(JobState.FINISHED, text, percent=100, **changes)

    def fail(self, text: str = FAILED) -> None:
        """The job has failed.

        Args:
            text: why, for its user.
        """
        self._end(JobState.FAILED, text)

    def cancel(self, text: str = _UNCHANGED) -> None:
        """The job ends before it is done.

        Args:
            text: why, for its user.
        """
        self._end(JobState.CANCELLED, text)

    def _end(self, state: JobState, text: str, **changes: Any) -> None:
        """The first end counts."""
        with self._lock:
            if not self._goes_on():
                return
            self._ended = True
            self._values.update(changes, state=state.value)
            if text is not _UNCHANGED:
                self._values["text"] = short(text)
            self._draft.version += 1
            self._delivery.end()

    def _leave(self, error: BaseException | None) -> None:
        """The block is left."""
        if error is None:
            self.finish(self._values["result"])
        elif isinstance(error, self._retry_on):
            self._end(JobState.QUEUED, _UNCHANGED)
        elif isinstance(error, JobFailed):
            self.fail(str(error) or FAILED)
        elif isinstance(error, Exception):
            if not self._ended:
                logger.error("Job %s has failed", self.job, exc_info=error)
            self.fail()
        else:
            self.cancel()

    # The block

    def __enter__(self) -> Self:
        self.report()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error)
        self._delivery.wait()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error)
        await self._delivery.await_end()
