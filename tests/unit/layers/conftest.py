"""A clock that tests set, and drops as listeners hear of them."""

import pytest

from channels import signals

from .helpers import Clock


@pytest.fixture
def clock(monkeypatch):
    return Clock.install(monkeypatch.setattr)


@pytest.fixture
def drops():
    """What the signal ``message_dropped`` told: (channel, reason, count)."""
    heard = []

    def hear(layer, channel, reason, count, **kwargs):
        heard.append((channel, reason, count))

    signals.message_dropped.connect(hear)
    yield heard
    signals.message_dropped.disconnect(hear)
