"""The system check: whether server processes find what workers have reported."""

import pytest

from channels.contrib.progress.checks import check_progress

HERE = f"{__package__}.helpers"
SHARED = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://x"}
LOCAL = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


def check(settings, layer, **caches):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": layer}}
    settings.CACHES = {"default": LOCAL, **caches}
    return [message.id for message in check_progress(None)]


@pytest.mark.parametrize(
    "layer",
    [
        "channels.layers.InMemoryChannelLayer",
        "channels_redis.core.RedisChannelLayer",
        "channels_redis.pubsub.RedisPubSubChannelLayer",
        "no.such.Layer",
    ],
)
def test_layers_that_keep_states_or_reach_nobody_else_need_no_cache(settings, layer):
    assert check(settings, layer) == []


def test_a_layer_without_states_needs_a_cache_that_processes_share(settings):
    layer = f"{HERE}.Stateless"
    assert check(settings, layer) == ["channels.W020"]
    assert check(settings, layer, default=SHARED) == []
    settings.CHANNELS_PROGRESS_CACHE = "shared"
    assert check(settings, layer, shared=SHARED) == []
    assert check(settings, layer) == []


def test_without_layers_there_is_nothing_to_check(settings):
    settings.CHANNEL_LAYERS = {}
    assert check_progress(None) == []
