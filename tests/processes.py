"""Real server processes for tests: started on a free port, waited for, and always stopped."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from .ports import free_port

__all__ = ["ServerProcess", "environment"]

START_SECONDS = 60.0
STOP_SECONDS = 15.0


def environment(**extra: str) -> dict[str, str]:
    """This process's environment for a project that has settings of its own."""
    inherited = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return inherited | {"PYTHONUNBUFFERED": "1"} | extra


class ServerProcess:
    """A server in a process group of its own, as a context manager.

    Args:
        command: given to this Python, with ``{port}`` replaced.
        cwd: the folder it runs in.
        log: the file that everything it prints is appended to, over several runs.
        env: environment variables on top of this process's.
        port: where it listens; a free one by default.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path, log: Path, env: Mapping[str, str], port: int = 0
    ) -> None:
        self.port = port or free_port()
        self.command = [sys.executable, *(part.format(port=self.port) for part in command)]
        self.cwd, self.log, self.env = cwd, log, env

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def origin(self) -> str:
        """Where the site is, without a slash at the end; what a browser calls its origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where its WebSockets are, without a slash at the end."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """Everything that it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def resident_bytes(self) -> int:
        """The memory that the processes of the group occupy (Linux: ``VmRSS``)."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):  # it has just ended
                if os.getpgid(int(status.parent.name)) == self.process.pid:
                    found = re.search(r"^VmRSS:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
                    total += int(found[1]) * 1024 if found else 0
        return total

    def start(self) -> None:
        """Start the process and return when it accepts connections."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=environment(**self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.command} did not start:\n{self.output}")
            time.sleep(0.02)

    def terminate(self) -> None:
        """Ask the process to stop (SIGTERM), as a deployment does, and do not wait for it."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = STOP_SECONDS) -> None:
        """Wait until the process has ended by itself, and fail if it does not."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} did not stop:\n{self.output}") from None
        finally:
            self.kill()

    def stop(self) -> None:
        """Terminate the process, if it still runs, and wait for its end."""
        if self.process.poll() is None:
            self.terminate()
        self.wait()

    def kill(self) -> None:
        """End the process and its children at once (SIGKILL)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def is_up(self) -> bool:
        """Whether it accepts connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False
