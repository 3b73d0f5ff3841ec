#!/usr/bin/env python
"""Runs the showcase on several processes: two servers and a worker, behind nginx, over Redis.

    python cluster.py [PORT]

Everything listens on this machine alone, and ends with Ctrl-C. Set SHOWCASE_REDIS to use a Redis
or Valkey that runs already. This is for a look; the guides to deployment are in docs/howto.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent
SERVERS = 2
#: The channels of mysite/workers.py.
CHANNELS = ["devices", "feed", "game", "images"]
# Seconds that a process has to start, and to end.
START, STOP = 30.0, 15.0

NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{
        text/css css; text/javascript js mjs; image/svg+xml svg; image/png png;
        application/json json map; font/woff2 woff2; text/plain txt;
    }}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream showcase {{ least_conn; {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location /static/ {{ alias {static}/; }}
        location / {{
            proxy_pass http://showcase;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffering off;
            proxy_read_timeout 1h;
            # Which of the servers it was: see the network tab of the browser.
            add_header X-Served-By $upstream_addr always;
        }}
    }}
}}
"""


def find(*names: str) -> str | None:
    """The first of these programs that is installed. Debian hides some from ordinary people."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return next(filter(None, (shutil.which(name, path=places) for name in names)), None)


def missing() -> list[str]:
    """What has to be installed first, and how."""
    needs = []
    if find("nginx") is None:
        needs.append("nginx:  apt install nginx,  brew install nginx")
    if "SHOWCASE_REDIS" not in os.environ and find("redis-server", "valkey-server") is None:
        needs.append(
            "Redis or Valkey:  apt install redis-server,  brew install valkey;\n"
            "    or name one that runs:  SHOWCASE_REDIS=redis://HOST:PORT/0"
        )
    if not all(map(importlib.util.find_spec, ("channels", "uvicorn", "redis"))):
        needs.append('Python packages:  pip install -e ".[demo,redis]", in the root')
    return needs


class Processes(ExitStack):
    """Those that run, by name. They end in the reverse order."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__()
        self.env = dict(env)
        self.running: dict[str, subprocess.Popen[Any]] = {}

    def start(self, name: str, command: Sequence[str], port: int | None = None) -> None:
        """Start one, and wait until it accepts connections, if it does."""
        # A group of its own: Ctrl-C is for this script, which ends them one after another.
        process = subprocess.Popen(
            command, cwd=PROJECT, env=self.env, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self.running[name] = process
        self.callback(stop, process)
        deadline = time.monotonic() + START
        while port is not None and not accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} did not start.")
            time.sleep(0.05)

    def watch(self) -> str:
        """Wait until one ends, and return its name."""
        while True:
            for name, process in self.running.items():
                if process.poll() is not None:
                    return name
            time.sleep(0.2)


def stop(process: "subprocess.Popen[Any]") -> None:
    """Ask it to end, and see to it that it does, with all that it has started."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with closing(socket.socket()) as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in taken]


def say(text: str) -> None:
    """Tell who has started this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(port: int, folder: Path) -> None:
    """Start everything, and wait for the end."""
    redis_port, *ports = free_ports(1 + SERVERS)
    static = folder / "static"
    env = {"SHOWCASE_REDIS": f"redis://127.0.0.1:{redis_port}/0", **os.environ}
    env |= {"SHOWCASE_STATIC": str(static), "PYTHONUNBUFFERED": "1"}
    manage = [sys.executable, "manage.py"]
    with Processes(env) as processes:
        if "SHOWCASE_REDIS" not in os.environ:
            redis = [find("redis-server", "valkey-server"), "--port", str(redis_port)]
            redis += ["--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
            processes.start("Redis", [*redis, "--logfile", "redis.log"], redis_port)
        for command in (
            ["migrate", "--verbosity=0"],
            ["collectstatic", "--no-input", "--verbosity=0"],
            ["create_demo"],
        ):
            subprocess.run([*manage, *command], cwd=PROJECT, env=env, check=True)
        processes.start("The worker", [*manage, "runworker", *CHANNELS])
        uvicorn = [sys.executable, "-m", "uvicorn", "mysite.asgi:application"]
        uvicorn += ["--log-level", "warning", "--timeout-graceful-shutdown", "10"]
        for number in ports:
            processes.start(f"The server on {number}", [*uvicorn, "--port", str(number)], number)
        configuration = folder / "nginx.conf"
        servers = " ".join(f"server 127.0.0.1:{number} max_fails=0;" for number in ports)
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(
            NGINX.format(folder=folder, static=static, servers=servers, port=port, user=user)
        )
        nginx = [find("nginx"), "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
        processes.start("nginx", nginx, port)
        say(f"""
  The showcase:    http://localhost:{port}/
  Servers:         {", ".join(map(str, ports))}, behind nginx on {port}; {env["SHOWCASE_REDIS"]}
  Which one:       the page "Operations", or the header X-Served-By
  Stop:            Ctrl-C
""")
        sys.exit(f"{processes.watch()} has ended, so everything ends.")


def main() -> None:
    """Check what is there, and run."""
    port = int(sys.argv[1]) if sys.argv[1:] else 8000
    if needs := missing():
        sys.exit("Please install first:\n  " + "\n  ".join(needs))
    if accepts(port):
        sys.exit(f"Port {port} is not free. Choose another: make demo-cluster PORT=8001")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="showcase-") as folder:
            run(port, Path(folder))
    except KeyboardInterrupt:
        say("Everything has ended.")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd[1:])} has failed.")


if __name__ == "__main__":
    main()
