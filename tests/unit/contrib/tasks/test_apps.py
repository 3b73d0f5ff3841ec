"""The Django application, and where Django's tasks come from."""

import subprocess
import sys

from django.apps.config import AppConfig

import channels.contrib.tasks
from channels.contrib.tasks import compat

WITHOUT = """
import sys
sys.modules["django_tasks"] = None
import django
django.VERSION = (5, 2, 0, "final", 0)
import channels.contrib.tasks
"""


def test_the_application_has_a_label_of_its_own():
    config = AppConfig.create("channels.contrib.tasks")
    assert config.label == "channels_tasks"


def test_every_public_name_is_there():
    for module in (channels.contrib.tasks, compat):
        for name in module.__all__:
            assert getattr(module, name)


def test_what_is_missing_is_named():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], check=False, capture_output=True, text=True, timeout=30
    )
    assert 'pip install "channels[tasks]"' in done.stderr
    assert "ImproperlyConfigured" in done.stderr
