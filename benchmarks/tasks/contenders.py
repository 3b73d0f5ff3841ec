"""Who is compared: how the worker of each is started, and how tasks are enqueued there."""

from dataclasses import dataclass, field

__all__ = ["CONTENDERS", "Contender"]

# Tasks that run at the same time.
CONCURRENCY = "2"


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Attributes:
        title: For the reader.
        environment: Its name in ``ENVIRONMENTS`` of the other benchmarks.
        module: Under ``project/``, with its tasks.
        worker: The command of a worker, given to its Python.
        environ: Environment variables for all its processes.
        at_least_once: Those besides, with which no task is lost with its worker.
        redis: Whether it needs a Redis server. The others have a database in a file.
        prepare: Commands to be run before, given to its Python.
        has_processes: The worker survives the process that runs a task.
    """

    title: str
    environment: str
    module: str
    worker: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)
    at_least_once: dict[str, str] = field(default_factory=dict)
    redis: bool = True
    prepare: tuple[tuple[str, ...], ...] = ()
    has_processes: bool = False


def _celery(title: str, pool: str, **environ: str) -> Contender:
    command = ("-m", "celery", "-A", "celery_jobs", "worker", "--loglevel=ERROR")
    return Contender(
        title,
        "celery",
        "celery_jobs",
        (*command, f"--pool={pool}", f"--concurrency={CONCURRENCY}"),
        environ=environ | {"C_FORCE_ROOT": "1"},
        at_least_once={"BENCHMARK_AT_LEAST_ONCE": "1"},
        has_processes=pool == "prefork",
    )


_DJANGO = {"DJANGO_SETTINGS_MODULE": "settings"}

CONTENDERS = {
    "checkout": Contender(
        "this checkout",
        "checkout-tasks",
        "django_jobs",
        ("-m", "django", "runtasks", f"--concurrency={CONCURRENCY}"),
        environ=_DJANGO,
    ),
    "celery-prefork": _celery("Celery, processes", "prefork"),
    "celery-threads": _celery("Celery, threads", "threads"),
    "celery-results": _celery("Celery, processes, results kept", "prefork", BENCHMARK_RESULTS="1"),
    "django-tasks-db": Contender(
        "django-tasks-db, SQLite",
        "django-tasks-db",
        "django_jobs",
        ("-m", "django", "db_worker", "--no-startup-delay", "--no-reload"),
        environ=_DJANGO,
        redis=False,
        prepare=(("-m", "django", "migrate", "--verbosity=0"),),
    ),
}
