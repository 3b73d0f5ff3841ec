"""The Django application, and the public names."""

from django.apps.config import AppConfig
from django.core.checks import run_checks
from django.core.checks.registry import registry
from django.test import override_settings

import channels.contrib.tasks
from channels.contrib.tasks import compat
from tests import settings as base


def test_the_application_has_a_label_of_its_own():
    config = AppConfig.create("channels.contrib.tasks")
    assert config.label == "channels_tasks"


def test_check_says_that_tasks_cannot_work_on_the_layer(settings, monkeypatch):
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels.layers.rabbitmq.RabbitMQChannelLayer"},
        "tasks": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    }
    backend = {"BACKEND": "channels.contrib.tasks.ChannelsBackend"}
    settings.TASKS = {"default": backend}
    monkeypatch.setattr(registry, "registered_checks", set())
    registry.register(compat.checks.check_tasks)
    [error] = run_checks()
    assert error.id == "channels.tasks.E001"
    assert "not on RabbitMQChannelLayer" in error.msg
    assert "name that as OPTIONS['layer']" in error.msg
    settings.TASKS = {"default": {**backend, "OPTIONS": {"layer": "tasks"}}}
    assert run_checks() == []


def test_the_application_has_the_check_registered():
    with override_settings(INSTALLED_APPS=[*base.INSTALLED_APPS, "channels.contrib.tasks"]):
        assert compat.checks.check_tasks in registry.registered_checks


def test_every_public_name_is_there():
    for name in channels.contrib.tasks.__all__:
        assert getattr(channels.contrib.tasks, name)
