"""``manage.py tasks_status``: how many tasks there are, and what has become of others."""

import json
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandParser

from channels.contrib.tasks.looking import add_arguments, ask, find_backend, find_queues

__all__ = ["Command"]


class Command(BaseCommand):
    """Shows the counts of each queue."""

    help = "Shows how many tasks wait, are deferred, run and are dead, and what became of others."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add which queues, and how to show them."""
        add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="Show them as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, and show."""
        backend = find_backend(options["backend"])
        counts = {
            queue: msgspec.structs.asdict(ask(backend.store.counts, queue))
            for queue in find_queues(backend, options["queue"])
        }
        if options["json"]:
            self.stdout.write(json.dumps(counts, indent=2))
            return
        for queue, numbers in counts.items():
            shown = "  ".join(f"{name} {number:g}" for name, number in numbers.items())
            self.stdout.write(f"{queue}:  {shown}")
