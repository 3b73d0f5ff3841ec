"""Before anybody works on a job, and after: it is announced, and its last state is read."""

from typing import Any, cast

from ... import DEFAULT_CHANNEL_LAYER
from ..._runtime.clock import wall
from ..._runtime.loops import bridge, running_loop
from ...exceptions import EventLoopRunning
from .job import (
    KEEP_QUEUED,
    Job,
    JobState,
    job_group,
    job_message,
    new_job,
    require_job_id,
    revision_of,
    user_group,
    user_key,
)
from .store import Jobs, require_layer

__all__ = ["aannounce", "aget_job", "aget_jobs", "announce", "get_job", "get_jobs"]

# Seconds that a call which asks the broker may take.
_TIMEOUT = 10.0


async def aannounce(
    job: str | None = None,
    *,
    user: Any = None,
    title: str = "",
    total: float | None = None,
    group: str | None = None,
    keep: float = KEEP_QUEUED,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> str:
    """Make a job known, as ``queued``, before anybody works on it.

    A page that is shown at once finds it then, however long it waits for a worker. Give the name to
    whoever works on it: ``Progress(job=name)`` takes over user, title and total.

    Args:
        job: its name; a random one if there is none.
        user: who may see it: a user or a primary key.
        title: what people call it.
        total: how much there is to do.
        group: a group that gets each message too.
        keep: seconds for which it waits.
        layer: the channel layer's alias.

    Returns:
        The name of the job.

    Raises:
        BrokerError: the broker does not answer; whatever another layer raises.
    """
    backend = require_layer(layer)
    jobs = Jobs(backend)
    new = new_job(backend, job, user, title, total, group, JobState.QUEUED)
    known = await jobs.load(new.id)
    attempt = known.attempt if known is not None else 0
    report = 0 if known is None else (known.revision & 0xFFFFFFFF) + 1
    content = {**new.as_dict(), "revision": revision_of(attempt, report)}
    queued = Job.from_dict(content)
    await jobs.save(queued, keep)
    await jobs.list(queued, wall(), keep)
    if queued.owner is not None:
        await backend.group_send(user_group(queued.owner), job_message(queued))
    await backend.group_send(job_group(queued.id), job_message(queued))
    return queued.id


def announce(
    job: str | None = None,
    *,
    user: Any = None,
    title: str = "",
    total: float | None = None,
    group: str | None = None,
    keep: float = KEEP_QUEUED,
    layer: str = DEFAULT_CHANNEL_LAYER,
) -> str:
    """:func:`aannounce` for synchronous code."""
    coroutine = aannounce(
        job, user=user, title=title, total=total, group=group, keep=keep, layer=layer
    )
    return cast("str", _wait("announce", coroutine))


async def aget_job(job: str, *, layer: str = DEFAULT_CHANNEL_LAYER) -> Job | None:
    """The last known state of a job, or None. Who may see it is for you to decide."""
    require_job_id(job)
    return await Jobs(require_layer(layer)).load(job)


def get_job(job: str, *, layer: str = DEFAULT_CHANNEL_LAYER) -> Job | None:
    """:func:`aget_job` for synchronous code."""
    return cast("Job | None", _wait("get_job", aget_job(job, layer=layer)))


async def aget_jobs(user: Any, *, layer: str = DEFAULT_CHANNEL_LAYER) -> list[Job]:
    """The latest jobs of a user, up to 100, the newest first."""
    owner = user_key(user)
    return [] if owner is None else await Jobs(require_layer(layer)).load_of(owner)


def get_jobs(user: Any, *, layer: str = DEFAULT_CHANNEL_LAYER) -> list[Job]:
    """:func:`aget_jobs` for synchronous code."""
    return cast("list[Job]", _wait("get_jobs", aget_jobs(user, layer=layer)))


def _wait(name: str, coroutine: Any) -> Any:
    if running_loop() is not None:
        coroutine.close()
        raise EventLoopRunning(
            f"{name}() would hold up the event loop that runs in this thread. Write instead: "
            f"await a{name}(...)"
        )
    return bridge.call(coroutine, _TIMEOUT)
