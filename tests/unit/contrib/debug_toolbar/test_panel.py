"""The panel in the toolbar, as requests of Django's clients show it."""

import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.test import AsyncClient, Client, override_settings

from channels.contrib.debug_toolbar import ChannelLayersPanel
from channels.contrib.debug_toolbar import panel as panel_module
from channels.layers import channel_layers
from tests import settings as base

SETTINGS: dict[str, Any] = {
    "ROOT_URLCONF": "tests.unit.contrib.debug_toolbar.site",
    "MIDDLEWARE": ["debug_toolbar.middleware.DebugToolbarMiddleware"],
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    "STATIC_URL": "/static/",
    "CHANNEL_LAYERS": {
        "default": {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            "CONFIG": {"channel_capacity": {"tiny": 1}},
        },
        "broken": {"BACKEND": "nowhere.Layer"},
    },
}


TOOLBAR: dict[str, Any] = {
    "DEBUG_TOOLBAR_PANELS": ["channels.contrib.debug_toolbar.ChannelLayersPanel"],
    "DEBUG_TOOLBAR_CONFIG": {"SHOW_TOOLBAR_CALLBACK": lambda request: True},
}
APPS = [*base.INSTALLED_APPS, "django.contrib.staticfiles", "debug_toolbar"]


@pytest.fixture(autouse=True)
def toolbar(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # An app that is installed looks at the other settings at once; and a change of the toolbar's
    # own would be heard by the app before it is installed.
    for name, value in TOOLBAR.items():
        monkeypatch.setattr(settings, name, value, raising=False)
    with override_settings(**SETTINGS), override_settings(INSTALLED_APPS=APPS):
        from debug_toolbar.toolbar import DebugToolbar

        DebugToolbar._panel_classes = None
        yield
        DebugToolbar._panel_classes = None


def panel(client: Client, response: Any) -> str:
    """What the panel shows of the request which was answered with ``response``."""
    request_id = re.search(r'data-request-id="(\w+)"', response.text)
    assert request_id is not None
    asked = {"request_id": request_id[1], "panel_id": ChannelLayersPanel.panel_id}
    shown = client.get("/__debug__/render_panel/", asked)
    content: str = json.loads(shown.content)["content"]
    return content


@pytest.mark.parametrize("view", ["bridged", "converted", "awaited"])
def test_calls_of_a_sync_handler_are_listed_with_the_line_of_the_project(view: str) -> None:
    client = Client()
    response = client.get(f"/{view}/")
    assert "1 call in" in response.text
    assert "ChannelLayersPanel_total_time" in response.headers["Server-Timing"]
    shown = panel(client, response)
    assert "<td>lobby</td>" in shown
    assert "chat.message" in shown
    assert "InMemoryChannelLayer" in shown
    assert "site.py" in shown
    assert f'<span class="djdt-func">{view}</span>' in shown


@pytest.mark.parametrize("view", ["bridged", "converted", "awaited"])
async def test_calls_under_asgi_are_listed_with_the_line_of_the_project(view: str) -> None:
    response = await AsyncClient().get(f"/{view}/")
    shown = panel(Client(), response)
    assert "<td>lobby</td>" in shown
    assert f'<span class="djdt-func">{view}</span>' in shown


def test_messages_are_escaped_and_hide_secrets() -> None:
    client = Client()
    shown = panel(client, client.get("/awaited/"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>alert" not in shown
    assert "pa55word" not in shown


def test_what_a_call_raised_is_shown() -> None:
    client = Client()
    response = client.get("/full/")
    assert "2 calls in" in response.text
    assert "<strong>ChannelFull: " in panel(client, response)


def test_more_calls_than_are_listed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    make = panel_module.Recorder
    monkeypatch.setattr(panel_module, "Recorder", lambda locate: make(locate, limit=2))
    client = Client()
    response = client.get("/many/")
    assert "3 calls in" in response.text
    shown = panel(client, response)
    assert "1 more calls are not listed" in shown
    assert "a" * 3000 not in shown
    assert "..." in shown


def test_a_request_without_calls_says_so() -> None:
    client = Client()
    response = client.get("/none/")
    assert "0 calls in" in response.text
    assert "no calls of channel layers" in panel(client, response)


def test_without_stack_traces_calls_are_listed_all_the_same() -> None:
    config = {**TOOLBAR["DEBUG_TOOLBAR_CONFIG"], "ENABLE_STACKTRACES": False}
    with override_settings(DEBUG_TOOLBAR_CONFIG=config):
        client = Client()
        assert "<td>lobby</td>" in panel(client, client.get("/bridged/"))


def test_a_switched_off_panel_records_nothing() -> None:
    client = Client()
    client.cookies["djdtChannelLayersPanel"] = "off"
    response = client.get("/awaited/")
    assert "1 call in" not in response.text
    assert response.status_code == 200


async def test_what_goes_on_after_the_response_is_not_recorded() -> None:
    await AsyncClient().get("/awaited/")
    sending = channel_layers["default"].group_send("lobby", {"type": "x"})
    assert await sending is None, "it is sent as by any other code"


@pytest.mark.parametrize(
    ("installed", "problems"), [(True, []), (False, ["channels.debug_toolbar.W001"])]
)
def test_the_app_must_be_installed(
    installed: bool, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_installed: Callable[[str], bool] = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda name: is_installed(name) and installed)
    assert [check.id for check in ChannelLayersPanel.run_checks()] == problems


def test_neighbours_of_the_package_are_the_projects() -> None:
    assert all(package.endswith(os.sep) for package in panel_module._PACKAGES)


def test_without_the_toolbar_an_import_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "debug_toolbar", None)
    monkeypatch.delitem(sys.modules, "channels.contrib.debug_toolbar")
    with pytest.raises(ImportError, match="pip install django-debug-toolbar"):
        importlib.import_module("channels.contrib.debug_toolbar")
