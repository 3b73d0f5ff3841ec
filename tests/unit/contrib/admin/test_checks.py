import pytest
from django.test import override_settings

from channels.contrib.admin import live_route
from channels.contrib.admin.checks import check_live_page
from channels.routing import ProtocolTypeRouter, URLRouter
from tests import settings as base


@pytest.fixture
def asgi(settings, monkeypatch):
    def use(application):
        monkeypatch.setattr(base, "application", application, raising=False)
        settings.ASGI_APPLICATION = "tests.settings.application"
        return [message.id for message in check_live_page(None)]

    return use


def test_a_project_with_the_route_is_told_nothing(asgi):
    assert asgi(ProtocolTypeRouter({"websocket": URLRouter([live_route()])})) == []


def test_a_project_without_the_route_is_told_what_to_write(asgi):
    assert asgi(ProtocolTypeRouter({"websocket": URLRouter([])})) == ["channels.admin.W001"]
    assert "live_route()" in str(check_live_page(None)[0].hint)


def test_a_project_without_an_application_is_told_by_another_check():
    assert check_live_page(None) == []


def test_a_path_that_is_none_is_told(settings):
    settings.CHANNELS_LIVE_PATH = ""
    assert [message.id for message in check_live_page(None)] == ["channels.admin.E002"]


def test_apps_that_the_page_needs_are_told():
    apps = ["channels", "django.contrib.auth", "django.contrib.contenttypes"]
    with override_settings(INSTALLED_APPS=apps):
        found = check_live_page(None)
    assert [(message.id, "'django.contrib.admin'" in message.msg) for message in found] == [
        ("channels.admin.E001", True)
    ]
