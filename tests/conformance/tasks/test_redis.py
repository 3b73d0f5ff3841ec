"""Tasks on Redis and Valkey keep every promise."""

import re
from pathlib import Path

import pytest

from tests.brokers import running
from tests.topologies.harness import access_rules

from .laws import TaskLaws

pytestmark = pytest.mark.server


@pytest.fixture(
    scope="module", params=["valkey", pytest.param("redis-6.2", marks=pytest.mark.slow)]
)
def broker(request):
    with running(request.param) as broker:
        yield broker


class TestTasksOnStreams(TaskLaws):
    @pytest.fixture
    def layers(self, broker):
        broker.cli("FLUSHALL")
        config = {"hosts": [broker.url]}
        return {"default": {"BACKEND": "channels.layers.redis.RedisChannelLayer", "CONFIG": config}}


@pytest.mark.slow
class TestTasksWithFewRights(TaskLaws):
    """A user with the rights that the documentation names, and no others."""

    @pytest.fixture
    def layers(self, broker):
        broker.cli("FLUSHALL")
        page = (Path(__file__).parents[3] / "docs/reference/tasks.md").read_text("utf-8")
        (ours,) = re.findall(r"```text\n(ACL SETUSER channels [^`]+)```", page)
        for rule in (access_rules()[0], ours):
            words = rule.split()
            if broker.cli("INFO", "server")["redis_version"].startswith("6"):
                words = [word for word in words if "client|setinfo" not in word]
            broker.cli(*words)
        url = broker.url.replace("//", "//channels:secret@")
        config = {"hosts": [url]}
        return {"default": {"BACKEND": "channels.layers.redis.RedisChannelLayer", "CONFIG": config}}
