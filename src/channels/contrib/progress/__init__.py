"""How far is it? Background code reports, and pages see it live, however late they come.

From any code, synchronous or not::

    with Progress(user=request.user, title="Import", total=len(rows)) as progress:
        for row in progress.track(rows):
            load(row)

and among the routes, behind ``AuthMiddlewareStack``::

    path("ws/progress/", ProgressConsumer.as_asgi())             # all jobs of the user
    path("ws/progress/<str:job>/", ProgressConsumer.as_asgi())   # one job
"""

from . import checks  # noqa: F401 - registers them
from .announcing import aannounce, aget_job, aget_jobs, announce, get_job, get_jobs
from .consumers import ProgressConsumer, ProgressSseConsumer
from .job import Job, JobState, user_key
from .reporting import JobFailed, Progress

__all__ = [
    "Job",
    "JobFailed",
    "JobState",
    "Progress",
    "ProgressConsumer",
    "ProgressSseConsumer",
    "aannounce",
    "aget_job",
    "aget_jobs",
    "announce",
    "get_job",
    "get_jobs",
    "user_key",
]
