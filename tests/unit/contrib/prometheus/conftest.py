import pytest

from channels import signals
from channels._runtime import tallies
from channels.contrib.prometheus import listening
from channels.contrib.prometheus.client import CollectorRegistry
from channels.contrib.tasks.compat import task_enqueued, task_finished

UID = "channels.contrib.prometheus"


@pytest.fixture
def listener(monkeypatch):
    """Counts into a registry of its own, until the test ends."""
    monkeypatch.delenv(listening.MULTIPROCESS, raising=False)
    monkeypatch.setattr(tallies, "tallies", {})
    monkeypatch.setattr(tallies, "counting", False)
    monkeypatch.setattr(listening, "_listener", None)
    monkeypatch.setattr(listening, "REGISTRY", CollectorRegistry())
    monkeypatch.setattr(listening.atexit, "register", lambda function: None)
    yield listening.start()
    for name in signals.__all__:
        if name != "emit":
            getattr(signals, name).disconnect(dispatch_uid=f"{UID} {name}")
    for signal in (task_enqueued, task_finished):
        signal.disconnect(dispatch_uid=UID)


@pytest.fixture
def value(listener):
    """The value of a series, or None if there is none."""

    def value(name, **labels):
        listener.mirror.refresh()
        return listener.metrics.registry.get_sample_value(f"channels_{name}", labels)

    return value
