"""What holds for every test."""

import pytest
from hypothesis import settings

from channels._runtime import lograte

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def log_rates():
    """No test has used up the lines in the log that the next one looks for."""
    lograte.reset()
