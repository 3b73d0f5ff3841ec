"""One run of one contender: its workers are started, given tasks, and what that costs is noted."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..servers import Redis, clean_environ, pin
from .contenders import CONTENDERS, Contender
from .project.jobs import MARK

__all__ = ["Result", "measure"]

PROJECT = Path(__file__).parent / "project"

# Seconds that a run waits for what has to come.
PATIENCE = 120.0
# Seconds that a killed worker's task may take to go on.
RESUME_PATIENCE = 30.0
# Seconds that the task takes whose worker is killed. Much longer than it takes to kill it.
HELD = 60.0
# Seconds between two tasks at light load.
PAUSE = 0.02


@dataclass(frozen=True)
class Result:
    """What one run cost. CPU times are milliseconds per 1,000 tasks.

    Attributes:
        contender: Its name in ``CONTENDERS``.
        enqueued: Tasks a second that one process enqueued.
        finished: Tasks a second that a worker on one core finished.
        enqueue_cpu_ms, worker_cpu_ms: CPU time of these.
        broker_cpu_ms: CPU time of the Redis server for both; None without one.
        p50_ms, p95_ms: From before a task was enqueued to its start, at light load.
        resumed_s: Seconds from SIGKILL to a worker to the start of what it was running, by
            another; None if that did not happen in time.
        replaced_s: The same, where only that process of a worker is killed which runs the task.
        lost: Tasks that did not run; in the other measurements, without a kill.
    """

    contender: str
    enqueued: float
    finished: float
    enqueue_cpu_ms: float
    worker_cpu_ms: float
    broker_cpu_ms: float | None
    p50_ms: float
    p95_ms: float
    resumed_s: float | None
    replaced_s: float | None = None
    lost: int = 0

    @property
    def cpu_ms(self) -> float:
        """Of everybody."""
        return self.enqueue_cpu_ms + self.worker_cpu_ms + (self.broker_cpu_ms or 0.0)


class Group:
    """A worker with the processes that it starts: a process group."""

    def __init__(
        self, command: list[str], environ: dict[str, str], log: Path, core: int | None
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        pin(self._process.pid, core)
        self.id = self._process.pid

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.id, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of its processes so far."""
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.id:  # proc(5): pgrp; then utime and stime
                    total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


