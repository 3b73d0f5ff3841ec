import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.contrib.admin.routing import live_path, live_route
from channels.security.websocket import AllowedHostsOriginValidator


def test_the_route_is_where_the_setting_says(settings):
    assert str(live_route().pattern) == "channels/live/"
    settings.CHANNELS_LIVE_PATH = "/ws/live/"
    assert live_path() == "ws/live/"
    assert isinstance(live_route().callback, AllowedHostsOriginValidator)


@pytest.mark.parametrize("value", ["", "/", 7, None, "ws/<str:name>/", "ws?x"])
def test_what_is_no_path_is_refused(settings, value):
    settings.CHANNELS_LIVE_PATH = value
    with pytest.raises(ImproperlyConfigured, match="Write one such as 'channels/live/'"):
        live_path()
