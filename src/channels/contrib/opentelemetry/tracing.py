"""Makes the spans, of what signals tell.

- A handshake has a span of its own (``SERVER``), whose parent is the client's ``traceparent``, or
  that of the ASGI instrumentation, if there is one. It ends when the handshake is answered.
- Each handler has a span. For a message of a channel layer its parent is the span that has sent it
  (``CONSUMER``); for an event of the client it begins a trace (``SERVER``). Both have a link to the
  handshake, since a connection may last for days.
- What is sent has a span of its own (``PRODUCER``).

The names and attributes follow OpenTelemetry's semantic conventions for messaging.
"""

import asyncio
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any, TypeAlias

from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode

from channels import __version__
from channels._runtime.carried import carried
from channels.layers.carriers import Sending, Sent

from .contexts import UNSAMPLED, UNSAMPLED_TEXT, UNSAMPLED_TEXTS, from_text, to_texts
from .sampling import Roots

__all__ = ["Tracing"]

# Types of messages whose span may have a parent outside of the connection.
_FIRST = ("websocket.connect", "http.request")

# On consumers, whose handshake has been sampled.
_HANDSHAKE = "_channels_handshake_span"

# What is to be detached when something ends, and its span if it is recorded.
_Running: TypeAlias = tuple[Token[Context], Span | None]

# The task that runs in this context.
_running: ContextVar[_Running | None] = ContextVar("channels_running_span", default=None)


