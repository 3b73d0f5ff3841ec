import pytest

from channels._runtime.servers import base


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """What the log has been told of servers that are not as expected: nothing yet."""
    monkeypatch.setattr(base, "_told", set())
