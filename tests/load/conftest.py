"""What the load tests share: the layers they run on, and the figures at the end of the report."""

from collections.abc import Iterator

import pytest

from tests.brokers import Broker, running


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[Broker | None]:
    """A Redis server, or None for the layer in memory."""
    if request.param == "memory":
        yield None
    else:
        with running() as broker:
            yield broker


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was measured."""
    for report in terminalreporter.getreports("passed"):
        if report.when == "call" and "tests/load/" in report.nodeid and report.user_properties:
            figures = ", ".join(f"{name}: {value:,}" for name, value in report.user_properties)
            terminalreporter.write_line(f"{report.nodeid.rpartition('/')[2]}  {figures}")