class Tracing:
    """Listens to signals, and gives what is to travel beside messages.

    Args:
        provider: gives the tracer; None for OpenTelemetry's global one.
        destination_names: whether groups are named.
    """

    def __init__(self, provider: Any, *, destination_names: bool) -> None:
        self._given = provider
        self._provider: Any = None
        self._tracer: trace.Tracer
        self._roots: Roots
        self._destination_names = destination_names
        # Whether the provider is that of the rest of the process's life.
        self._is_ready = False

    def _prepare(self) -> None:
        """Make the tracer, of a provider that may be set after the first message."""
        provider = self._given or trace.get_tracer_provider()
        if provider is not self._provider:
            self._tracer = provider.get_tracer("channels", __version__)
            self._roots, self._provider = Roots(self._tracer), provider
            self._is_ready = not isinstance(provider, trace.ProxyTracerProvider)

    # Handlers

    def begin(self, consumer: Any, message_type: str, source: str) -> _Running | None:
        """A handler is about to run, in this context: a :class:`channels.signals.HandlerHook`."""
        text = carried.get()
        if not self._is_ready:
            self._prepare()
        if text is None:
            left_out = message_type not in _FIRST and not self._roots.draw()
        else:
            left_out = text == UNSAMPLED_TEXT
        if left_out:  # the same as below, for nearly all
            if context.get_current() is not UNSAMPLED:
                context.attach(UNSAMPLED)  # for good: each handler of this task enters its own
            return None
        scope, parent = consumer.scope, None
        kind = SpanKind.CONSUMER
        if text is not None:
            parent = from_text(text)
        elif source == "client" and scope["type"] != "channel":
            kind = SpanKind.SERVER
            if message_type == "websocket.connect":
                kind, parent = SpanKind.INTERNAL, self._handshake(consumer, scope)
            elif message_type == "http.request":
                kind, parent = _request(scope)
        if (text is not None or message_type in _FIRST) and self._is_left_out(parent):
            return context.attach(_inner(parent)), None
        name = type(consumer).__qualname__
        attributes = {
            "channels.consumer": f"{type(consumer).__module__}.{name}",
            "channels.message.type": message_type,
        }
        if kind is SpanKind.CONSUMER:
            attributes |= {
                "messaging.system": "channels",
                "messaging.operation.type": "process",
                "messaging.operation.name": "handle",
            }
            if scope["type"] == "channel":
                attributes["messaging.destination.name"] = scope["channel"]
        handshake: Span | None = getattr(consumer, _HANDSHAKE, None)
        links = (
            [Link(handshake.get_span_context())]
            if handshake is not None and kind is not SpanKind.INTERNAL
            else []
        )
        return self._enter(parent, f"{name} {message_type}", kind, attributes, links)

    def end(self, begun: _Running, exception: BaseException | None) -> None:
        """The handler has ended."""
        token, span = begun
        context.detach(token)
        if span is not None:
            _end(span, exception)

    def _is_left_out(self, parent: Context | None) -> bool:
        """Whether what begins with this parent is not sampled; if not, :meth:`_enter` is due."""
        above = _span_context(parent)
        return not (self._roots.draw() if above is None else above.trace_flags.sampled)

    def _enter(
        self,
        parent: Context | None,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str],
        links: list[Link] | None = None,
    ) -> _Running:
        """Make a span, and the context within it the running one."""
        arguments: dict[str, Any] = {"kind": kind, "attributes": attributes, "links": links}
        span: Span | None
        if _span_context(parent) is None:
            span = self._roots.start_drawn(name, **arguments)
        else:
            span = self._tracer.start_span(name, context=parent, **arguments)
        inner = UNSAMPLED if span is None else trace.set_span_in_context(span, parent or Context())
        return context.attach(inner), span

    # Handshakes

    def _handshake(self, consumer: Any, scope: Any) -> Context:
        """The context of a handshake: the ASGI instrumentation's, or that of a new span."""
        current = trace.get_current_span()
        if current.get_span_context().is_valid:
            if current.is_recording():
                setattr(consumer, _HANDSHAKE, current)
            return context.get_current()
        outer = propagate.extract(_headers(scope), context=Context())
        attributes = {
            "channels.consumer": f"{type(consumer).__module__}.{type(consumer).__qualname__}",
            "url.path": scope.get("path", ""),
            "url.scheme": scope.get("scheme", "ws"),
            "network.protocol.name": "websocket",
        }
        name, kind = f"{type(consumer).__qualname__} handshake", SpanKind.SERVER
        span: Span | None
        if trace.get_current_span(outer).get_span_context().is_valid:
            span = self._tracer.start_span(name, context=outer, kind=kind, attributes=attributes)
            span = span if span.is_recording() else None
        else:
            span = self._roots.start(name, kind=kind, attributes=attributes)
        if span is None:
            return UNSAMPLED
        setattr(consumer, _HANDSHAKE, span)
        return trace.set_span_in_context(span, outer)

    def handshake_finished(self, consumer: Any, outcome: str, **others: Any) -> None:
        """A handshake has been answered. The span of the ASGI instrumentation goes on."""
        span: Any = getattr(consumer, _HANDSHAKE, None)
        scope = getattr(span, "instrumentation_scope", None)
        if scope is not None and scope.name == "channels" and span.is_recording():
            span.set_attribute("channels.handshake.outcome", str(outcome))
            span.end()

    # Background tasks

    def task_attempt_started(self, task_result: Any, **others: Any) -> None:
        """A background task is about to run, in this context."""
        self._prepare()
        text = carried.get()
        parent = None if text is None else from_text(text)
        if self._is_left_out(parent):
            _running.set((context.attach(_inner(parent)), None))
            return
        attributes = {
            "messaging.system": "channels",
            "messaging.operation.type": "process",
            "messaging.operation.name": "run",
            "messaging.destination.name": task_result.task.queue_name,
            "messaging.message.id": task_result.id,
            "channels.task": task_result.task.module_path,
        }
        name = f"task {task_result.task.module_path}"
        _running.set(self._enter(parent, name, SpanKind.CONSUMER, attributes))

    def task_attempt_finished(self, exception: BaseException | None, **others: Any) -> None:
        """The task of this context has ended."""
        running = _running.get()
        if running is not None:  # None: it began before anybody listened
            _running.set(None)
            self.end(running, exception)

    # What is sent

    def carry(self, sending: Sending) -> tuple[dict[str, str] | None, Sent | None]:
        """The context that travels beside a message; see :data:`channels.layers.carriers`."""
        if context.get_current() is UNSAMPLED:
            return UNSAMPLED_TEXTS, None
        self._prepare()
        current = trace.get_current_span()
        above = current.get_span_context()
        if above.is_valid and not above.trace_flags.sampled:
            return to_texts(current), None
        kind = SpanKind.PRODUCER
        message: Any = sending.message  # whatever the project sends
        message_type = message.get("type") if isinstance(message, dict) else None
        name = f"{sending.operation} {message_type}"
        attributes = {
            "messaging.system": "channels",
            "messaging.operation.type": "send",
            "messaging.operation.name": sending.operation,
            "channels.message.type": str(message_type),
        }
        self._name_destination(sending, attributes)
        span: Span | None
        if above.is_valid:
            span = self._tracer.start_span(name, kind=kind, attributes=attributes)
        else:
            span = self._roots.start(name, kind=kind, attributes=attributes)
        if span is None:
            return (to_texts(trace.get_current_span(UNSAMPLED)) if baggage.get_all()
                    else UNSAMPLED_TEXTS), None  # fmt: skip
        made = span
        return to_texts(made), lambda error: _end(made, error)

    def _name_destination(self, sending: Sending, attributes: dict[str, str]) -> None:
        name, operation = sending.name, sending.operation
        if operation == "enqueue":
            attributes["messaging.destination.name"] = str(sending.message["queue"])
            attributes["messaging.message.id"] = str(sending.message["id"])
        elif operation.startswith("group"):
            if self._destination_names:
                attributes["messaging.destination.name"] = str(name)
        elif "!" not in str(name):
            attributes["messaging.destination.name"] = str(name)


def _span_context(parent: Context | None) -> SpanContext | None:
    """The span that ``parent`` is the context of; None if there is none."""
    if parent is None:
        return None
    above = trace.get_current_span(parent).get_span_context()
    return above if above.is_valid else None


def _inner(parent: Context | None) -> Context:
    """The context of what is not sampled, with what its parent's has besides."""
    return UNSAMPLED if parent is None or _span_context(parent) is None else parent


def _request(scope: Any) -> tuple[SpanKind, Context]:
    """The kind and the parent of an HTTP request's handler; a span may be around it."""
    if trace.get_current_span().get_span_context().is_valid:
        return SpanKind.INTERNAL, context.get_current()
    return SpanKind.SERVER, propagate.extract(_headers(scope), context=Context())


def _headers(scope: Any) -> dict[str, str]:
    """What of the headers may be the context of a trace."""
    return {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in scope.get("headers", ())
        if name.lower() not in _SECRET
    }


_SECRET = frozenset({b"cookie", b"authorization", b"sec-websocket-protocol"})


def _end(span: Span, error: BaseException | None) -> None:
    """End a span. To be cancelled is no error."""
    if isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
        span.record_exception(error)
        span.set_status(StatusCode.ERROR, type(error).__name__)
    span.end(time.time_ns())
