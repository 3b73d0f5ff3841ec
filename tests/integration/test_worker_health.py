"""A worker process tells how it is, while its broker stands still and comes back."""

import asyncio
import json
import os
import signal
import urllib.error
import urllib.request

import pytest

from tests.brokers import running
from tests.ports import free_port
from tests.unit.management.project import Project

pytestmark = pytest.mark.server

APPLICATION = """
from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from channels.worker import Worker, health

Worker.health_interval, health._TIMEOUT = 0.05, 0.5  # seconds; they would be 5 and 2
application = ProtocolTypeRouter({"channel": ChannelNameRouter({"jobs": AsyncConsumer.as_asgi()})})
"""


def ask(port):
    """The status, and what is said."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return None, {}


async def becomes(port, status):
    async with asyncio.timeout(30):
        while (found := await asyncio.to_thread(ask, port))[0] != status:
            await asyncio.sleep(0.02)
    return found[1]


@pytest.mark.parametrize(
    "kind",
    [
        "core.RedisChannelLayer",
        pytest.param("pubsub.RedisPubSubChannelLayer", marks=pytest.mark.slow),
    ],
)
async def test_a_broker_that_stands_still_and_goes_on(tmp_path, kind):
    with running("valkey") as broker:
        project, port, alive = Project(tmp_path), free_port(), tmp_path / "alive"
        project.write("mysite/asgi.py", APPLICATION)
        config = {"BACKEND": f"channels_redis.{kind}", "CONFIG": {"hosts": [broker.url]}}
        project.append("mysite/settings.py", f"CHANNEL_LAYERS = {{'default': {config!r}}}")
        with project.manage(
            "runworker", "jobs", f"--health-port={port}", f"--health-file={alive}"
        ) as worker:
            await becomes(port, 200)
            broker.pause()
            told = await becomes(port, 503)
            assert not told["checks"]["broker"]["ok"]
            os.utime(alive, (0, 0))
            await becomes(port, 503)
            assert alive.stat().st_mtime == 0
            broker.resume()
            await becomes(port, 200)
            assert alive.stat().st_mtime > 0
            worker.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait) == 0
            assert not alive.exists()
            assert "The worker is not well: broker: " in worker.output
