"""What says that an optional package is missing, and how to get it."""

import importlib
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("name", "package"),
    [("opentelemetry", "opentelemetry.sdk.trace"), ("sentry", "sentry_sdk")],
)
def test_the_extra_is_named(name, package, monkeypatch):
    below = f"channels.contrib.{name}"
    for module in [each for each in sys.modules if each.startswith(below)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImproperlyConfigured, match=rf'pip install "channels\[{name}\]"'):
        importlib.import_module(f"{below}.instrumentation")
