"""The Django application, and the public names."""

from django.apps.config import AppConfig

import channels.contrib.tasks


def test_the_application_has_a_label_of_its_own():
    config = AppConfig.create("channels.contrib.tasks")
    assert config.label == "channels_tasks"


def test_every_public_name_is_there():
    for name in channels.contrib.tasks.__all__:
        assert getattr(channels.contrib.tasks, name)
