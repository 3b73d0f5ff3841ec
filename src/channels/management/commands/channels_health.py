"""``manage.py channels_health``: ask a running server from outside whether it is well."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from time import perf_counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..probe import ProbeFailed, Target, ask_http, ask_websocket

__all__ = ["Command"]

_URL = "http://127.0.0.1:8000/readyz"


class Command(BaseCommand):
    """Made for the health checks of containers: quick, without dependencies, one line, 0 or 1."""

    help = (
        "Asks a running server over HTTP, and if wanted over a WebSocket, whether it is well. "
        "Prints one line, and exits with 0 if it is, with 1 if not."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to ask, and how."""
        parser.add_argument(
            "url",
            nargs="?",
            default=_URL,
            help=f"http:// or https://, to be answered with 200 (default: {_URL}).",
        )
        parser.add_argument(
            "--websocket",
            metavar="URL",
            help="ws:// or wss://, to be answered as channels.contrib.health.WebSocketProbe does.",
        )
        parser.add_argument(
            "--timeout",
            type=_seconds,
            default=5.0,
            help="Seconds that each of them may take (default: 5).",
        )
        parser.add_argument(
            "--host",
            help="The header Host, for sites that do not answer to an address, and the name in "
            "their certificate (default: what the URL says).",
        )
        parser.add_argument(
            "--origin",
            help="The header Origin of the WebSocket (default: that of a page of the host).",
        )
        parser.add_argument(
            "--insecure", action="store_true", help="Take any certificate, also a self-signed one."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, and say what came of it."""
        try:
            wanted = [(ask_http, self._target(options, "url", "http"))]
            if options["websocket"]:
                wanted.append((ask_websocket, self._target(options, "websocket", "ws")))
            answered = [self._ask(ask, target) for ask, target in wanted]
        except ProbeFailed as failure:
            raise CommandError(str(failure)) from failure
        self.stdout.write(f"OK: {', '.join(answered)}")

    def _target(self, options: dict[str, Any], name: str, scheme: str) -> Target:
        shared = {name: options[name] for name in ("timeout", "host", "origin", "insecure")}
        target = Target(options[name], **shared)
        if target.parts.scheme not in {scheme, f"{scheme}s"}:
            raise ProbeFailed(f"{target}: the URL must start with {scheme}:// or {scheme}s://")
        return target

    def _ask(self, ask: Callable[[Target], None], target: Target) -> str:
        started = perf_counter()
        ask(target)
        return f"{target} in {(perf_counter() - started) * 1000:.0f} ms"


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < math.inf:
        raise ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
