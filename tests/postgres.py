"""A real PostgreSQL on a free port, with a data folder of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from .brokers import unavailable
from .ports import free_port

DEADLINE = 60.0

# Nothing has to outlive the machine, and a server may be killed: it starts as quickly as that.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_wal_size": "256MB",
    "listen_addresses": "127.0.0.1",
    "autovacuum_naptime": "5s",
    "jit": "off",
}


def find_postgres() -> Path | None:
    """The folder of the programs of the newest PostgreSQL here, which Debian puts on no path."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "postgres").is_file():
            return folder
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def as_postgres() -> list[str]:
    """What a command begins with, for PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


class Postgres:
    """One server. Its port outlives it, so it can be stopped and started again."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.prefix = as_postgres() if os.getuid() == 0 else []
        self.process: subprocess.Popen[bytes] | None = None
        if self.prefix:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run(
            "initdb", "--pgdata", str(self.folder / "data"), "--username", "postgres",
            "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self.prefix, str(self.programs / program), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> "Postgres":
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, str(self.programs / "postgres"), "-D", str(self.folder / "data"),
                 "-p", str(self.port), "-k", str(self.folder), *settings],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.wait_until_up()
        return self

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                self.query("SELECT 1")
                return
            assert self.process is not None
            log = (self.folder / "log").read_text(errors="replace")
            assert self.process.poll() is None, f"PostgreSQL ended: {log}"
            assert time.monotonic() < deadline, f"PostgreSQL did not come up: {log}"
            time.sleep(0.01)

    def query(self, statement: str, *arguments: object) -> list[tuple]:
        """Run one statement, as an administrator does."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement, arguments or None)
            return cursor.fetchall() if cursor.description else []

    def restart(self) -> None:
        """Stop as an administrator does who does not wait for clients, and start again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """As a machine that loses power."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait(DEADLINE)
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.resume()
            self.process.send_signal(signal.SIGINT)  # a fast shutdown
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def pause(self) -> None:
        """It keeps its connections, and answers nobody."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """To the server and the processes that it has for its clients."""
        if self.process is None:
            return
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in [str(self.process.pid), *children.read_text().split()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A server that is stopped and cleaned up at the end."""
    programs = find_postgres()
    if programs is None:
        unavailable("a PostgreSQL server")
        raise AssertionError
    server = Postgres(programs)
    try:
        yield server.start()
    finally:
        server.remove()
