"""What is known about a job, as it is stored, sent and shown; and whose job it is."""

import hashlib
import re
import uuid
from enum import StrEnum
from typing import Any

import msgspec

from ...exceptions import InvalidNameError, SerializationError
from ...layers.base import BaseChannelLayer
from .values import number_of, short

__all__ = [
    "KEEP_QUEUED",
    "Job",
    "JobState",
    "attempt_of",
    "is_job_id",
    "job_group",
    "job_message",
    "new_job",
    "require_job_id",
    "revision_of",
    "user_group",
    "user_key",
]

#: Seconds for which a job waits for somebody to begin it.
KEEP_QUEUED = 86_400.0

_JOB_ID = re.compile(r"[A-Za-z0-9_.\-]{1,64}\Z")

# Primary keys that are names as they are; all others are hashed, so that no two are alike.
_PLAIN_KEY = re.compile(r"[0-9]{1,40}\Z|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

# A revision is the number of the attempt and, in its lower bits, that of the report.
_REPORT_BITS = 32


class JobState(StrEnum):
    """What a job does."""

    #: It was announced, or is to be tried again; nobody works on it.
    QUEUED = "queued"
    #: Somebody works on it.
    RUNNING = "running"
    #: It has ended well.
    FINISHED = "finished"
    #: It has ended with an exception.
    FAILED = "failed"
    #: It was ended before it was done.
    CANCELLED = "cancelled"
    #: Whoever worked on it has given no sign of life for ``lost_after`` seconds.
    LOST = "lost"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job at one moment.

    Attributes:
        id: its name.
        state: what it does.
        owner: the key of the user that may see it (see :func:`user_key`), or None.
        title: what people call it.
        current: how much is done, in the job's own units.
        total: how much there is to do, if that is known.
        percent: how much is done, from 0 to 100, if that is known.
        text: what happens now, or why it failed.
        preview: what can be shown before the end: any JSON, such as the URL of an image.
        result: what has come of it: any JSON.
        group: a group that is told too, or None.
        reporter: a random name of what reports, so that no two attempts ever say the same.
        revision: a number that grows with each report, also over several attempts.
    """

    id: str
    state: JobState
    owner: str | None = None
    title: str = ""
    current: int | float | None = None
    total: int | float | None = None
    percent: float | None = None
    text: str = ""
    preview: Any = None
    result: Any = None
    group: str | None = None
    reporter: str = ""
    revision: int = 0

    @property
    def attempt(self) -> int:
        """How often it has been begun."""
        return attempt_of(self.revision)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come, unless it is tried again."""
        return self.state in (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED)

    def as_dict(self) -> dict[str, Any]:
        """It as plain values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def from_dict(cls, content: object) -> "Job":
        """What :meth:`as_dict` gave.

        Raises:
            SerializationError: ``content`` is not that of a job.
        """
        try:
            return msgspec.convert(content, cls)
        except msgspec.ValidationError as error:
            raise SerializationError(f"This is no job: {error}") from error

    def for_page(self) -> dict[str, Any]:
        """What a page is told: the attempt too, and not the owner, the group and the reporter."""
        content = self.as_dict()
        del content["owner"], content["group"], content["reporter"]
        content["job"] = content.pop("id")
        return {"type": "progress", **content, "attempt": self.attempt}


def new_job(
    layer: BaseChannelLayer,
    job: str | None,
    user: Any,
    title: str,
    total: float | None,
    group: str | None,
    state: JobState,
) -> Job:
    """A job at its beginning.

    Args:
        layer: the channel layer that is to carry it.
        job: its name, or None for a random one.
        user: who may see it.
        title: what people call it.
        total: how much there is to do.
        group: a group that is told too.
        state: what it does.

    Raises:
        TypeError: ``job`` or ``group`` cannot be a name.
        ValueError: ``total`` is no number.
    """
    if job is not None:
        require_job_id(job)
    if group is not None:
        layer.require_valid_group_name(group)
    return Job(
        id=job or uuid.uuid4().hex,
        state=state,
        owner=user_key(user),
        title=short(title),
        total=number_of("total", total),
        group=group,
        reporter=uuid.uuid4().hex[:12],
    )


def attempt_of(revision: int) -> int:
    """The attempt that a revision belongs to."""
    return revision >> _REPORT_BITS


def revision_of(attempt: int, report: int) -> int:
    """The revision of a report: greater than that of every report of earlier attempts."""
    return (attempt << _REPORT_BITS) + report


def job_message(job: Job) -> dict[str, Any]:
    """The message that groups get."""
    return {"type": "progress.report", "job": job.as_dict()}


def is_job_id(job_id: object) -> bool:
    """Whether this can be the name of a job."""
    return isinstance(job_id, str) and _JOB_ID.match(job_id) is not None


def require_job_id(job_id: object) -> None:
    """Refuse what cannot be the name of a job.

    Raises:
        TypeError: it cannot; the text says what can.
    """
    if not is_job_id(job_id):
        raise InvalidNameError(
            "The name of a job must have 1 to 64 ASCII letters, digits, hyphens, underscores or "
            f"periods, not {ascii(job_id)[:80]}"
        )


def user_key(user: Any) -> str | None:
    """The text that stands for a user, in names of groups and as ``Job.owner``.

    Args:
        user: a user, or a user's primary key.

    Returns:
        None for nobody: None, or an ``AnonymousUser``.
    """
    if hasattr(user, "is_authenticated"):
        user = user.pk if user.is_authenticated else None
    if user is None:
        return None
    text = str(user)
    if _PLAIN_KEY.match(text):
        return text
    return "h" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def job_group(job_id: str) -> str:
    """The group that is told of a job. Its state is in the collection of this name."""
    return f"progress.job.{job_id}"


def user_group(owner: str) -> str:
    """The group that is told of all jobs of a user. Their names are in the collection."""
    return f"progress.user.{owner}"
