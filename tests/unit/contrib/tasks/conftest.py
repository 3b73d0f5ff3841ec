"""A backend in memory, for tests that need one."""

import pytest

from channels.contrib.tasks.compat import task_backends
from tests.conformance.tasks import jobs


@pytest.fixture
def use(settings):
    """Configure the backend, and return it."""

    def use(**options):
        settings.CHANNEL_LAYERS = {
            "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
            "strange": {"BACKEND": "tests.unit.contrib.tasks.conftest.StrangeLayer"},
        }
        settings.TASKS = {
            "default": {
                "BACKEND": "channels.contrib.tasks.ChannelsBackend",
                "OPTIONS": {"backoff": (0, 0.01), "autostart": False} | options,
            }
        }
        return task_backends["default"]

    jobs.ran.clear()
    jobs.release.clear()
    yield use
    jobs.release.set()


class StrangeLayer:
    """Of a project."""
