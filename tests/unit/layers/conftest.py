"""A clock that tests set, threads that take turns often, drops as listeners hear of them."""

import sys

import pytest

from channels import signals

from .helpers import Clock


@pytest.fixture
def clock(monkeypatch):
    return Clock.install(monkeypatch.setattr)


@pytest.fixture
def restless():
    """Threads take turns as often as they can, so that races come out."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def drops():
    """What the signal ``message_dropped`` told: (channel, reason, count)."""
    heard = []

    def hear(layer, channel, reason, count, **kwargs):
        heard.append((channel, reason, count))

    signals.message_dropped.connect(hear)
    yield heard
    signals.message_dropped.disconnect(hear)
