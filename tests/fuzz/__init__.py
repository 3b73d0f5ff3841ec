"""Property tests of what clients can reach: many cases when asked for, few in CI."""

import os

from hypothesis import HealthCheck, settings

__all__ = ["CASES", "fuzz"]

#: Examples for each test.
CASES = int(os.environ.get("FUZZ_CASES", "200"))

fuzz = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
