"""The browser client, as a project finds it. What it does is in tests/client."""

import gzip
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

SCRIPTS = ["channels/channels.js", "channels/channels.mjs"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_found_once_channels_is_installed(script, settings):
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
    finders.get_finder.cache_clear()
    path = finders.find(script)
    assert path is not None
    assert Path(path).stat().st_size > 1000


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_small(script):
    here = Path(__file__).parents[2] / "src/channels/static" / script
    assert len(gzip.compress(here.read_bytes())) < 4000
