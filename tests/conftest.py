"""What holds for every test."""

import pytest

from channels._runtime import lograte


@pytest.fixture(autouse=True)
def log_rates():
    """No test has used up the lines in the log that the next one looks for."""
    lograte.reset()
