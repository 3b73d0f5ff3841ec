"""The files for Compose and Kubernetes. No container runs here, but every command in them does."""

import asyncio
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from channels_redis.core import RedisChannelLayer
from tests.brokers import Broker, running
from tests.ports import free_port
from tests.processes import environment

from .clients import Client, all_are_told, clients_of_all, until
from .guide import DOCS, EXAMPLE, shown
from .harness import DRAIN_DEADLINE, PROJECT, Deployed, check_stop
from .nginx import Nginx, with_servers

pytestmark = pytest.mark.server

COMPOSE: dict[str, Any] = yaml.safe_load(shown("compose.yaml"))
SERVICES: dict[str, Any] = COMPOSE["services"]
WEB = ("web1", "web2")
PORT = "8001"
GUIDE = (DOCS / "deploy-redis.md").read_text("utf-8")


def option(words: list[str], name: str) -> str:
    (found,) = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return found


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def address(service: str) -> str:
    return str(SERVICES[service]["networks"]["default"]["ipv4_address"])


def dockerfile(instruction: str) -> str:
    text = shown("Dockerfile").replace("\\\n", " ")
    (found,) = re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)
    return str(found)


class TestCompose:
    """The parts of the file, one at a time."""

    def test_the_server_takes_its_options_and_does_what_the_guide_says(self) -> None:
        command, *options = shlex.split(SERVICES["valkey"]["command"])
        assert command == "valkey-server"
        assert f"$ {shlex.join([command, *options])}\n" in GUIDE
        with running("valkey", *options) as broker, broker.client() as client:
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("maxmemory") == {"maxmemory": str(256 << 20)}

    def test_what_it_keeps_is_kept_in_a_volume(self) -> None:
        assert SERVICES["valkey"]["volumes"] == ["valkey:/data"]
        assert "valkey" in COMPOSE["volumes"]

    def test_only_nginx_can_be_reached_from_outside(self) -> None:
        assert {name for name, service in SERVICES.items() if "ports" in service} == {"nginx"}
        assert SERVICES["nginx"]["ports"] == ["80:80"]
        assert "listen 80;" in shown("nginx.conf")

    def test_nginx_finds_the_processes_and_is_believed(self) -> None:
        mounted = [volume.split(":")[:2] for volume in SERVICES["nginx"]["volumes"]]
        assert mounted == [["./nginx.conf", "/etc/nginx/conf.d/default.conf"]]
        (config,) = SERVICES["nginx"]["configs"]
        assert config["target"] == "/etc/nginx/conf.d/upstream.conf"
        upstream = COMPOSE["configs"][config["source"]]["content"]
        servers = [f"{address(service)}:{PORT}" for service in WEB]
        others = with_servers(shown("upstream.conf"), servers)
        assert upstream.split() == others[others.index("upstream mysite") :].split()
        (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
        assert all(address(service).startswith("172.30.0.") for service in WEB)
        for service in WEB:
            allowed = option(SERVICES[service]["command"], "--forwarded-allow-ips")
            assert allowed == network["subnet"] == "172.30.0.0/24"

    def test_settings_read_what_the_environment_gives(self) -> None:
        environments = [SERVICES[service]["environment"] for service in (*WEB, "worker")]
        assert all(given == environments[0] for given in environments)
        assert environments[0]["REDIS_URL"] == "redis://valkey:6379/0"
        RedisChannelLayer(hosts=[environments[0]["REDIS_URL"]])
        read = set(re.findall(r'os\.environ\.get\("(\w+)"', GUIDE))
        assert read == set(environments[0]) - {"SECRET_KEY"}

    def test_processes_wait_for_the_server_and_have_time_to_end(self) -> None:
        assert "healthcheck" in SERVICES["valkey"]
        for name in (*WEB, "worker"):
            needs = SERVICES[name]["depends_on"]["valkey"]
            assert needs == {"condition": "service_healthy"}
            graceful = option(SERVICES["web1"]["command"], "--timeout-graceful-shutdown")
            grace = seconds(SERVICES[name]["stop_grace_period"])
            assert grace > DRAIN_DEADLINE + float(graceful)

    def test_the_dockerfile_has_the_same_port(self) -> None:
        assert dockerfile("EXPOSE") == PORT
        for words in (SERVICES["web1"]["command"], yaml.safe_load(dockerfile("CMD"))):
            assert words[:4] == ["python", "-m", "uvicorn", "mysite.asgi:application"]
            assert option(words, "--port") == PORT
            assert option(words, "--host") == "0.0.0.0"


@contextmanager
def container(words: list[str], folder: Path, broker: Broker, port: int = 0) -> Iterator[Deployed]:
    """What a container of the project runs, in the environment that Compose gives it."""
    folder.mkdir()
    words = [
        word.replace("0.0.0.0", "127.0.0.1").replace(PORT, str(port))
        for word in words
        if "--forwarded-allow-ips" not in word  # a network that is not here
    ]
    env = {"CHANNEL_KEYS": "a long random text", "SECRET_KEY": "another long random text"}
    process = Deployed(words, folder=folder, broker=broker, address=port, env=env)
    try:
        process.start(wait=bool(port))
        yield process
    finally:
        process.kill()


def healthcheck(service: str, process: Deployed) -> subprocess.CompletedProcess[str]:
    kind, *words = SERVICES[service]["healthcheck"]["test"]
    assert (kind, words[0]) == ("CMD", "python")
    words = [word.replace(PORT, str(process.address)) for word in words]
    return subprocess.run(
        [process.words[0], *words[1:]],
        cwd=PROJECT,
        env=environment(**process.env),
        capture_output=True,
        text=True,
        timeout=seconds(SERVICES[service]["healthcheck"]["timeout"]) * 6,
        check=False,
    )


ALIVE = "/tmp/worker.alive"


def is_alive(file: str) -> bool:
    """What the worker's health check finds of this file."""
    kind, words = SERVICES["worker"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert ALIVE in words
    words = words.replace("$$", "$").replace(ALIVE, file)
    shell = ["/bin/sh", "-c", words]
    return subprocess.run(shell, check=False, capture_output=True, timeout=30).returncode == 0


async def test_the_containers_work_together(tmp_path: Path, broker: Broker, nginx: str) -> None:
    alive = str(tmp_path / "alive")
    work = [word.replace(ALIVE, alive) for word in SERVICES["worker"]["command"]]
    with (
        container(SERVICES["web1"]["command"], tmp_path / "1", broker, free_port()) as one,
        container(SERVICES["web2"]["command"], tmp_path / "2", broker, free_port()) as two,
        container(work, tmp_path / "worker", broker) as worker,
    ):
        servers = [f"127.0.0.1:{process.address}" for process in (one, two)]
        with Nginx(nginx, tmp_path / "nginx", free_port(), servers) as proxy:
            healthy = await asyncio.to_thread(healthcheck, "web1", one)
            assert healthy.returncode == 0, healthy.stderr
            clients = await clients_of_all(lambda: Client.connect(proxy.url), 2)
            await all_are_told(clients, {"n": 1})

            layer = RedisChannelLayer(
                hosts=[broker.url], symmetric_encryption_keys=["a long random text"]
            )
            await layer.send("thumbnails", {"type": "make", "name": "sunset"})
            await until(
                lambda: all("sunset" in client.told for client in clients), "the worker works", 30
            )
            await layer.aclose()

            assert is_alive(alive)
            os.utime(alive, (0, 0))
            assert not is_alive(alive)
            assert await asyncio.to_thread(worker.stop) == 0
            assert not is_alive(alive)
            assert "Traceback" not in worker.output
            for process in (one, two):
                own = [client for client in clients if client.pid == process.process.pid]
                await check_stop(process, own, broker, lifespan=1, alone=process is two)
            sick = await asyncio.to_thread(healthcheck, "web1", one)
            assert sick.returncode == 1


async def test_the_image_runs_without_compose(tmp_path: Path, broker: Broker) -> None:
    words = yaml.safe_load(dockerfile("CMD"))
    with container(words, tmp_path / "1", broker, free_port()) as process:
        client = await Client.connect(process.url)
        await check_stop(process, [client], broker, lifespan=1)


def test_kubernetes_says_what_the_guides_say() -> None:
    template = yaml.safe_load(shown("kubernetes.yaml"))["spec"]["template"]
    (web,) = template["spec"]["containers"]
    compose = SERVICES["web1"]["command"]
    assert web["command"][:-1] == compose[:-1]
    assert web["command"][-1] == "--forwarded-allow-ips=*"
    port = int(option(web["command"], "--port"))
    assert web["ports"] == [{"containerPort": port}]
    for probe, path in {"startup": "healthz", "liveness": "healthz", "readiness": "readyz"}.items():
        assert web[f"{probe}Probe"]["httpGet"] == {"path": f"/{path}", "port": port}
        assert web[f"{probe}Probe"]["timeoutSeconds"] == 3
    before, pause = web["lifecycle"]["preStop"]["exec"]["command"]
    graceful = float(option(web["command"], "--timeout-graceful-shutdown"))
    needed = float(pause) + DRAIN_DEADLINE + graceful
    assert (before, template["spec"]["terminationGracePeriodSeconds"] > needed) == ("sleep", True)


def test_the_guides_show_every_file() -> None:
    pages = "".join(page.read_text("utf-8") for page in DOCS.glob("deploy*.md"))
    shown_files = re.findall(r"\{literalinclude\} \.\./\.\./examples/deploy/(\S+)", pages)
    assert sorted(shown_files) == sorted(path.name for path in EXAMPLE.iterdir())
