"""A real Prometheus reads the metrics of several processes behind one port, and rings the alarm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import yaml
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.ports import free_port
from tests.processes import environment

ROOT = Path(__file__).parents[2]
ECHO = "tests.integration.metrics_site.Echo"

pytestmark = [pytest.mark.server]


def wait_for(question, seconds=60):
    """What ``question`` answers, once that is true."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{question.__name__} is still {answer!r}"
        time.sleep(0.1)
    return answer


def read(url, **headers):
    try:
        with urlopen(Request(url, headers=headers), timeout=10) as answer:
            return answer.read().decode()
    except (URLError, ConnectionError):
        return ""


@contextmanager
def running(command, **options):
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture
def prometheus():
    found = shutil.which("prometheus")
    if found is None:
        assert "CI" not in os.environ, "prometheus is not installed"
        pytest.skip("prometheus is not installed")
    return found


@pytest.fixture
def site(tmp_path):
    """The port of a server with two processes, which share a folder."""
    folder, port = tmp_path / "metrics", free_port()
    folder.mkdir()
    command = [sys.executable, "-m", "uvicorn", "tests.integration.metrics_site:application"]
    command += ["--workers", "2", "--port", str(port), "--log-level", "error"]
    variables = environment(PROMETHEUS_MULTIPROC_DIR=str(folder))
    variables.pop("DJANGO_SETTINGS_MODULE", None)
    with running(command, cwd=ROOT, env=variables):
        yield port


def ready(url):
    def answers():
        return read(url, Authorization="Bearer the-token")

    return wait_for(answers)


def test_a_real_prometheus_sees_all_processes_and_evaluates_the_alerts(site, prometheus, tmp_path):
    metrics = f"http://127.0.0.1:{site}/metrics"
    ready(metrics)
    assert read(metrics) == ""  # without the token
    processes = set()
    clients = ExitStack()
    opened = 0
    wait_until = time.monotonic() + 60
    while len(processes) < 2:  # the kernel chooses which process gets a connection
        assert time.monotonic() < wait_until
        client = clients.enter_context(connect(f"ws://127.0.0.1:{site}/"))
        client.send("who?")
        processes.add(client.recv())
        opened += 1
    for _ in range(10):
        with connect(f"ws://127.0.0.1:{site}/") as client:
            client.send("crash")
            with pytest.raises(ConnectionClosed):
                client.recv()
    port = free_port()
    rules = yaml.safe_load(
        resources.files("channels.contrib.prometheus").joinpath("alerts.yml").read_text("utf-8")
    )
    for rule in rules["groups"][0]["rules"]:
        # A counter that begins above 0 has not increased, as far as Prometheus knows.
        rule["expr"] = rule["expr"].replace(
            "increase(channels_crashes_total[5m])", "channels_crashes_total"
        )
    (tmp_path / "alerts.yml").write_text(json.dumps(rules), "utf-8")
    settings = {
        "global": {
            "scrape_interval": "500ms",
            "scrape_timeout": "500ms",
            "evaluation_interval": "500ms",
        },
        "rule_files": [str(tmp_path / "alerts.yml")],
        "scrape_configs": [
            {
                "job_name": "channels",
                "authorization": {"credentials": "the-token"},
                "static_configs": [{"targets": [f"127.0.0.1:{site}"]}],
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(settings), "utf-8")
    api = f"http://127.0.0.1:{port}/api/v1"
    command = [
        prometheus,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]

    def value(expression):
        text = read(f"{api}/query?{urlencode({'query': expression})}")
        found = json.loads(text)["data"]["result"] if text else []
        return float(found[0]["value"][1]) if found else None

    with running(command):

        def connections():
            return value(f'channels_connections{{consumer="{ECHO}"}}') == opened

        def crashes():
            return value(f'channels_crashes_total{{consumer="{ECHO}"}}') == 10

        def messages():
            received = value(f'channels_messages_received_total{{consumer="{ECHO}"}}')
            sent = value(f'channels_messages_sent_total{{consumer="{ECHO}"}}')
            return (received, sent) == (opened + 10, opened)

        def firing():
            text = read(f"{api}/alerts")
            alerts = json.loads(text)["data"]["alerts"] if text else []
            return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

        wait_for(connections)
        wait_for(crashes)
        wait_for(messages)
        assert wait_for(firing) == {"ChannelsCrashes"}
        os.kill(int(processes.pop()), signal.SIGKILL)

        def fewer():
            left = value(f'channels_connections{{consumer="{ECHO}"}}')
            return left is not None and left < opened

        wait_for(fewer)
    clients.close()
