"""Traces with OpenTelemetry: a span for each handshake and each handler, in all processes.

Add ``"channels.contrib.opentelemetry"`` to ``INSTALLED_APPS``, or call :func:`instrument`. What
sends a message through a channel layer, and what handles it in whichever process, is in one trace.
"""

from .instrumentation import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
