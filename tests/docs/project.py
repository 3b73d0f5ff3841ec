"""Django projects in temporary folders, made and run by real commands, as the pages say."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

from .markdown import Block, apply_diff, blocks_of

__all__ = ["DEADLINE", "READER_DOES", "Project", "Server"]

DEADLINE = 60.0
"""Seconds that a command or a server may take; far more than any needs on a busy machine."""

READER_DOES = ("python -m venv", "source ", "python -m pip install", "python -m playwright")
"""What the tests leave to the environment they run in."""


class Project:
    """A folder in which pages are followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy_to(self, folder: Path) -> "Project":
        """An independent copy of the project as it is now."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Project(folder)

    def follow(self, page: Path) -> Iterator[str]:
        """Do what ``page`` says, block by block; yield the commands that start a server."""
        for block in blocks_of(page):
            if block.language == "console" and block.mark != "not executed":
                yield from self.obey(block)
            elif block.mark in ("file", "append", "edit"):
                self.write(block)

    def obey(self, block: Block) -> Iterator[str]:
        """Run the commands of one console block, which are the lines after ``$``."""
        for line in block.code.splitlines():
            if not line.startswith("$ "):
                continue
            command = line.removeprefix("$ ")
            if command.startswith("cd "):
                self.folder /= command.removeprefix("cd ")
            elif " runserver" in command:
                yield command
            elif not command.startswith(READER_DOES):
                self.run(command)

    def write(self, block: Block) -> None:
        """Write, extend or change one file."""
        path = self.folder / block.text
        if block.mark == "file":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, "utf-8")
        elif block.mark == "append":
            path.write_text(path.read_text("utf-8") + "\n" + block.code, "utf-8")
        else:
            path.write_text(apply_diff(path.read_text("utf-8"), block.code), "utf-8")

    def run(self, command: str, deadline: float = DEADLINE * 2) -> str:
        """Run one command to its end; return what it printed, raise if it failed."""
        done = subprocess.run(
            arguments(command),
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=deadline,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"$ {command}\n{done.stdout}")
        return done.stdout

    @contextmanager
    def serve(self, command: str, port: int = 0) -> Iterator["Server"]:
        """Run ``command``, which starts a development server, for the duration of the block.

        Args:
            command: as the page has it.
            port: where to listen; a free one by default.
        """
        port = port or free_port()
        log = self.folder / "server.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*arguments(command), "--noreload", f"127.0.0.1:{port}"],
                cwd=self.folder,
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(port, log, process)
        try:
            server.wait_until_ready()
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


class Server:
    """A running development server."""

    def __init__(self, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.log = log
        self.process = process
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}"

    def wait_until_ready(self) -> None:
        """Return as soon as the server accepts connections."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"The server did not start:\n{self.log.read_text()}")

    def wait_for_log(self, words: str) -> None:
        """Return as soon as the server has printed ``words``."""
        deadline = time.monotonic() + DEADLINE
        while words not in self.log.read_text():
            if time.monotonic() > deadline:
                raise AssertionError(f"{words!r} is not in:\n{self.log.read_text()}")
            time.sleep(0.02)


def arguments(command: str) -> list[str]:
    """``command`` as this environment runs it: with the interpreter that runs the tests."""
    words = shlex.split(command)
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    if words[0] == "django-admin":
        return [sys.executable, "-m", "django", *words[1:]]
    raise AssertionError(f"The documentation uses a command that its tests do not know: {command}")


def environment() -> dict[str, str]:
    """The environment that commands run in; a warning is an error there as here."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "PYTHONWARNINGS": "error",
        "PYTHONUNBUFFERED": "1",
    }
