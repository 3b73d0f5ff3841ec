"""``manage.py channels_top``: how all processes of the project are."""

import contextlib
import json
import os
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...exceptions import ChannelsError
from ...live import Look, Overview, ask_connections, reaches_others
from ...live.text import as_text
from ..topview import Found, View

__all__ = ["Command"]

# Clears a terminal, and begins at its top (ECMA-48: ED and CUP).
_CLEAR = "\033[2J\033[H"

# How many times as long to wait for answers when none has come.
_PATIENCE = 4.0


class Command(BaseCommand):
    """Asks every process over the channel layer, again and again."""

    # Below the text.
    _hint = ""

    help = (
        "Shows all server processes, and workers: connections, messages in a "
        "second, groups, drops, slow clients and crashes. Ctrl-C ends it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add how often, and how to show it."""
        parser.add_argument("--once", action="store_true", help="Show it once, and end.")
        parser.add_argument(
            "--format",
            choices=["text", "json"],
            help="Text, or JSON, one object a line. Without it: a screen that takes keys, in a "
            "terminal and with the package rich; otherwise text.",
        )
        parser.add_argument(
            "--interval",
            type=_seconds,
            default=1.0,
            help="Seconds from one look to the next, over which rates are taken (default: 1).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, and show."""
        if not reaches_others():
            raise CommandError(
                "No channel layer of this project reaches other processes: what a server does can "
                "be seen in the server's own process only. Configure a layer with a broker in "
                "CHANNEL_LAYERS"
            )
        look, as_json = Look(), options["format"] == "json"
        found = self._ask(look, options["interval"])
        if not found.processes:  # they may be too busy to answer that quickly
            found = self._ask(look, options["interval"], _PATIENCE)
        if not found.processes:
            raise CommandError(
                "No process has answered. Servers (Daphne from its first connection of a consumer "
                "on) and workers answer if they run this version of Channels, have 'channels' in "
                "INSTALLED_APPS, and use the same SECRET_KEY and channel layer with the same "
                "prefix"
            )
        screen = self._screen(options)
        if screen is not None:
            looks = partial(_look_for, look, min(options["interval"], 1.0))
            screen(looks, Found(found), options["interval"], no_color=options["no_color"])
            return
        with contextlib.suppress(KeyboardInterrupt):
            while True:  # rates need two looks
                self._show(self._ask(look, options["interval"]), as_json, options["once"])
                if options["once"]:
                    return

    def _screen(self, options: dict[str, Any]) -> Callable[..., None] | None:
        """What takes keys; None where there is no terminal, or text is wanted."""
        terminal = self.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()
        if options["format"] or options["once"] or not terminal or _is_dumb():
            return None
        try:
            from ..topscreen import show  # noqa: PLC0415 - needs a package, and a Unix
        except ImportError:
            self._hint = (
                '\n\nWith keys to sort, filter and list connections: pip install "channels[top]"'
            )
            return None
        return show

    def _ask(self, look: Look, interval: float, patience: float = 1.0) -> Overview:
        """Look once; it takes ``interval`` seconds, and ``patience`` times as long to wait."""
        began = time.perf_counter()
        try:
            found = look.ask(min(interval, 1.0) * patience)
        except (ChannelsError, OSError) as error:
            raise CommandError(f"The channel layer cannot be reached: {error}") from error
        time.sleep(max(interval - (time.perf_counter() - began), 0))
        return found

    def _show(self, found: Overview, as_json: bool, once: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(msgspec.to_builtins(found)))
        else:
            clear = _CLEAR if self.stdout.isatty() and not once and not _is_dumb() else ""
            self.stdout.write(clear + as_text(found) + self._hint)


def _is_dumb() -> bool:
    """Whether the terminal only prints, so that nothing can be cleared or drawn."""
    return os.environ.get("TERM", "dumb") in {"dumb", "unknown"}


def _look_for(look: Look, seconds: float, view: View) -> Found:
    """Look for what a view shows."""
    try:
        overview, query = look.ask(seconds), view.query
        return Found(overview, None if query is None else ask_connections(query, seconds=seconds))
    except (ChannelsError, OSError) as error:
        return Found(Overview(), error=f"The channel layer cannot be reached: {error}")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 3600:
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 3600")
    return seconds
