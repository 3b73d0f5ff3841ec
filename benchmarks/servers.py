"""The server processes: started, watched, and stopped."""

import os
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

__all__ = ["APPS", "Server", "allow_many_connections", "clean_environ", "cores", "pin"]

APPS = Path(__file__).parent / "apps"


def clean_environ() -> dict[str, str]:
    """The environment variables for a contender: without those that change what it imports."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


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


def allow_many_connections(number: int = 4096) -> None:
    """Raise the limit of open files, which the servers inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Server:
    """A uvicorn process that serves one of the apps, from ``with`` to the end of the block.

    Args:
        python: The interpreter to run it with.
        app: The module under ``apps/``.
        core: The core it may use; None for any.

    Raises:
        RuntimeError: It did not start; the message ends with its log.
    """

    def __init__(self, python: str, app: str, core: int | None = None) -> None:
        self.python, self.app, self.core = python, app, core

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [self.python, "-m", "uvicorn", f"{self.app}:application", "--lifespan", "off"]
        command += ["--port", str(self.port), "--log-level", "warning"]
        self._log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, cwd=APPS, env=clean_environ(), stdout=self._log, stderr=self._log
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
        """What the server has printed: nothing, when all is well."""
        self._log.seek(0)
        return self._log.read()

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of all threads of the server so far."""
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
        raise RuntimeError(f"{self.app} did not start with {self.python}:\n{self.log}")
