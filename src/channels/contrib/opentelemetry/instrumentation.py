"""Begins and ends to listen."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from channels import signals
from channels.layers import carriers

try:
    from .tracing import Tracing
except ImportError as error:
    raise ImproperlyConfigured(
        f"Traces need the packages opentelemetry-api and opentelemetry-sdk ({error}); "
        'pip install "channels[opentelemetry]"'
    ) from error

__all__ = ["instrument", "uninstrument"]

_ID = "channels.contrib.opentelemetry"

_SIGNALS = ("handshake_finished", "task_attempt_started", "task_attempt_finished")

_active: list[Tracing] = []


def instrument(tracer_provider: Any = None, *, destination_names: bool = False) -> None:
    """Trace connections, handlers, messages of channel layers and background tasks.

    To call it again changes what it was called with before.

    Args:
        tracer_provider: whose tracer makes the spans; OpenTelemetry's global one if None, also one
            that is set later.
        destination_names: whether spans name groups. Their names are the project's, and may hold
            the IDs of users and rooms. Named channels of workers are always named.
    """
    uninstrument()
    tracing = Tracing(tracer_provider, destination_names=destination_names)
    _active.append(tracing)
    signals.listened.around(tracing)
    for name in _SIGNALS:
        _event(name).connect(getattr(tracing, name), weak=False, dispatch_uid=_ID)
    carriers.register(tracing.carry)


def uninstrument() -> None:
    """Do not trace any more. No error if nothing is traced."""
    while _active:
        carriers.unregister(_active.pop().carry)
        signals.listened.around(None)
    for name in _SIGNALS:
        _event(name).disconnect(dispatch_uid=_ID)


def _event(name: str) -> Any:
    return getattr(signals, name)
