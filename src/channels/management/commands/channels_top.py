"""``manage.py channels_top``: how all processes of the project are."""

import contextlib
import json
import time
from argparse import ArgumentTypeError
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...exceptions import ChannelsError
from ...live import Look, Overview, reaches_others
from ...live.text import as_text

__all__ = ["Command"]

# Clears a terminal, and begins at its top (ECMA-48: ED and CUP).
_CLEAR = "\033[2J\033[H"

# How many times as long to wait for answers when none has come.
_PATIENCE = 4.0


class Command(BaseCommand):
    """Asks every process over the channel layer, again and again."""

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
            default="text",
            help="Text for people, or JSON, one object a line (default: text).",
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
        with contextlib.suppress(KeyboardInterrupt):
            while True:  # rates need two looks
                self._show(self._ask(look, options["interval"]), as_json, options["once"])
                if options["once"]:
                    return

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
            clear = _CLEAR if self.stdout.isatty() and not once else ""
            self.stdout.write(clear + as_text(found))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 3600:
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 3600")
    return seconds
