"""Runs tasks of one backend: asynchronous ones on an event loop, the others in threads."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from channels._runtime import lograte, timers
from channels._runtime.backoff import random_pause
from channels._runtime.backstage import ignore_failure
from channels._runtime.exits import is_crash, signals_handled
from channels._runtime.faults import origin
from channels._runtime.workers import Workers
from channels.exceptions import BrokerError
from channels.layers import get_channel_layer
from channels.worker.health import Health

from .beating import Heartbeat
from .compat import task_finished
from .exceptions import TaskTimeout, WorkerFailed
from .execution import Attempt
from .options import TaskOptions
from .records import Outcome, Taken
from .settling import Settlements
from .store import Store
from .telling import atell

__all__ = ["TaskWorker"]

logger = logging.getLogger("channels.tasks")


class TaskWorker:
    """Takes tasks from the queues of a backend, and runs them.

    Args:
        backend: a :class:`~channels.contrib.tasks.ChannelsBackend`.
        queues: names of the queues; all of the backend by default.
        concurrency: tasks to run at the same time; the option of the backend by default.

    Attributes:
        id: the worker's name, in ``worker_ids`` of results.
    """

    #: Seconds that tasks may go on after SIGTERM. Docker and supervisord kill after 10.
    drain_timeout = 8.0
    #: Times in a row that fetching may fail before the worker gives up.
    max_failures = 10
    #: Seconds before fetching is tried again, as the first limit, which doubles each time, and the
    #: last one. The pause is random below the limit.
    backoff = (0.1, 10.0)
    #: A file that is touched while the worker is well, and where ``GET /healthz`` is answered, as
    #: with :class:`channels.worker.Worker`.
    health_file: str | os.PathLike[str] | None = None
    health_host: str | None = None
    health_port: int | None = None
    health_interval = 5.0

    def __init__(
        self, backend: Any, queues: Iterable[str] | None = None, concurrency: int | None = None
    ) -> None:
        self.backend = backend
        self.store: Store = backend.store
        self.options: TaskOptions = backend.config
        self.queues = list(dict.fromkeys(queues or sorted(backend.queues)))
        self.concurrency = concurrency or self.options.concurrency
        host = socket.gethostname().partition(".")[0][:24]
        self.id = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        # Whoever is late has been waited for before the interpreter exits.
        self._threads = Workers(lambda: self.concurrency, lambda: None, exit_grace=0.0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = False
        self._stopping = asyncio.Event()
        self._free = asyncio.Event()
        self._slots = self.concurrency
        self._stuck = 0
        self._failure: WorkerFailed | None = None
        self._running: dict[asyncio.Task[None], Attempt] = {}
        self._settlements = Settlements(self.store, self.id)
        # Whether an answer to fetch() may have been lost.
        self._unsure = False
        #: What does not work at this moment.
        self.failing: list[str] = []

    # The process

    def run(self) -> None:
        """Run tasks until SIGTERM or SIGINT, drain, and return.

        Raises:
            WorkerFailed: the worker cannot go on; what it had taken has been drained.
            InvalidWorkerOption: the health file cannot be written, or the port is taken.
        """
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner() as runner:
            runner.run(self.arun())

    async def arun(self) -> None:
        """Like :meth:`run`, in the running event loop."""
        with signals_handled(self._signalled, _end_at_once):
            async with Health(self):
                await self.handle()

    @property
    def channel_layer(self) -> Any:
        """The layer whose broker has the tasks."""
        return get_channel_layer(self.options.layer)

    def stop(self) -> None:
        """Make :meth:`handle` take no more tasks, and return when the running ones have ended.

        Call it in the event loop that runs :meth:`handle`.
        """
        self._stopping.set()

    def stop_soon(self) -> None:
        """Like :meth:`stop`, from any thread, and also before the worker runs."""
        self._ending = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed, and the worker has ended
                self._loop.call_soon_threadsafe(self.stop)

    async def handle(self) -> None:
        """Run tasks until :meth:`stop`, then drain.

        Raises:
            WorkerFailed: the worker cannot go on; what it had taken has been drained.
        """
        self._loop = asyncio.get_running_loop()
        if self._ending:
            self.stop()
        heartbeat = Heartbeat(self.store, self.id, self.queues, self.options.lease)
        taking = asyncio.create_task(self._take())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((taking, stopping), return_when=asyncio.FIRST_COMPLETED)
            if taking.done() and not taking.cancelled() and taking.exception() is not None:
                self._failure = self._explain(taking.exception())
            await _cancel([taking])
            await self._drain()
        finally:
            begun = [attempt.taken.record.id for attempt in self._running.values()]
            await _cancel([taking, stopping, *self._running])
            await self._leave(begun)
            await heartbeat.stop()
            await self.store.aclose()
            self._threads.end(0)
        if self._failure is not None:
            raise self._failure

    def _explain(self, error: BaseException | None) -> WorkerFailed:
        if isinstance(error, WorkerFailed):
            return error
        failure = WorkerFailed(f"The worker cannot take tasks: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure

    def _signalled(self) -> None:
        """Stop, in time."""
        logger.info("The worker takes no more tasks, and lets running ones finish")
        self.stop()

    # Taking

    async def _take(self) -> None:
        """Take as many tasks as there are free slots, again and again."""
        failures = 0
        while True:
            while self._slots <= 0:
                self._free.clear()
                await self._free.wait()
            try:
                taken = await self._fetch()
                failures = 0
                self.failing.clear()
                if not taken:
                    await self.store.wait(self.id, self.queues)
            except BrokerError as error:
                failures += 1
                self.failing[:] = ["taking tasks"]
                await self._pause(failures, error)
            else:
                for task in taken:
                    self._start(task)

    async def _fetch(self) -> Sequence[Taken]:
        running = None
        if self._unsure:
            running = [attempt.taken.record.id for attempt in self._running.values()]
        self._unsure = True
        has_suspect = any(attempt.taken.is_suspect for attempt in self._running.values())
        taken = await self.store.fetch(
            self.id, self.queues, self._slots, running, has_suspect=has_suspect
        )
        self._unsure = False
        self.queues.append(self.queues.pop(0))  # each queue is the first one in turn
        return taken

    async def _pause(self, failures: int, error: BrokerError) -> None:
        """Wait before the next attempt to fetch.

        Raises:
            WorkerFailed: there were too many.
        """
        if failures > self.max_failures:
            raise WorkerFailed(f"The worker cannot take tasks: {error}") from error
        pause = random_pause(failures, *self.backoff)
        logger.error(
            "Taking tasks failed (%d of %d in a row): %s; trying again in %.1f s",
            failures,
            self.max_failures,
            error,
            pause,
        )
        await timers.sleep(pause)

    # Running

    def _start(self, taken: Taken) -> None:
        self._slots -= 1
        attempt = Attempt(self.backend, self.store.codec, self.options, taken)
        task = asyncio.get_running_loop().create_task(self._process(attempt))
        self._running[task] = attempt
        task.add_done_callback(self._running.pop)

    def _free_slot(self) -> None:
        self._slots += 1
        self._free.set()

    async def _process(self, attempt: Attempt) -> None:
        """Run one attempt, and store what came of it."""
        try:
            outcome = await self._attempt(attempt)
        finally:
            self._free_slot()
        counts = await self._settlements.settle(outcome)
        if counts and outcome.kind != "done":
            self._log(attempt, outcome)
        if counts and outcome.kind != "retry" and attempt.result is not None:
            await self._tell(attempt)

    async def _attempt(self, attempt: Attempt) -> Outcome:
        """Run one attempt. Raises nothing but the cancellation of this worker's own task."""
        if attempt.error is not None:
            return attempt.fail(attempt.error)
        task = asyncio.current_task()
        try:
            value = await (self._await(attempt) if attempt.is_async else self._call(attempt))
        except BaseException as error:
            if not is_crash(error, task):
                raise
            return attempt.fail(error)
        return attempt.succeed(value)

    async def _await(self, attempt: Attempt) -> Any:
        if self.options.timeout is None:
            return await attempt.acall()
        limit = timers.timeout(self.options.timeout)
        try:
            async with limit:
                return await attempt.acall()
        except TimeoutError as error:
            if limit.expired():
                raise TaskTimeout(self._too_long(attempt, "it was cancelled")) from error
            raise

    async def _call(self, attempt: Attempt) -> Any:
        calling = asyncio.wrap_future(self._threads.submit(attempt.call))
        if self.options.timeout is None:
            return await calling
        try:
            async with timers.timeout(self.options.timeout):
                return await asyncio.shield(calling)
        except TimeoutError:
            if calling.done():
                raise
        calling.add_done_callback(self._has_ended)
        self._slots -= 1
        self._stuck += 1
        if self._stuck >= self.concurrency:
            self._failure = WorkerFailed(
                f"Threads of tasks that have run for too long hold all {self.concurrency} slots of "
                "the worker; it ends, for a supervisor to start a new one"
            )
            self.stop()
        raise TaskTimeout(
            self._too_long(attempt, "its thread cannot be stopped, and holds a slot until it ends")
        )

    def _too_long(self, attempt: Attempt, what: str) -> str:
        return f"The task {attempt.path} has run for {self.options.timeout:g} s; {what}"

    def _has_ended(self, calling: "asyncio.Future[Any]") -> None:
        """A thread that was given up has ended after all."""
        ignore_failure(calling)
        self._stuck -= 1
        self._free_slot()

    def _log(self, attempt: Attempt, outcome: Outcome) -> None:
        """A line about a failed attempt; Django has one about a task that failed for good."""
        record, error = attempt.taken.record, attempt.error
        path = attempt.path
        if outcome.kind == "retry" and error is not None:
            lograte.log(
                logger,
                logging.WARNING,
                f"{origin(error)} {path}",
                "Attempt %d of %d at the task %s (%s) failed; the next one is in %.1f s",
                record.attempts,
                self.options.max_attempts,
                path,
                record.id,
                max(outcome.due - outcome.at, 0) / 1e6,
                exc_info=error,
            )
        elif attempt.result is None:
            lograte.log(
                logger,
                logging.ERROR,
                f"unknown {path}",
                "The task %s (%s) has failed: %s",
                path,
                record.id,
                error,
            )

    async def _tell(self, attempt: Attempt) -> None:
        """Send ``task_finished``, within the handling of the exception if there was one."""
        if attempt.error is None:
            await atell(task_finished, self.backend, attempt.result)
            return
        try:
            raise attempt.error
        except BaseException:  # noqa: BLE001 - it is the task's
            await atell(task_finished, self.backend, attempt.result)
        finally:
            attempt.error = None  # its traceback holds this frame

    # The end

    async def _drain(self) -> None:
        """Let running tasks finish, up to the deadline."""
        if not self._running:
            return
        _, late = await asyncio.wait(set(self._running), timeout=self.drain_timeout)
        for task in late:
            attempt = self._running[task]
            logger.error(
                "The task %s (%s) was still running %g s after the worker was told to stop; "
                "another attempt will begin anew",
                attempt.path,
                attempt.taken.record.id,
                self.drain_timeout,
            )

    async def _leave(self, begun: list[str]) -> None:
        """Give back what the worker has, without waiting for a broker that does not answer."""
        try:
            async with timers.timeout(2.0):
                await self.store.leave(self.id, self.queues, begun)
        except Exception as error:  # noqa: BLE001 - of a broker; the lease does the same later
            logger.error(
                "The worker could not give back its tasks (%s: %s); others take them in %g s",
                type(error).__name__,
                error,
                self.options.lease,
            )


def _end_at_once() -> None:
    logger.critical("The worker ends at once: it was told to stop a second time")
    os._exit(1)


async def _cancel(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancel the tasks and wait until they have ended, whatever they raise."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
