"""Tasks on Redis and Valkey keep every promise."""

import pytest

from tests.brokers import running

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
