"""The app listens from when Django is ready."""

from django.apps import AppConfig

from channels import signals
from channels.contrib import sentry
from channels.contrib.sentry.apps import SentryConfig


def test_ready_begins_to_listen():
    before = len(signals.connection_opened.receivers), len(signals.handler_started.receivers)
    config = AppConfig.create("channels.contrib.sentry")
    assert type(config) is SentryConfig
    config.ready()
    try:
        after = len(signals.connection_opened.receivers), len(signals.handler_started.receivers)
        assert after > before
    finally:
        sentry.uninstrument()
