"""Spans without a parent, with samplers and tracers of others."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from channels.contrib.opentelemetry import sampling
from channels.contrib.opentelemetry.contexts import from_text
from channels.contrib.opentelemetry.sampling import Roots


def test_a_tracer_of_others_is_asked_for_every_span():
    asked = []

    class Other(trace.NoOpTracer):
        def start_span(self, name, *args, **options):
            asked.append(name)
            return super().start_span(name, *args, **options)

    Roots(Other()).start_drawn("x", kind=trace.SpanKind.SERVER, attributes={}, links=None)
    assert asked == ["x"]


def test_a_generator_of_ids_keeps_what_others_ask_of_it():
    class Ids(RandomIdGenerator):
        region = "eu"

    provider = TracerProvider(sampler=TraceIdRatioBased(1.0), id_generator=Ids())
    tracer = provider.get_tracer("channels")
    span = Roots(tracer).start_drawn("x", kind=trace.SpanKind.SERVER, attributes={}, links=None)
    assert span.is_recording()
    assert tracer.id_generator.region == "eu"


def test_a_text_without_a_context_gives_none():
    assert from_text("{}") is None
    assert from_text('{"other": "x"}') is None


@pytest.mark.parametrize(("trace_id", "sampled"), [(1, True), (2**64 - 1, False)])
def test_ids_of_other_generators_are_looked_at_as_the_sampler_does(trace_id, sampled):
    class Ids(RandomIdGenerator):
        def generate_trace_id(self):
            return trace_id

    provider = TracerProvider(sampler=TraceIdRatioBased(0.5), id_generator=Ids())
    assert Roots(provider.get_tracer("channels")).draw() is sampled


def test_a_draw_decides_as_the_sampler_does_down_to_the_last_bit(monkeypatch):
    drawn = []
    monkeypatch.setattr(sampling, "getrandbits", lambda bits: drawn.pop())
    roots = Roots(TracerProvider(sampler=TraceIdRatioBased(0.5)).get_tracer("channels"))
    half = 2**31
    for upper, lower, sampled in [(half, 0, False), (half - 1, 2**32 - 1, True), (half, 5, False)]:
        drawn[:] = [7, lower, upper]
        assert roots.draw() is sampled
    drawn[:] = [0, 0, 0]
    assert roots.draw()  # all zeros are no ID: the SDK makes another one
