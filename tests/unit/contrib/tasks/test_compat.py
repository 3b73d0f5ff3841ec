"""Django's tasks come from one package or the other."""

import subprocess
import sys

from channels.contrib.tasks import compat

WITHOUT = """
import sys
sys.modules["django_tasks"] = None
import django
django.VERSION = (5, 2, 0, "final", 0)
import channels.contrib.tasks
"""


def test_every_name_is_there():
    for name in compat.__all__:
        assert getattr(compat, name) is not None


def test_what_is_missing_is_named():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], check=False, capture_output=True, text=True, timeout=30
    )
    assert 'pip install "channels[tasks]"' in done.stderr
    assert "ImproperlyConfigured" in done.stderr
