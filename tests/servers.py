"""Real ASGI servers for tests: how each is started and stopped, and what each can do.

To add a server, add an entry to :data:`SERVERS`.
"""

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import pytest

__all__ = ["SERVERS", "Capabilities", "RunningServer", "ServerKind", "free_port"]

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 30.0
STOP_SECONDS = 15.0


T = TypeVar("T")


def can(what: str, usually: T) -> T:
    """A field of :class:`Capabilities`: what the documentation says of it, and its default."""
    value: T = field(default=usually, metadata={"what": what})
    return value


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Where servers differ. Tests assert either value, so that this table stays true.

    The documentation's table is made of it: ``python -m tests.conformance.servers.table``.
    """

    # Handshake
    denial_response: bool = can(
        "A refused WebSocket gets the status and the body that fit the reason, not 403 alone", True
    )
    accept_headers: bool = can("`accept(headers=...)` reaches the client", True)
    notices_leaving_before_accept: bool = can(
        "A client that leaves while `connect()` runs is noticed before it is accepted", True
    )
    strips_root_path: bool = can(
        "With a root path, the proxy has to strip it from the request", False
    )
    # Messages
    empty_messages: bool = can("Empty messages reach the client", True)
    frame_limit: Literal["yes", "16 MiB", "no"] = can(
        "The size of incoming messages can be limited", "yes"
    )
    frame_limit_code: int = can("The client that exceeds it sees the close code", 1009)
    # Closing
    protocol_close_codes: bool = can(
        "The application may close with any code, not only 1000 and 3000 to 4999", True
    )
    sends_close_reason: bool = can("`close(reason=...)` reaches the client", True)
    receives_close_code: bool = can(
        "`disconnect()` gets the client's close code, not always 1006", True
    )
    receives_close_reason: bool = can(
        "`websocket.disconnect` carries the client's close reason", True
    )
    reset_code: int = can("`disconnect()` gets, when the connection just breaks, the code", 1006)
    protocol_errors: Literal["with a code", "without a code", "dropped"] = can(
        "A client that breaks the protocol is closed", "with a code"
    )
    pings: Literal["closes", "only pings", "no"] = can(
        "Idle clients are pinged, and closed when they do not answer", "closes"
    )
    ping_timeout_code: int = can("`disconnect()` gets, when they do not answer, the code", 1006)
    # An application that is no consumer and returns although the connection is open
    early_refusal: int | None = can(
        "An application that returns before it has answered the handshake refuses it with", 500
    )
    early_close: int | None = can(
        "An application that returns with the socket open closes it with", 1006
    )
    # Pressure
    holds_back_client: bool = can(
        "A client that sends faster than it is read is slowed by TCP", True
    )
    holds_back_application: bool = can("`send()` waits for a client that does not read", True)
    # Life of the server
    lifespan: bool = can("Lifespan hooks run", True)
    tells_clients_to_return: bool = can("On SIGTERM, clients are closed with 1012", True)
    learn_of_shutdown: Literal["all", "idle", "none"] = can(
        "On SIGTERM, `disconnect()` runs for these connections", "all"
    )
    shutdown_code: int | None = can("On SIGTERM, `disconnect()` gets the code", 1012)
    # HTTP/2
    http2: bool = can("HTTP/2", False)
    websocket_over_http2: bool = can("WebSockets over HTTP/2 (RFC 8441)", False)

    #: A text frame that is no UTF-8 makes the server itself log a traceback.
    traceback_for_invalid_utf8: bool = False

    def protocol_error(self, code: int) -> int:
        """What a client sees that should be closed with ``code`` for breaking the protocol."""
        return {"with a code": code, "without a code": 1005, "dropped": 1006}[self.protocol_errors]


@dataclass(frozen=True)
class ServerKind:
    """A server: its package, what to give to ``python -m``, and what it can do.

    With ``strict`` it serves under the root path ``/base``, pings every second and waits as long
    for the answer, and allows messages of 64 KiB, as far as it can.
    """

    package: str
    command: tuple[str, ...]
    strict: tuple[str, ...]
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
        (
            "--root-path=/base",
            "--ws-ping-interval=1",
            "--ws-ping-timeout=1",
            "--ws-max-size=65536",
        ),
        Capabilities(
            reset_code=1005,
            ping_timeout_code=1005,
            strips_root_path=True,
            traceback_for_invalid_utf8=True,
        ),
    ),
    "daphne": ServerKind(
        "daphne",
        ("daphne", "--bind=127.0.0.1", "--port={port}", "--verbosity=0", "{application}"),
        (
            "--root-path=/base",
            "--ping-interval=1",
            "--ping-timeout=1",
            "--websocket_connect_timeout=1",
            "--websocket-max-message-size=65536",
        ),
        Capabilities(
            early_refusal=None,
            early_close=None,
            frame_limit_code=1006,
            shutdown_code=None,
            denial_response=False,
            accept_headers=False,
            empty_messages=False,
            sends_close_reason=False,
            receives_close_reason=False,
            holds_back_client=False,
            holds_back_application=False,
            learn_of_shutdown="none",
            tells_clients_to_return=False,
            lifespan=False,
            protocol_close_codes=False,
            protocol_errors="dropped",
        ),
    ),
    "hypercorn": ServerKind(
        "hypercorn",
        (
            "hypercorn",
            "--bind=127.0.0.1:{port}",
            "--log-level=warning",
            "--graceful-timeout=1",
            "--keep-alive=1",
            "{application}",
        ),
        ("--root-path=/base", "--config=tests/realapp/hypercorn.toml"),
        Capabilities(
            pings="only pings",
            early_close=1011,
            http2=True,
            websocket_over_http2=True,
            receives_close_code=False,
            receives_close_reason=False,
            protocol_errors="dropped",
        ),
    ),
    "granian": ServerKind(
        "granian",
        (
            "granian",
            "--interface=asgi",
            "--host=127.0.0.1",
            "--port={port}",
            "--log-level=warning",
            "--workers-kill-timeout=8",
            "{application}",
        ),
        ("--url-path-prefix=/base",),
        Capabilities(
            frame_limit="16 MiB",
            frame_limit_code=1005,
            pings="no",
            early_refusal=403,
            early_close=1005,
            http2=True,
            accept_headers=False,
            receives_close_reason=False,
            reset_code=1005,
            learn_of_shutdown="idle",
            shutdown_code=1005,
            tells_clients_to_return=False,
            notices_leaving_before_accept=False,
            protocol_errors="without a code",
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
        strict: with the options of :attr:`ServerKind.strict`.
    """

    def __init__(
        self,
        kind: ServerKind,
        application: str,
        *,
        log: Path,
        env: Mapping[str, str],
        strict: bool = False,
    ) -> None:
        self.kind, self.log = kind, log
        #: What stands in front of the path of every request.
        self.root = "/base" if strict and not kind.can.strips_root_path else ""
        self.port = free_port()
        self._command = [
            sys.executable,
            "-m",
            *(part.format(port=self.port, application=application) for part in kind.command),
            *(kind.strict if strict else ()),
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
        """The memory that the server's processes occupy (Linux: ``VmRSS``)."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):  # it has just ended
                if os.getpgid(int(status.parent.name)) == self.process.pid:
                    found = re.search(r"^VmRSS:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
                    total += int(found[1]) * 1024 if found else 0
        return total

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
