"""Buckets that processes share: what a process keeps of them."""

from channels._runtime.buckets import Buckets
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.security.limits import shared
from channels.security.limits.rates import Rate


async def test_what_was_taken_and_not_used_is_forgotten_for_the_keys_used_longest_ago(monkeypatch):
    monkeypatch.setattr(shared, "MOST", 2)
    layer = InMemoryChannelLayer()
    former = channel_layers.set("default", layer)
    try:
        store = shared.SharedStore("default", Buckets())
        rate = Rate(1, seconds=1000, burst=100)
        for key in ("a", "b", "c"):
            assert await store.take(key, rate, 1.0, exact=False) == 0
        assert [store.has(key, 1.0) for key in ("a", "b", "c")] == [False, True, True]
    finally:
        channel_layers.set("default", former)
