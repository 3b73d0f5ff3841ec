"""Each backend has one store, for as long as the settings stay."""

import os

import pytest

from channels.contrib.tasks.options import TaskOptions
from channels.contrib.tasks.store import forget_stores, store_for
from channels.exceptions import InvalidChannelLayerError
from channels.layers import channel_layers


def test_a_backend_keeps_its_store(use):
    backend = use()
    store = backend.store
    assert use().store is not store, "the settings have changed"
    store = backend.store
    assert store_for("default", backend.config) is store
    assert store_for("other", backend.config) is not store
    assert store_for("default", TaskOptions(capacity=5)) is not store


def test_a_layer_that_a_test_has_set_is_used(use):
    backend = use(layer="new")
    with pytest.raises(InvalidChannelLayerError, match="'new', which CHANNEL_LAYERS"):
        _ = backend.store
    channel_layers.set("new", channel_layers["default"])
    assert backend.store.is_local
    channel_layers.set("new", None)


def test_other_layers_are_refused(use):
    backend = use(layer="strange")
    with pytest.raises(InvalidChannelLayerError, match="not on StrangeLayer"):
        _ = backend.store
    (error,) = backend.check()
    assert "StrangeLayer" in error.msg


def test_a_forked_child_has_none_of_the_parents_tasks(use):
    backend = use()
    store = backend.store
    child = os.fork()
    if not child:  # pragma: no cover - in the child
        os._exit(0 if backend.store is not store else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert backend.store is store


def test_stores_can_be_forgotten(use):
    backend = use()
    store = backend.store
    forget_stores()
    assert backend.store is not store
