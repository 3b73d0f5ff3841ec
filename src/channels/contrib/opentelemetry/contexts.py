"""Contexts of traces as text that travels beside messages, in the format of the W3C."""

from collections.abc import Mapping
from functools import lru_cache

from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from channels._runtime.carried import decode, encode

__all__ = ["UNSAMPLED", "UNSAMPLED_TEXT", "UNSAMPLED_TEXTS", "from_text", "to_texts"]

_trace_context, _baggage = TraceContextTextMapPropagator(), W3CBaggagePropagator()


def to_texts(span: Span) -> dict[str, str]:
    """What is to travel beside what is sent within ``span``, in the running context."""
    context = trace.set_span_in_context(span)
    texts: dict[str, str] = {}
    _trace_context.inject(texts, context=context)
    if baggage.get_all(context):
        _baggage.inject(texts, context=context)
    return texts


@lru_cache(maxsize=256)  # all members of a group get the same text
def from_text(text: str) -> Context | None:
    """The context that :func:`to_texts` was called in; None if the text holds none."""
    texts: Mapping[str, str] = decode(text)
    if texts.keys().isdisjoint(("traceparent", "baggage")):
        return None
    return _baggage.extract(texts, context=_trace_context.extract(texts, context=Context()))


# The IDs are the same in every process, for what comes from others to be recognized at once.
_not_sampled = NonRecordingSpan(
    SpanContext(
        trace_id=int.from_bytes(b"channels-unkept.", "big"),
        span_id=int.from_bytes(b"unkept..", "big"),
        is_remote=False,
    )
)

#: The context of a handler whose span is not sampled: what it starts is not sampled either.
UNSAMPLED = trace.set_span_in_context(_not_sampled, Context())

#: What travels beside messages that are sent there.
UNSAMPLED_TEXTS = to_texts(_not_sampled)

#: The same as it travels.
UNSAMPLED_TEXT = encode(UNSAMPLED_TEXTS)