class Bench:
    """One contender with its broker or database, from ``with`` to the end of the block."""

    def __init__(
        self,
        contender: Contender,
        python: str,
        redis: Redis | None,
        folder: Path,
        cores: tuple[int, int] | None,
    ) -> None:
        self.contender, self.python, self.redis = contender, python, redis
        self.worker_core, self.other_core = cores or (None, None)
        self.marks_file, self.log = folder / "marks", folder / "log"
        self.marks_file.touch()
        self.environ = clean_environ()
        self.environ.pop("DJANGO_SETTINGS_MODULE", None)
        self.environ |= contender.environ
        self.environ |= {"BENCHMARK_MARKS": str(self.marks_file)}
        if redis is None:
            self.environ["BENCHMARK_DATABASE"] = str(folder / "database")
        else:
            self.environ["BENCHMARK_REDIS"] = f"redis://127.0.0.1:{redis.port}/0"
        for command in contender.prepare:
            subprocess.run([python, *command], cwd=PROJECT, env=self.environ, check=True)

    @contextlib.contextmanager
    def worker(self) -> Iterator[Group]:
        """A worker that runs tasks, as the first of them have shown."""
        command = [self.python, *self.contender.worker]
        group = Group(command, self.environ, self.log, self.worker_core)
        try:
            before = len(self.marks())
            self.enqueue("mark", 40)
            if not self.wait_for(before + 50):
                raise RuntimeError(f"A worker runs no tasks:\n{self.log.read_text()[-2000:]}")
            yield group
        finally:
            group.kill()

    def pause(self, worker: Group) -> None:
        """Stop a worker for a while, but not where it holds the lock that enqueueing needs."""
        worker.signal(signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE
        while self.redis is None and self._is_locked():
            if time.monotonic() > deadline:
                raise RuntimeError("Its worker holds the lock of the database all the time.")
            worker.signal(signal.SIGCONT)
            time.sleep(0.01)
            worker.signal(signal.SIGSTOP)

    def _is_locked(self) -> bool:
        with contextlib.closing(sqlite3.connect(self.environ["BENCHMARK_DATABASE"])) as database:
            database.execute("PRAGMA busy_timeout = 0")
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False

    def enqueue(
        self, task: str, count: int, pause: float = 0.0, *arguments: float
    ) -> dict[str, float]:
        """Have a process enqueue so many tasks, and ten before; what that cost."""
        command = [self.python, "enqueue.py", self.contender.module, task, str(count), str(pause)]
        command += [str(argument) for argument in arguments]
        output = subprocess.run(
            command, cwd=PROJECT, env=self.environ, check=True, stdout=subprocess.PIPE
        ).stdout
        return dict(json.loads(output))

    def marks(self) -> list[tuple[int, int, int]]:
        """What tasks have left so far: when each was enqueued, when it started, and where."""
        return list(MARK.iter_unpack(self.marks_file.read_bytes()))

    def wait_for(self, count: int, seconds: float = PATIENCE) -> bool:
        """Wait until so many tasks have started; whether they have."""
        deadline = time.monotonic() + seconds
        while self.marks_file.stat().st_size < count * MARK.size:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def broker_cpu(self) -> float:
        return self.redis.cpu_seconds() if self.redis else 0.0


def measure(
    name: str,
    python: str,
    tasks: int,
    cores: tuple[int, int] | None = None,
    redis_server: str | None = None,
) -> Result:
    """Measure a contender.

    Args:
        name: In ``CONTENDERS``.
        python: The interpreter of its environment.
        tasks: How many are enqueued, and then finished.
        cores: For the workers, and for everything else.
        redis_server: The binary of a Redis server.

    Raises:
        RuntimeError: A worker does not run tasks; the message has its log.
    """
    contender = CONTENDERS[name]
    with contextlib.ExitStack() as stack:
        redis = None
        if contender.redis:
            if redis_server is None:
                raise RuntimeError(f"{name} needs a Redis server, and there is none.")
            redis = stack.enter_context(Redis(redis_server, cores and cores[1]))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(contender, python, redis, folder, cores)
        pin(0, bench.other_core)  # what enqueues inherits it
        with bench.worker() as worker:
            latencies, late = _latencies(bench)
            found = _throughput(bench, worker, tasks)
        bench.environ |= contender.at_least_once
        resumed = _resumed(bench, whole=True)
        replaced = _resumed(bench, whole=False) if contender.has_processes else None
    lost = found.pop("lost") + late
    return Result(
        contender=name,
        p50_ms=latencies[len(latencies) // 2],
        p95_ms=latencies[len(latencies) * 95 // 100],
        resumed_s=resumed,
        replaced_s=replaced,
        lost=lost,
        **found,
    )


def _latencies(bench: Bench, count: int = 200) -> tuple[list[float], int]:
    """Milliseconds from enqueueing to start, sorted; and how many tasks did not come."""
    before = len(bench.marks())
    bench.enqueue("mark", count, PAUSE)
    bench.wait_for(before + count + 10)
    marks = bench.marks()[before:]
    latencies = sorted((started - sent) / 1e6 for sent, started, _ in marks[10:])
    return latencies, count + 10 - len(marks)


def _throughput(bench: Bench, worker: Group, tasks: int) -> dict:
    """Enqueue while the worker is stopped, then have it go on."""
    before = len(bench.marks())
    expected = tasks + 10
    broker_cpu = bench.broker_cpu()
    bench.pause(worker)
    enqueued = bench.enqueue("mark", tasks)
    worker_cpu = worker.cpu_seconds()
    worker.signal(signal.SIGCONT)
    started = time.perf_counter()
    bench.wait_for(before + expected)
    took = time.perf_counter() - started
    time.sleep(0.5)  # for what follows the last task
    worker_cpu, broker_cpu = worker.cpu_seconds() - worker_cpu, bench.broker_cpu() - broker_cpu
    count = len(bench.marks()) - before
    return {
        "enqueued": tasks / enqueued["seconds"],
        "finished": count / took,
        "enqueue_cpu_ms": enqueued["cpu_seconds"] * 1e6 / tasks,
        "worker_cpu_ms": worker_cpu * 1e6 / max(count, 1),
        "broker_cpu_ms": broker_cpu * 1e6 / expected if bench.redis else None,
        "lost": expected - count,
    }


def _resumed(bench: Bench, *, whole: bool) -> float | None:
    """Kill the worker of two that has a task, and wait until the task is begun anew.

    Args:
        bench: where.
        whole: all of the worker is killed, or the process alone that runs the task.
    """
    with bench.worker() as one, bench.worker() as other:
        before = len(bench.marks())
        bench.enqueue("hold", 1, 0.0, HELD)
        bench.wait_for(before + 1)
        process = bench.marks()[-1][2]
        if whole:
            (one if os.getpgid(process) == one.id else other).kill()
        else:
            os.kill(process, signal.SIGKILL)
        killed = time.perf_counter()
        resumed = bench.wait_for(before + 2, RESUME_PATIENCE)
        return time.perf_counter() - killed if resumed else None
