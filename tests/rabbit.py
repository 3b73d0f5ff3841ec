"""A real RabbitMQ on free ports, with a node, a data folder and an epmd of its own."""

import contextlib
import fcntl
import os
import pickle
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from .brokers import unavailable
from .ports import free_port

DEADLINE = 90.0

_CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
log.console = false
log.file.level = warning
vm_memory_high_watermark.absolute = 2GB
disk_free_limit.absolute = 1MB
"""


def find_rabbitmq() -> Path | None:
    """The folder with RabbitMQ's scripts as its authors ship them, without Debian's wrappers.

    The environment variable TEST_RABBITMQ names another one, to try another version. Those that
    begin with RABBITMQ_ reach the node, unless it is to have others.
    """
    if folder := os.environ.get("TEST_RABBITMQ"):
        return Path(folder)
    for folder in sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin")):
        return folder
    found = shutil.which("rabbitmq-server", path=f"{os.environ['PATH']}:/usr/local/sbin")
    return Path(found).resolve().parent if found else None


class Rabbit:
    """One node. Its port outlives it, so it can be stopped and started again.

    Args:
        scripts: the folder with those of RabbitMQ.
        config: more lines for rabbitmq.conf.
        plugins: what is enabled.
    """

    def __init__(self, scripts: Path, config: str = "", plugins: tuple[str, ...] = ()) -> None:
        self.scripts = scripts
        self.port, epmd = free_port(), free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="rabbit-"))
        self.node = f"test-{uuid.uuid4().hex[:8]}@localhost"
        self.process: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None
        file = self.folder / "rabbitmq.conf"
        file.write_text(_CONFIG.format(port=self.port) + config)
        (self.folder / "plugins").write_text(f"[{','.join(plugins)}].")
        given = {name: value for name, value in os.environ.items() if name.startswith("RABBITMQ_")}
        self.environment = given | {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),  # where the cookie is
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONFIG_FILE": str(file),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Two schedulers are enough, and quick to start.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def server_pid(self) -> int:
        """The process of RabbitMQ itself: scripts start it."""
        for name in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                pid = int(name.parent.name)
                if os.getpgid(pid) == self.pid and name.read_text() == "beam.smp\n":
                    return pid
        raise ProcessLookupError("RabbitMQ does not run")

    def start(self) -> "Rabbit":
        with (self.folder / "out").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.scripts / "rabbitmq-server")],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self.process.pid
        self.wait_until_up()
        return self

    def __getstate__(self) -> dict[str, object]:
        """For other processes, whose child it is not."""
        return vars(self) | {"process": None}

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(OSError), self._greeted() as answer:
                if answer.startswith(b"\x01"):  # a method frame: it speaks AMQP
                    return
            assert self.process is not None
            out = (self.folder / "out").read_text(errors="replace")
            assert self.process.poll() is None, f"RabbitMQ ended: {out}"
            assert time.monotonic() < deadline, f"RabbitMQ did not come up: {out}"
            time.sleep(0.02)

    @contextlib.contextmanager
    def _greeted(self) -> Iterator[bytes]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            yield connection.recv(16)

    def ctl(self, *command: str) -> str:
        """Run rabbitmqctl, which takes a second or two."""
        done = subprocess.run(
            [str(self.scripts / "rabbitmqctl"), "--quiet", *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _signal(self, number: int) -> None:
        """To RabbitMQ and all that it has started."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """As a machine that loses power."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(DEADLINE)
        self.process = self.pid = None

    def let_go(self) -> None:
        """Leave it to others to stop it, though it may be a child of this process."""
        if self.process is not None:
            self.process.returncode = 0  # else there would be a warning that it still runs

    def pause(self) -> None:
        """It keeps its connections, and answers nobody."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and its epmd, which RabbitMQ leaves behind in a session of its own."""
        self.kill()
        mine = f"ERL_EPMD_PORT={self.environment['ERL_EPMD_PORT']}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (process / "environ").read_bytes().split(b"\0")
                if mine in environment and b"epmd" in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[Rabbit]:
    """A node for several processes: the first starts it, and the last removes it.

    Args:
        folder: where they find each other.
    """
    users, described = folder / "rabbit-users", folder / "rabbit-node"
    with (folder / "rabbit-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        count = int(users.read_text()) if users.exists() else 0
        if count:
            rabbit = pickle.loads(described.read_bytes())
        else:
            with running(keep=True) as rabbit:
                described.write_bytes(pickle.dumps(rabbit))
        users.write_text(str(count + 1))
    try:
        yield rabbit
    finally:
        with (folder / "rabbit-lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            count = int(users.read_text()) - 1
            users.write_text(str(count))
            if count:
                rabbit.let_go()
            else:
                rabbit.remove()


@contextlib.contextmanager
def running(
    *, keep: bool = False, config: str = "", plugins: tuple[str, ...] = ()
) -> Iterator[Rabbit]:
    """A node that is stopped and cleaned up at the end, unless it is to be kept."""
    scripts = find_rabbitmq()
    if scripts is None:
        unavailable("RabbitMQ")
        raise AssertionError
    rabbit = Rabbit(scripts, config, plugins)
    try:
        yield rabbit.start()
    except BaseException:
        rabbit.remove()
        raise
    if not keep:
        rabbit.remove()
