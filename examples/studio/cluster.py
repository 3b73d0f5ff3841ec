#!/usr/bin/env python
"""Runs the studio on Redis: one server, and two worker processes that share the tasks.

    python cluster.py [PORT]

Everything listens on this machine alone, and ends with Ctrl-C. Set STUDIO_REDIS to use a Redis or
Valkey that runs already. This is for a look; the guides to deployment are in docs/howto.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
WORKERS = 2
# Seconds that a process has to start, and to end.
START, STOP = 30.0, 15.0


class Processes(ExitStack):
    """Processes that end with this one, in the reverse order."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__()
        self.env = env
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str, port: int | None = None) -> None:
        """Start one, and wait until it accepts connections, if it does."""
        # A group of its own: Ctrl-C is for this script, which ends them one after another.
        process = subprocess.Popen(command, cwd=PROJECT, env=self.env, start_new_session=True)
        self.running[name] = process
        self.callback(stop, process)
        deadline = time.monotonic() + START
        while port is not None and not accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} did not start.")
            time.sleep(0.05)

    def watch(self) -> None:
        """Say when one of them ends. The others go on: see what happens."""
        while self.running:
            for name, process in list(self.running.items()):
                if (code := process.poll()) is not None:
                    say(f"{name} has ended ({signal.Signals(-code).name if code < 0 else code}).")
                    del self.running[name]
            time.sleep(0.2)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to end, and see to it that it does."""
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def accepts(port: int) -> bool:
    """Whether a server listens there."""
    with closing(socket.socket()) as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that no server uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def say(text: str) -> None:
    """Tell it the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(port: int, folder: Path) -> None:
    """Start everything, and wait for the end."""
    redis_port = free_port()
    env = {"STUDIO_REDIS": f"redis://127.0.0.1:{redis_port}/0", **os.environ}
    manage = [sys.executable, "manage.py"]
    with Processes(env) as processes:
        if "STUDIO_REDIS" not in os.environ:
            redis = shutil.which("redis-server") or shutil.which("valkey-server")
            if redis is None:
                sys.exit(
                    "Please install Redis or Valkey (apt install redis-server, "
                    "brew install valkey), or name one: STUDIO_REDIS=redis://HOST:PORT/0"
                )
            options = ["--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
            options += ["--port", str(redis_port), "--logfile", "redis.log"]
            processes.start("Redis", redis, *options, port=redis_port)
        for command in (["migrate", "--verbosity=0"], ["create_demo"]):
            subprocess.run([*manage, *command], cwd=PROJECT, env=env, check=True)
        for number in range(1, WORKERS + 1):
            processes.start(f"Worker {number}", *manage, "runtasks")
        processes.start("The server", *manage, "runserver", "--noreload", str(port), port=port)
        say("")
        say(f"  The studio:  http://localhost:{port}/")
        for number in range(1, WORKERS + 1):
            pid = processes.running[f"Worker {number}"].pid
            say(f"  Worker {number}:    process {pid}  (try: kill -9 {pid}, while it paints)")
        say("  Stop:        Ctrl-C")
        say("")
        processes.watch()


def main() -> None:
    """Check what is there, and run."""
    port = int(sys.argv[1]) if sys.argv[1:] else 8000
    if accepts(port):
        sys.exit(f"Port {port} is not free. Choose another: make studio REDIS=1 PORT=8001")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="studio-") as folder:
            run(port, Path(folder))
    except KeyboardInterrupt:
        say("Everything has ended.")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd[1:])} has failed.")


if __name__ == "__main__":
    main()
