"""Worker processes of tasks, and a real broker: what was enqueued is done, whatever happens."""

import json
import random
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import redis

from channels.contrib.tasks.compat import task_backends
from tests.brokers import Broker, running
from tests.conformance.tasks import jobs
from tests.unit.management.project import Project

pytestmark = pytest.mark.server

DEADLINE = 60.0
OPTIONS = {"lease": 1.0, "backoff": [0, 0.05]}

SETTINGS = """
INSTALLED_APPS = ["channels", "channels.contrib.tasks"]
USE_TZ = True
CHANNEL_LAYERS = {layers!r}
TASKS = {tasks!r}
"""


@pytest.fixture(scope="module")
def broker():
    with running("valkey", "--appendonly", "yes", "--appendfsync", "always") as broker:
        yield broker


@pytest.fixture
def project(tmp_path, broker, settings):
    """A project, whose tasks are those of the tests."""
    broker.start() if broker.process is None else broker.cli("FLUSHALL")
    return configure(Project(tmp_path), settings, broker)


def configure(project, settings, broker, backend="RedisChannelLayer", **options):
    """Let the project, and this process, have tasks."""
    path = f"channels.layers.redis.{backend}"
    layers = {"default": {"BACKEND": path, "CONFIG": {"hosts": [broker.url]}}}
    tasks = {
        "default": {
            "BACKEND": "channels.contrib.tasks.ChannelsBackend",
            "OPTIONS": OPTIONS | options,
        }
    }
    project.append("mysite/settings.py", SETTINGS.format(layers=layers, tasks=tasks))
    settings.CHANNEL_LAYERS, settings.TASKS = layers, tasks
    return project


def work(project, *arguments):
    return project.start("runtasks", *arguments)


def wait_for(condition, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return value


def finished(result):
    result.refresh()
    return result.is_finished
