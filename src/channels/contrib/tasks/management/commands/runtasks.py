"""``manage.py runtasks``: a worker for the tasks of a backend, in a process of its own."""

import atexit
import threading
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import autoreload

from channels.contrib.tasks.discovery import import_tasks
from channels.contrib.tasks.exceptions import WorkerFailed
from channels.contrib.tasks.looking import add_arguments, find_backend, find_queues
from channels.contrib.tasks.worker import TaskWorker
from channels.exceptions import InvalidWorkerOption

__all__ = ["Command"]

# Seconds that tasks may go on when the code has changed.
_RELOAD_GRACE = 1.0


class Command(BaseCommand):
    """Runs a worker until SIGTERM or SIGINT; set ``worker_class`` to run another kind of worker."""

    help = "Runs the tasks that are enqueued on a channel layer's broker."
    leave_locale_alone = True
    worker_class: type[TaskWorker] = TaskWorker

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the backend, the queues, and how the worker runs."""
        add_arguments(parser)
        parser.add_argument(
            "--concurrency",
            type=_count,
            metavar="N",
            help="Tasks that run at the same time (default: the option of the backend, or 8).",
        )
        parser.add_argument(
            "--drain",
            type=_seconds,
            default=TaskWorker.drain_timeout,
            metavar="SECONDS",
            help="How long running tasks may go on after SIGTERM "
            f"(default: {TaskWorker.drain_timeout:g}). Others begin those anew that do not finish.",
        )
        parser.add_argument(
            "--health-file",
            metavar="PATH",
            help="A file to touch every few seconds while all is well, and to remove at the end.",
        )
        parser.add_argument(
            "--health-port",
            type=_port,
            metavar="PORT",
            help="Answer GET /healthz on this port, with 200 while all is well, else with 503.",
        )
        parser.add_argument(
            "--health-host",
            metavar="HOST",
            help="The address for --health-port (default: all of this machine).",
        )
        parser.add_argument(
            "--reload", action="store_true", help="Start again when the code changes."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker."""
        if options["reload"]:
            autoreload.run_with_reloader(self._run_reloaded, options)
        else:
            self._run(self._make(options))

    def _make(self, options: dict[str, Any]) -> TaskWorker:
        backend = find_backend(options["backend"])
        queues = find_queues(backend, options["queue"])
        import_tasks()
        worker = self.worker_class(backend, queues, options["concurrency"])
        worker.drain_timeout = options["drain"]
        for name in ("health_file", "health_host", "health_port"):
            if options[name] is not None:
                setattr(worker, name, options[name])
        return worker

    def _run(self, worker: TaskWorker) -> None:
        self.stdout.write(
            f"Worker {worker.id} runs up to {worker.concurrency} tasks at a time from "
            f"{', '.join(worker.queues)}. Quit with CONTROL-C."
        )
        try:
            worker.run()
        except (InvalidWorkerOption, WorkerFailed) as error:
            raise CommandError(str(error)) from error

    def _run_reloaded(self, options: dict[str, Any]) -> None:
        """In a thread of a process that ends when the code changes."""
        autoreload.raise_last_exception()
        worker = self._make(options)
        worker.drain_timeout = min(worker.drain_timeout, _RELOAD_GRACE)
        thread = threading.current_thread()

        def end() -> None:
            worker.stop_soon()
            thread.join(_RELOAD_GRACE * 3)

        atexit.register(end)
        self._run(worker)


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is no number of tasks above 0")


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is no number of a port")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value < float("inf"):
        return value
    raise ArgumentTypeError(f"{text!r} is no number of seconds")
