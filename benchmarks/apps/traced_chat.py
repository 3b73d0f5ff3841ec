"""The chat of ``django_chat``, of which one trace in a hundred is kept, and goes nowhere."""

from django_chat import application
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

__all__ = ["application"]


class Nowhere(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS


provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.01)))
provider.add_span_processor(BatchSpanProcessor(Nowhere()))
trace.set_tracer_provider(provider)
