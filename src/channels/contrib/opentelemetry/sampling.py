"""Root spans, of which most are not sampled: these cost a random number.

The SDK makes an ID, links and attributes of every span before it asks its sampler. That costs more
than most handlers do. Where the sampler looks at the trace's ID only, as the one of
``OTEL_TRACES_SAMPLER=parentbased_traceidratio`` does (OpenTelemetry, Trace SDK, section
"TraceIdRatioBased"), the same decision is made here, with the ID that the span gets then.
"""

import threading
from collections.abc import Callable
from random import getrandbits
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

__all__ = ["Roots"]

_EMPTY = Context()


class _Drawn(IdGenerator):
    """Gives the trace ID that was drawn before, once, in the thread that has drawn it.

    Args:
        ids: gives the others.
        bound: of the sampler: IDs whose lower 64 bits are less are sampled.
    """

    def __init__(self, ids: IdGenerator, bound: int) -> None:
        self._ids = ids
        self._bound = bound
        self._here = threading.local()
        self._is_random = type(ids) is RandomIdGenerator

    def draw(self) -> bool:
        """Whether a new trace is sampled. Then the next span of this thread gets its ID."""
        bound = self._bound
        if self._is_random:  # the sampler looks at the lower 64 bits of its IDs
            upper = getrandbits(32)
            if upper > bound >> 32:
                return False
            found: int = upper << 32 | getrandbits(32)
            if found >= bound:
                return False
            found |= getrandbits(64) << 64
        else:
            found = self._ids.generate_trace_id()
            if found & TraceIdRatioBased.TRACE_ID_LIMIT >= bound:
                return False
        if found:  # 0 is no ID: the SDK makes another one, and asks its sampler
            self._here.trace_id = found
        return True

    def generate_span_id(self) -> int:
        """See the SDK."""
        found: int = self._ids.generate_span_id()
        return found

    def generate_trace_id(self) -> int:
        """See the SDK."""
        found = getattr(self._here, "trace_id", None)
        self._here.trace_id = None
        return self._ids.generate_trace_id() if found is None else found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ids, name)


def _always() -> bool:
    """The tracer decides."""
    return True


class Roots:
    """Makes spans that have no parent.

    Args:
        tracer: makes them.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        #: Whether :meth:`start_drawn` is to be called next; if not, the trace is not sampled.
        self.draw: Callable[[], bool] = _always
        if isinstance(tracer, Tracer):
            sampler: Any = tracer.sampler
            if isinstance(sampler, ParentBased):
                sampler = getattr(sampler, "_root", sampler)
            if type(sampler) is TraceIdRatioBased:
                drawn = tracer.id_generator = _Drawn(tracer.id_generator, sampler.bound)
                self.draw = drawn.draw

    def start_drawn(self, name: str, **arguments: Any) -> trace.Span | None:
        """A new root span that is recorded, or None. Call it right after :meth:`draw`."""
        span = self._tracer.start_span(name, context=_EMPTY, **arguments)
        return span if span.is_recording() else None

    def start(self, name: str, **arguments: Any) -> trace.Span | None:
        """A new root span that is recorded, or None."""
        return self.start_drawn(name, **arguments) if self.draw() else None
