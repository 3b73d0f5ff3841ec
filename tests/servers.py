"""Real ASGI servers: how each is started, and what each can do.

To add a server, add an entry to :data:`SERVERS`.
"""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import pytest

from .processes import ServerProcess

__all__ = ["ROOT", "SERVERS", "Capabilities", "RunningServer", "ServerKind"]

ROOT = Path(__file__).resolve().parents[1]

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
    message_limit: Literal["as configured", "16 MiB a frame"] = can(
        "Incoming messages are limited to", "as configured"
    )
    message_limit_code: int = can("A client that exceeds it sees the close code", 1009)
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
    pings: Literal["yes", "only pinged", "no"] = can(
        "Clients are pinged, and dropped when they do not answer", "yes"
    )
    ping_timeout_code: int | None = can(
        "`disconnect()` gets, when they do not answer, the code", 1006
    )
    # An application that is no consumer and returns although the connection is open
    early_refusal: int | None = can(
        "An application that returns before it has answered the handshake refuses it with", 500
    )
    early_close: int | None = can(
        "An application that returns with the socket open closes it with", 1006
    )
    # Pressure
    cuts_off: bool = can(
        "A client that does not read for `send_timeout` is cut off, and what waited is forgotten",
        True,
    )
    streams_requests: bool = can(
        "A request is handed on while its body comes, not when all of it has been stored", True
    )
    # Life of the server
    lifespan: bool = can("Lifespan hooks run", True)
    tells_clients_to_return: bool = can("On SIGTERM, clients are closed with 1012", True)
    learns_of_shutdown: bool = can("On SIGTERM, `disconnect(1012)` runs, and groups are left", True)
    serves_while_draining: bool = can(
        "While it drains it accepts connections: readiness answers 503, handshakes are refused",
        True,
    )
    # HTTP/2
    http2: bool = can("HTTP/2", False)
    websocket_over_http2: bool = can("WebSockets over HTTP/2 (RFC 8441)", False)

    #: A text frame that is no UTF-8 makes the server itself log a traceback.
    traceback_for_invalid_utf8: bool = False

    def protocol_error(self, code: int) -> int:
        """What a client sees that should be closed with ``code`` for breaking the protocol."""
        return {"with a code": code, "without a code": 1005, "dropped": 1006}[self.protocol_errors]


@dataclass(frozen=True, kw_only=True)
class ServerKind:
    """A server: the package that must be installed, how it is started, and what it can do.

    Each part of a command is given to ``python -m``, the options after it.
    """

    package: str
    #: The command that the documentation recommends.
    command: tuple[str, ...]
    #: Options for tests: quiet, and quick to stop.
    quiet: tuple[str, ...]
    #: Options to serve under the root path ``/base``, to ping every second and wait three for the
    #: answer, and to allow messages of 64 KiB, as far as the server has them.
    strict: tuple[str, ...]
    #: Options for two worker processes; none if the server has no workers.
    workers: tuple[str, ...] = ("--workers=2",)
    can: Capabilities

    def require(self) -> None:
        """Skip the test if the package is missing, but fail where ``CI`` is set."""
        if importlib.util.find_spec(self.package) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{self.package} is not installed", pytrace=False)
            pytest.skip(f"{self.package} is not installed")


SERVERS = {
    "uvicorn": ServerKind(
        package="uvicorn",
        command=(
            "uvicorn",
            "--host=127.0.0.1",
            "--port={port}",
            "--timeout-graceful-shutdown=10",
            "{application}",
        ),
        quiet=("--log-level=warning",),
        strict=(
            "--root-path=/base",
            "--ws-ping-interval=1",
            "--ws-ping-timeout=3",
            "--ws-max-size=65536",
        ),
        can=Capabilities(
            strips_root_path=True,
            reset_code=1005,
            ping_timeout_code=1005,
            traceback_for_invalid_utf8=True,
        ),
    ),
    "daphne": ServerKind(
        package="daphne",
        command=("daphne", "--bind=127.0.0.1", "--port={port}", "{application}"),
        # A busy machine may take longer to come to a handshake than the 5 s that Daphne gives it.
        quiet=("--verbosity=0", "--websocket_connect_timeout=30"),
        strict=(
            "--root-path=/base",
            "--ping-interval=1",
            "--ping-timeout=3",
            "--websocket_connect_timeout=3",
            "--websocket-max-message-size=65536",
        ),
        workers=(),
        can=Capabilities(
            denial_response=False,
            message_limit_code=1006,
            receives_close_reason=False,
            protocol_errors="dropped",
            early_refusal=None,
            early_close=None,
            streams_requests=False,
            lifespan=False,
        ),
    ),
    "hypercorn": ServerKind(
        package="hypercorn",
        command=(
            "hypercorn",
            "--bind=127.0.0.1:{port}",
            "--graceful-timeout=10",
            "{application}",
        ),
        # Tests wait for idle connections to end. But a machine that is busy may take a second to
        # read a handshake, which must not be called idle.
        quiet=("--log-level=warning", "--keep-alive=4"),
        strict=("--root-path=/base", "--config=tests/realapp/hypercorn.toml"),
        can=Capabilities(
            receives_close_code=False,
            receives_close_reason=False,
            serves_while_draining=False,
            protocol_errors="dropped",
            pings="only pinged",
            ping_timeout_code=None,
            early_close=1011,
            http2=True,
            websocket_over_http2=True,
        ),
    ),
    "granian": ServerKind(
        package="granian",
        command=(
            "granian",
            "--interface=asgi",
            "--host=127.0.0.1",
            "--port={port}",
            "--workers-kill-timeout=10",
            "{application}",
        ),
        quiet=("--log-level=warning",),
        strict=("--url-path-prefix=/base",),
        can=Capabilities(
            accept_headers=False,
            notices_leaving_before_accept=False,
            message_limit="16 MiB a frame",
            message_limit_code=1005,
            receives_close_reason=False,
            reset_code=1005,
            protocol_errors="without a code",
            pings="no",
            ping_timeout_code=None,
            early_refusal=403,
            early_close=1005,
            cuts_off=False,
            http2=True,
        ),
    ),
}


class RunningServer(ServerProcess):
    """A server process that serves ``application``, as a context manager.

    Args:
        kind: which server.
        application: ``"module:name"``, importable from the repository's root.
        log: the file that everything the process prints goes to.
        env: environment variables on top of this process's.
        strict: with the options of :attr:`ServerKind.strict`.
        workers: with those of :attr:`ServerKind.workers`.
    """

    def __init__(
        self,
        kind: ServerKind,
        application: str,
        *,
        log: Path,
        env: Mapping[str, str],
        strict: bool = False,
        workers: bool = False,
    ) -> None:
        self.kind = kind
        #: What stands in front of the path of every request.
        self.root = "/base" if strict and not kind.can.strips_root_path else ""
        command = [part.replace("{application}", application) for part in kind.command]
        options = (
            *kind.quiet,
            *(kind.strict if strict else ()),
            *(kind.workers if workers else ()),
        )
        super().__init__(["-m", *command, *options], cwd=ROOT, log=log, env=env)
