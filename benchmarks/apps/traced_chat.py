"""The chat of ``django_chat``, of which the part BENCHMARK_KEPT of the traces goes nowhere."""

import os

from django_chat import application
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

__all__ = ["application"]


class Nowhere(SpanExporter):
    def export(self, spans):
        return SpanExportResult.SUCCESS


kept = float(os.environ["BENCHMARK_KEPT"])
provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(kept)))
provider.add_span_processor(BatchSpanProcessor(Nowhere()))
trace.set_tracer_provider(provider)
