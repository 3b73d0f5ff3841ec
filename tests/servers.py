"""Real ASGI servers for tests: how each is started and stopped, and what each can do.

To add a server, add an entry to :data:`SERVERS`.
"""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

__all__ = ["SERVERS", "Capabilities", "RunningServer", "ServerKind", "free_port"]

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 30.0
STOP_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Where servers differ. Tests assert either value, so that this table stays true."""

    #: A WebSocket can be refused with any HTTP status, rather than always with 403.
    denial_response: bool = True
    #: ``websocket.accept`` may carry headers.
    accept_headers: bool = True
    #: An empty message that the application sends reaches the client.
    empty_messages: bool = True
    #: The reason of ``websocket.close`` reaches the client.
    sends_close_reason: bool = True
    #: ``websocket.disconnect`` carries the client's reason.
    receives_close_reason: bool = True
    #: ``websocket.disconnect`` carries the client's close code, rather than always 1006.
    receives_close_code: bool = True
    #: ``websocket.disconnect`` code when the connection breaks without a closing handshake.
    reset_code: int = 1006
    #: Frames that the application does not read stay in the client's TCP.
    holds_back_client: bool = True
    #: ``send()`` waits for a client that does not read.
    holds_back_application: bool = True
    #: When the server is told to stop, applications learn of it before their process ends.
    #: Daphne means to cancel them, but trips over its own list while a WebSocket is open.
    ends_applications: bool = True
    #: The lifespan protocol is spoken.
    lifespan: bool = True
    #: The application may close with the codes that the protocol defines (1001 to 2999) as well.
    protocol_close_codes: bool = True
    #: A client that breaks the protocol is told so in a close frame, rather than just dropped.
    explains_protocol_errors: bool = True
    #: A text frame that is no UTF-8 makes the server itself log a traceback.
    traceback_for_invalid_utf8: bool = False


@dataclass(frozen=True)
class ServerKind:
    """A server: the package that must be installed, and what to give to ``python -m``."""

    package: str
    command: tuple[str, ...]
    can: Capabilities

    def require(self) -> None:
        """Skip the test if the package is missing, but fail where ``CI`` is set."""
        if importlib.util.find_spec(self.package) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{self.package} is not installed", pytrace=False)
            pytest.skip(f"{self.package} is not installed")


SERVERS = {
    "uvicorn": ServerKind(
        "uvicorn",
        (
            "uvicorn",
            "--host=127.0.0.1",
            "--port={port}",
            "--log-level=warning",
            "--timeout-graceful-shutdown=8",
            "{application}",
        ),
        Capabilities(reset_code=1005, traceback_for_invalid_utf8=True),
    ),
    "daphne": ServerKind(
        "daphne",
        ("daphne", "--bind=127.0.0.1", "--port={port}", "--verbosity=0", "{application}"),
        Capabilities(
            denial_response=False,
            accept_headers=False,
            empty_messages=False,
            sends_close_reason=False,
            receives_close_reason=False,
            holds_back_client=False,
            holds_back_application=False,
            ends_applications=False,
            lifespan=False,
            protocol_close_codes=False,
            explains_protocol_errors=False,
        ),
    ),
}


def free_port() -> int:
    """A TCP port of this machine that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class RunningServer:
    """A server process that serves ``application``, as a context manager.

    Args:
        kind: which server.
        application: ``"module:name"``, importable from the repository's root.
        log: the file that everything the process prints goes to.
        env: environment variables on top of this process's.
    """

    def __init__(
        self, kind: ServerKind, application: str, *, log: Path, env: Mapping[str, str]
    ) -> None:
        self.kind, self.log = kind, log
        self.port = free_port()
        self._command = [
            sys.executable,
            "-m",
            *(part.format(port=self.port, application=application) for part in kind.command),
        ]
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **env}

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
    def http_url(self) -> str:
        """Where the site is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where its WebSockets are, without a slash at the end."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """Everything that the process has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def resident_bytes(self) -> int:
        """The memory that the process occupies (Linux: ``VmRSS``)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def start(self) -> None:
        """Start the process and return when it accepts connections."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self._kill()
                raise AssertionError(f"{self._command} did not start:\n{self.output}")
            time.sleep(0.02)

    def terminate(self) -> None:
        """Ask the process to stop (SIGTERM), as a deployment does, and do not wait for it."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = STOP_SECONDS) -> None:
        """Wait until the process has ended by itself, and fail if it does not."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self._command} did not stop:\n{self.output}") from None
        finally:
            self._kill()

    def stop(self) -> None:
        """Terminate the process, if it still runs, and wait for its end."""
        if self.process.poll() is None:
            self.terminate()
        self.wait()

    def _kill(self) -> None:
        """Leave nothing of the process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False
