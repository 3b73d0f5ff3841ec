"""The panel: what it collects, and how it is shown."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

import asgiref
from debug_toolbar.panels import Panel
from debug_toolbar.utils import get_stack_trace, render_stacktrace
from django.apps import apps
from django.core.checks import CheckMessage, Warning  # noqa: A004
from django.http import HttpRequest, HttpResponse
from django.utils.translation import ngettext
from django.views.debug import get_default_exception_reporter_filter

import channels

from ...layers import channel_layers
from .recording import Call, Recorder, recorder, watch

__all__ = ["ChannelLayersPanel"]

# Characters of a message that are shown.
_SHOWN = 2000

# Between the project's line and the layer.
_PACKAGES = tuple(f"{Path(module.__file__ or '').parent}{os.sep}" for module in (channels, asgiref))


class ChannelLayersPanel(Panel):  # type: ignore[misc]  # its methods have no annotations
    """Lists the calls of channel layers that an HTTP request made, from sync and async code.

    For each one: the method, the group or channel, the message with its type and size, how long
    the caller waited, what was raised, and the line of the project. Values under keys that look
    like secrets are hidden, as on Django's error pages. It lists the first 500 calls of a request
    and counts the others.
    """

    template = "channels/debug_toolbar.html"
    is_async = True
    nav_icon = "debug_toolbar/img/signals.svg"
    nav_title = title = "Channel layers"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorder = Recorder(_locate)

    @property
    def nav_subtitle(self) -> str:
        """How many calls there were, and how long they took together."""
        stats = self.get_stats()
        count, milliseconds = stats.get("total", 0), stats.get("total_ms", 0.0)
        return ngettext(
            "%(count)d call in %(time).2fms", "%(count)d calls in %(time).2fms", count
        ) % {"count": count, "time": milliseconds}

    def enable_instrumentation(self) -> None:
        """Record from now on what the request does."""
        for alias in channel_layers.configs:
            try:
                layer = channel_layers[alias]
            except Exception:  # noqa: BLE001, S112 - the project's own call will say so
                continue
            watch(layer)
        recorder.set(self._recorder)

    def disable_instrumentation(self) -> None:
        """The request has been answered."""
        self._recorder.open = False
        recorder.set(None)

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        """Keep what was recorded, as text and numbers."""
        calls = self._recorder.calls
        methods = Counter(call.method for call in calls)
        self.record_stats(
            {
                "total": self._recorder.count,
                "total_ms": self._recorder.seconds * 1000,
                "left_out": self._recorder.count - len(calls),
                "methods": dict(methods.most_common()),
                "calls": [_described(call) for call in calls],
            }
        )

    def generate_server_timing(self, request: HttpRequest, response: HttpResponse) -> None:
        """Tell the browser's own tools as well."""
        stats = self.get_stats()
        title = f"Channel layers {stats.get('total', 0)} calls"
        self.record_server_timing("total_time", title, stats.get("total_ms", 0))

    @classmethod
    def run_checks(cls) -> list[CheckMessage]:
        """The template belongs to the app of Channels."""
        if apps.is_installed("channels"):
            return []
        return [
            Warning(
                "The Debug Toolbar's panel of channel layers cannot be shown, because the app "
                "'channels' is not installed.",
                hint="Add 'channels' to INSTALLED_APPS.",
                id="channels.debug_toolbar.W001",
            )
        ]


def _locate() -> Sequence[Any]:
    """Where the project calls the layer: the stack without what stands between the two."""
    trace: list[Any] = list(get_stack_trace(skip=1))
    while trace and trace[-1][0].startswith(_PACKAGES):
        trace.pop()
    return trace


def _described(call: Call) -> dict[str, Any]:
    """For the template: text and numbers, because the toolbar keeps it as JSON."""
    content = call.content
    message_type = content.get("type", "") if isinstance(content, dict) else ""
    return {
        "layer": type(call.layer).__name__,
        "method": call.method,
        "destination": call.destination,
        "message_type": str(message_type),
        "size": call.size(),
        "content": "" if content is None else _shown(content),
        "ms": call.seconds * 1000,
        "error": "" if call.error is None else f"{type(call.error).__name__}: {call.error}",
        "where": f"{call.trace[-1][0]}, line {call.trace[-1][1]}" if call.trace else "",
        "trace": render_stacktrace(call.trace),
    }


def _shown(content: Any) -> str:
    """A message, with what looks like a secret hidden."""
    hide: Any = get_default_exception_reporter_filter()
    text = pformat(hide.cleanse_setting("message", content), width=100)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
