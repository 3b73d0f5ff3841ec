"""The app listens from when Django is ready."""

from django.apps import AppConfig

from channels import signals
from channels.contrib import opentelemetry
from channels.contrib.opentelemetry.apps import OpenTelemetryConfig


def test_ready_begins_to_listen():
    before = len(signals.connection_opened.receivers), len(signals.handshake_finished.receivers)
    config = AppConfig.create("channels.contrib.opentelemetry")
    assert type(config) is OpenTelemetryConfig
    config.ready()
    try:
        after = len(signals.connection_opened.receivers), len(signals.handshake_finished.receivers)
        assert after > before
    finally:
        opentelemetry.uninstrument()
