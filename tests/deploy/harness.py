"""Deployed processes, and what has to be true of them when they are told to end."""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.brokers import Broker
from tests.processes import environment

from .clients import Client

__all__ = ["DRAIN_DEADLINE", "PROJECT", "Deployed", "check_record", "check_stop"]

PROJECT = Path(__file__).parent / "project"

START_SECONDS = 60.0  # far more than any server needs on a busy machine
#: The project's ``CHANNELS_DRAIN["DEADLINE"]``, and so the least that a server has to wait.
DRAIN_DEADLINE = 8.0
# Seconds from SIGTERM to the end of the last process: the deadline, and the servers' own part.
STOP_SECONDS = DRAIN_DEADLINE + 4

# What systemd does with a socket: it is file descriptor 3, and variables say so.
PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Deployed:
    """One command of a guide, run for the project with a record of its own. A context manager.

    Args:
        command: as the guide has it, or its words. ``python`` is this one.
        folder: for its log and its record of what happened to connections.
        broker: where its channel layer is.
        address: a port, or the path of a Unix socket.
        env: environment variables on top of this process's.
        inherited: a socket that it gets as systemd passes sockets on.
    """

    def __init__(
        self,
        command: str | Sequence[str],
        *,
        folder: Path,
        broker: Broker,
        address: int | Path,
        env: Mapping[str, str] | None = None,
        inherited: socket.socket | None = None,
        cwd: Path = PROJECT,
    ) -> None:
        words = shlex.split(command) if isinstance(command, str) else list(command)
        assert words[0].rpartition("/")[2] == "python", words
        self.words = [sys.executable, *words[1:]]
        self.folder, self.address, self.cwd = folder, address, cwd
        self.log, self.record = folder / "server.log", folder / "record.jsonl"
        self.env = {"REDIS_URL": broker.url, "RECORD": str(self.record), **(env or {})}
        self.inherited = inherited

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.address}"

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the project has recorded, over several runs."""
        lines = self.record.read_bytes().splitlines() if self.record.exists() else []
        return [json.loads(line) for line in lines]

    def start(self, wait: bool = True) -> None:
        """Start the process and, as a rule, return when it accepts connections."""
        words, pass_fds = self.words, ()
        if self.inherited is not None:
            number = self.inherited.fileno()
            words, pass_fds = [sys.executable, "-c", PASS_ON, str(number), *words], (number,)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words,
                cwd=self.cwd,
                env=environment(**self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            assert self.process.poll() is None, f"it ended:\n{self.output}"
            assert time.monotonic() < deadline, f"it did not start:\n{self.output}"
            time.sleep(0.02)

    def _accepts(self) -> bool:
        if isinstance(self.address, Path):
            client, address = socket.socket(socket.AF_UNIX), str(self.address)
        else:
            client, address = socket.socket(), ("127.0.0.1", self.address)  # type: ignore[assignment]
        with client, contextlib.suppress(OSError):
            client.settimeout(1)
            client.connect(address)
            return True
        return False

    def members(self) -> set[int]:
        """The processes of its process group that run, itself included."""
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    found.add(int(stat.parent.name))
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the end of the process by itself; its status. None of its own may be left."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {seconds:g} s:\n{self.output}") from None
        deadline = time.monotonic() + 5  # helpers of multiprocessing notice it by themselves
        while (left := self.members()) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.kill()
        assert not left, f"processes that it left: {left}\n{self.output}"
        return status

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """Leave nothing of the process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


async def check_stop(
    deployed: Deployed,
    clients: Sequence[Client],
    broker: Broker,
    *,
    lifespan: int,
    everybody: bool = False,
    alone: bool = True,
) -> None:
    """SIGTERM to the main process, and everything that has to follow.

    Args:
        clients: those that are connected.
        lifespan: how many processes run their shutdown hooks.
        everybody: the signal goes to all processes.
        alone: no other server is connected to the broker.
    """
    started = time.monotonic()
    if everybody:
        os.killpg(deployed.process.pid, signal.SIGTERM)
    else:
        deployed.signal(signal.SIGTERM)
    codes = await asyncio.gather(*(client.closed() for client in clients))
    status = await asyncio.to_thread(deployed.ended)
    took = time.monotonic() - started
    output = deployed.output
    assert codes == [1012] * len(clients), output
    # uvicorn lets the signal have its way when it has done everything.
    assert status in (0, -signal.SIGTERM), output
    assert took < STOP_SECONDS
    check_record(deployed, clients)
    assert len([e for e in deployed.events if e["event"] == "stopped"]) == lifespan, output
    groups = broker.cli("KEYS", "*:group:*") if alone else []
    # Workers go on, and hear commands in theirs.
    assert [key for key in groups if b":group:channels.control." not in key] == [], output
    assert "Traceback" not in output, output
    assert " had not ended " not in output, output


def check_record(deployed: Deployed, clients: Sequence[Client]) -> None:
    """Every connection was told once of its end, and those that were cut off by 1012."""
    connected = [e["channel"] for e in deployed.events if e["event"] == "connect"]
    ends = [e for e in deployed.events if e["event"] == "disconnect"]
    assert sorted(connected) == sorted(e["channel"] for e in ends), deployed.output
    assert len([e for e in ends if e["code"] == 1012]) == len(clients), deployed.output
