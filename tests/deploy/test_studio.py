"""The studio with workers of their own: `make studio REDIS=1`."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.brokers import find_servers, unavailable
from tests.ports import free_port
from tests.processes import environment

from .clients import until

pytestmark = [pytest.mark.server, pytest.mark.slow]

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "studio" / "cluster.py"
STOP_SECONDS = 40.0


async def test_it_runs_a_server_and_two_workers_until_it_is_told_to_stop(tmp_path: Path) -> None:
    servers = find_servers()
    if not servers:
        unavailable("a Redis or Valkey server")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "redis-server").symlink_to(next(iter(servers.values())))
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    env = environment(PATH=path, STUDIO_DATABASE=str(tmp_path / "db.sqlite3"))
    log, port = tmp_path / "log", free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(port)], env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            return "Ctrl-C\n" in log.read_text()

        await until(is_up, "the studio runs", 90)
        workers = [int(pid) for pid in re.findall(r"Worker \d: +process (\d+)", log.read_text())]
        assert len(workers) == 2
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as browser:
            assert "Continue as <strong>ada</strong>" in (await browser.get("/sign-in/")).text
        os.kill(workers[0], signal.SIGKILL)
        await until(lambda: "Worker 1 has ended (SIGKILL)." in log.read_text(), "it says so", 10)
        process.send_signal(signal.SIGINT)
        await until(lambda: process.poll() is not None, "it ends", STOP_SECONDS)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)
    assert process.returncode == 0, log.read_text()
    assert log.read_text().endswith("Everything has ended.\n")
    assert "Traceback" not in log.read_text()
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
