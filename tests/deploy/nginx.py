"""A real nginx with the guide's configuration, as a process of the test's own."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.brokers import unavailable

from .guide import shown

__all__ = ["Nginx", "find_nginx"]

SECONDS = 20.0

MAIN = """
daemon off;
worker_processes 2;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
}}
"""


def find_nginx() -> str:
    """Where nginx is; skips, or fails in CI, if it is nowhere."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        unavailable("nginx")
        raise AssertionError
    return found


class Nginx:
    """A context manager.

    Args:
        binary: the program.
        folder: for everything that it reads and writes.
        port: where it listens.
        servers: the upstream's, as addresses of nginx.
        changes: what else differs from the guide's files, as texts that are there and what to put
            in their place.
    """

    def __init__(
        self,
        binary: str,
        folder: Path,
        port: int,
        servers: Sequence[str],
        changes: Mapping[str, str] | None = None,
    ) -> None:
        self.binary, self.folder, self.port = binary, folder, port
        (folder / "conf.d").mkdir(parents=True)
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
        self.write("upstream.conf", with_servers(shown("upstream.conf"), servers))
        site = shown("nginx.conf")
        for old, new in {"listen 80;": f"listen 127.0.0.1:{port};", **(changes or {})}.items():
            assert site.count(old) == 1, old
            site = site.replace(old, new)
        self.write("mysite.conf", site)

    def write(self, name: str, text: str) -> None:
        (self.folder / "conf.d" / name).write_text(text)

    def __enter__(self) -> Self:
        argv = [self.binary, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*argv, "-e", str(self.folder / "error.log")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)  # at once, without waiting for clients
        try:
            self.process.wait(SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        files = [self.folder / name for name in ("output", "error.log", "access.log")]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())


def with_servers(upstream: str, servers: Sequence[str]) -> str:
    """An upstream with other servers, and the options of its own."""
    lines = re.findall(r"^ +server .*\n", upstream, re.MULTILINE)
    options = {line.split(maxsplit=2)[2] for line in lines}
    assert len(options) == 1, "the guide's servers differ in their options"
    (option,) = options
    new = "".join(f"    server {server} {option}" for server in servers)
    return upstream.replace("".join(lines), new)
