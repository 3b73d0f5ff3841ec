"""The metrics follow what the framework counts."""

from channels._runtime import tallies
from channels.contrib.prometheus import mirror as module
from channels.layers import channel_layers


class Consumer:
    pass


def test_only_what_is_new_is_added(listener, value):
    tally = tallies.tally_of(Consumer())
    name = f"{__name__}.Consumer"
    tally.received += 3
    tally.latency_of("a.b\ud800").observe(0.2)
    labels = {"consumer": name, "message_type": "a.b\\ud800"}
    for _ in range(2):
        assert value("messages_received_total", consumer=name) == 3
        assert value("handler_seconds_count", **labels) == 1
    tally.received += 2
    tally.latency_of("a_b\ud800").observe(20)
    assert value("messages_received_total", consumer=name) == 5
    assert value("handler_seconds_bucket", **labels, le="0.25") == 1
    assert value("handler_seconds_bucket", **labels, le="+Inf") == 2


def test_layers_of_others_are_passed_over(value):
    class Layer:
        statistics = "their own"

    old = channel_layers.set("theirs", Layer())
    try:
        assert value("layer_messages_pending", layer="theirs") is None
    finally:
        channel_layers.set("theirs", old)


def test_a_pool_that_cannot_be_made_is_no_failure(value, settings, listener):
    module.pool.cache_clear()
    settings.CHANNELS_SYNC_THREADS = "many"
    assert value("draining") == 0
    module.pool.cache_clear()


def test_a_forked_child_has_a_lock_of_its_own(listener):
    before = listener.mirror._lock
    listener.mirror._renew_lock()
    assert listener.mirror._lock is not before
