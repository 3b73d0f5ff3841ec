"""Tasks in memory keep every promise."""

import pytest

from .laws import TaskLaws


class TestTasksInMemory(TaskLaws):
    @pytest.fixture
    def layers(self):
        return {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
