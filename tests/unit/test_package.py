"""What the package itself is, as other packages look at it."""

import importlib.util
import re
import subprocess
import sys
from importlib.resources import files

import pytest
from django.apps import apps

import channels


def test_version_as_packages_parse_it():
    assert int(channels.__version__.split(".")[0]) >= 3
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|(a|b|rc)\d+)?", channels.__version__)


def test_default_alias():
    assert channels.DEFAULT_CHANNEL_LAYER == "default"


def test_app():
    assert apps.get_app_config("channels").name == "channels"


def test_it_is_typed():
    assert files("channels").joinpath("py.typed").is_file()


def test_it_is_not_channels_2():
    assert importlib.util.find_spec("channels.http") is None


@pytest.mark.parametrize(
    "module",
    [
        "channels",
        "channels.close_codes",
        "channels.consumer",
        "channels.db",
        "channels.exceptions",
        "channels.fallback",
        "channels.generic.http",
        "channels.generic.longpoll",
        "channels.generic.sse",
        "channels.generic.websocket",
        "channels.layers",
        "channels.routing",
        "channels.signals",
        "channels.views",
    ],
)
def test_modules_import_before_settings_are_there(module):
    """An ``asgi.py`` may import them ahead of ``django.setup()``."""
    code = f"import {module}; from django.conf import settings; assert not settings.configured"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        timeout=30,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
