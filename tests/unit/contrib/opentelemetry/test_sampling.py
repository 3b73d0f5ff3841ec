"""Spans without a parent, with samplers and tracers of others."""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

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
