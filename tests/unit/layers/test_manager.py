"""CHANNEL_LAYERS and the layers made from it."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.signals import setting_changed
from django.test import override_settings

from channels.exceptions import InvalidChannelLayerError
from channels.layers import (
    ChannelLayerManager,
    InMemoryChannelLayer,
    channel_layers,
    get_channel_layer,
)

MEMORY = "channels.layers.InMemoryChannelLayer"


def layers(**configs):
    return override_settings(CHANNEL_LAYERS=configs)


def test_a_layer_is_made_once_with_its_config():
    with layers(default={"BACKEND": MEMORY, "CONFIG": {"capacity": 5}}, other={"BACKEND": MEMORY}):
        layer = get_channel_layer()
        assert isinstance(layer, InMemoryChannelLayer)
        assert layer.capacity == 5
        assert get_channel_layer() is layer
        assert channel_layers["default"] is layer
        assert get_channel_layer("other") is not layer
        assert set(channel_layers.backends) == {"default", "other"}


def test_an_alias_that_is_not_configured():
    with layers(default={"BACKEND": MEMORY}):
        assert get_channel_layer("missing") is None
        assert "missing" not in channel_layers
        assert "default" in channel_layers
        with pytest.raises(KeyError):
            channel_layers["missing"]


@pytest.mark.parametrize("value", [{}, None])
def test_without_layers(value):
    with override_settings(CHANNEL_LAYERS=value):
        assert get_channel_layer() is None
        assert channel_layers.configs == {}
        assert "default" not in channel_layers


def test_without_the_setting(settings):
    del settings.CHANNEL_LAYERS
    setting_changed.send(None, setting="CHANNEL_LAYERS", value=None, enter=True)
    assert get_channel_layer() is None


def test_a_changed_setting_makes_new_layers():
    before = get_channel_layer()
    with layers(default={"BACKEND": MEMORY}):
        inside = get_channel_layer()
        assert inside is not before
        with override_settings(DEBUG=True):
            assert get_channel_layer() is inside
    assert get_channel_layer() is not inside


def test_set_replaces_and_returns_the_old_one():
    with layers(default={"BACKEND": MEMORY}):
        assert channel_layers.set("default", "first") is None
        assert channel_layers.set("default", "second") == "first"
        assert get_channel_layer() == "second"
        channel_layers.set("unconfigured", "third")
        assert get_channel_layer("unconfigured") == "third"


def test_set_with_what_it_returned_restores_what_was():
    with layers(default={"BACKEND": MEMORY, "CONFIG": {"capacity": 5}}):
        old = channel_layers.set("default", "other")
        assert channel_layers.set("default", old) == "other"
        assert get_channel_layer().capacity == 5


def test_a_test_backend_takes_the_test_config():
    entry = {"BACKEND": MEMORY, "CONFIG": {"capacity": 5}, "TEST_CONFIG": {"capacity": 2}}
    with layers(default=entry):
        assert channel_layers.make_test_backend("default").capacity == 2
        assert channel_layers.make_backend("default").capacity == 5
        assert channel_layers.backends == {}


def test_a_test_backend_needs_a_test_config():
    with layers(default={"BACKEND": MEMORY}):
        for alias in ("default", "missing"):
            with pytest.raises(InvalidChannelLayerError, match=f"No TEST_CONFIG.* {alias}"):
                channel_layers.make_test_backend(alias)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"BACKEND": MEMORY, "ROUTING": "project.routing"}, "ROUTING key found for default"),
        ({}, "No BACKEND specified for default; write CHANNEL_LAYERS"),
        (MEMORY, "must be a dict such as .* not of type str"),
        ({"BACKEND": MEMORY, "CONFIG": None}, "CONFIG of CHANNEL_LAYERS.* not of type NoneType"),
        ({"BACKEND": "no.such.module.Layer"}, "Cannot import BACKEND 'no.such.module.Layer'"),
        ({"BACKEND": "channels.layers.NoLayer"}, "Cannot import BACKEND"),
        ({"BACKEND": "nodots"}, "Cannot import BACKEND 'nodots'"),
    ],
)
def test_an_entry_that_makes_no_layer(entry, complaint):
    with layers(default=entry):
        for _ in range(2):  # nothing half made is kept
            with pytest.raises(InvalidChannelLayerError, match=complaint) as caught:
                get_channel_layer()
            assert isinstance(caught.value, ValueError)
        assert channel_layers.backends == {}


class SlowLayer:
    """Takes long enough to be made for others to come along."""

    made = 0
    go = threading.Event()

    def __init__(self):
        type(self).made += 1
        self.go.wait(5)


def test_threads_that_ask_at_once_get_one_layer():
    path = f"{__name__}.SlowLayer"
    with layers(default={"BACKEND": path}), ThreadPoolExecutor(8) as pool:
        # The module may be imported again under its dotted name; look at the class that is used.
        from django.utils.module_loading import import_string

        slow = import_string(path)
        found = [pool.submit(get_channel_layer) for _ in range(8)]
        slow.go.set()
        assert len({id(future.result()) for future in found}) == 1
        assert slow.made == 1


def test_a_manager_of_ones_own_is_not_kept_alive():
    manager = ChannelLayerManager()
    reference = weakref.ref(manager)
    del manager
    gc.collect()
    assert reference() is None


class Demanding(InMemoryChannelLayer):
    def __init__(self, **config):
        super().__init__()
        self.database = config["database"]


@pytest.mark.parametrize(
    ("backend", "error"), [(MEMORY, InvalidChannelLayerError), (f"{__name__}.Demanding", KeyError)]
)
def test_what_a_layer_says_of_its_options_tells_where_they_stand(backend, error):
    entry = {"BACKEND": backend, "CONFIG": {"capacity": "ten"}}
    with layers(default=entry), pytest.raises(error) as raised:
        get_channel_layer()
    (note,) = raised.value.__notes__
    assert note == f"CONFIG of CHANNEL_LAYERS['default'] does not fit {backend}: correct it"


def test_layers_that_are_no_dict():
    with (
        override_settings(CHANNEL_LAYERS=["redis://:secret@host"]),
        pytest.raises(InvalidChannelLayerError, match="must be a dict such as") as raised,
    ):
        get_channel_layer()
    assert "secret" not in str(raised.value)
