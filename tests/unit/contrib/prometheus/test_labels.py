"""Whatever a label's value is made of, it can be written, and there are few of them."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from channels._runtime.tallies import Tally
from channels.contrib.prometheus.client import CollectorRegistry, Counter
from channels.contrib.prometheus.labels import OTHER, Bounded, consumer_name


class Consumer:
    class Inner:
        pass


def test_the_first_values_are_told_apart():
    bounded = Bounded(2)
    assert [bounded(each) for each in ("a", 1000, "b", "a", None)] == [
        "a", "1000", OTHER, "a", OTHER,
    ]  # fmt: skip


def test_classes_are_named_with_their_module():
    assert consumer_name(Consumer.Inner) == f"{__name__}.Consumer.Inner"


@given(st.lists(st.one_of(st.text(st.characters()), st.integers(), st.none(), st.binary())))
def test_hostile_values_make_no_more_series(values):
    registry = CollectorRegistry()
    counter = Counter("c", "c", ["label"], registry=registry)
    bounded = Bounded(3)
    for each in [*values, "\ud800", "x" * 10_000, 'quo"te\n\\']:
        counter.labels(bounded(each)).inc()
    text = generate_latest(registry).decode()
    assert text.count("c_total{") <= 4


@given(st.lists(st.text(st.characters()), max_size=300))
def test_hostile_types_make_no_more_series(types):
    tally = Tally()
    for each in types:
        tally.latency_of(each).observe(0.1)
    assert len(tally.handlers) <= 51
    assert sum(sum(latency.counts) for latency in tally.handlers.values()) == len(types)
