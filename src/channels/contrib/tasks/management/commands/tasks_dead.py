"""``manage.py tasks_dead``: tasks that have failed for good, to look at and to send again."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels.contrib.tasks.backend import ChannelsBackend
from channels.contrib.tasks.looking import (
    add_arguments,
    ask,
    describe,
    find_backend,
    find_queues,
)
from channels.contrib.tasks.records import Record

__all__ = ["Command"]


class Command(BaseCommand):
    """Shows dead letters, sends them again, or deletes them."""

    help = "Shows the tasks that have failed for good; --retry and --delete do something with them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add which tasks, and what to do with them."""
        add_arguments(parser)
        parser.add_argument(
            "--limit", type=int, default=100, help="Tasks of each queue to show (default: 100)."
        )
        parser.add_argument(
            "--json", action="store_true", help="Show them with arguments and errors, as JSON."
        )
        action = parser.add_mutually_exclusive_group()
        action.add_argument(
            "--retry", nargs="*", metavar="ID", help="Enqueue these again, with all attempts."
        )
        action.add_argument("--delete", nargs="*", metavar="ID", help="Delete these.")
        parser.add_argument(
            "--all", action="store_true", help="Do so with all dead letters of the queues."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        backend = find_backend(options["backend"])
        queues, store = find_queues(backend, options["queue"]), backend.store
        for name, what in (("retry", "enqueued again"), ("delete", "deleted")):
            if options[name] is not None:
                # Processes may be set differently, so there may be more than this one allows.
                most = 2 * backend.config.dead_letters + 1000 if options["all"] else 0
                ids = self._ids(backend, queues, options[name], name, most)
                call = store.revive if name == "retry" else store.bury
                done = sum(ask(call, queue, found) for queue, found in ids.items())
                self.stdout.write(f"{done} tasks were {what}.")
                missing = len(options[name]) - done
                if not options["all"] and missing > 0:
                    raise CommandError(f"{missing} of these are no dead letters of the queues.")
                return
        if options["all"]:
            raise CommandError("--all goes with --retry or --delete.")
        letters = [
            describe(store, record)
            for queue in queues
            for record in ask(store.dead, queue, options["limit"])
        ]
        self._show(letters, as_json=options["json"])

    def _ids(
        self, backend: ChannelsBackend, queues: list[str], given: list[str], how: str, most: int
    ) -> dict[str, list[str]]:
        """The dead letters that are meant, by their queues; all if ``most`` is not 0."""
        store, everything = backend.store, most > 0
        if everything == bool(given):
            raise CommandError(f"Name the tasks after --{how}, or write --all, and not both.")
        found: dict[str, list[str]] = {}
        for queue in queues:
            if everything:
                letters: list[Record] = ask(store.dead, queue, most)
                found[queue] = [record.id for record in letters]
            else:
                found[queue] = list(dict.fromkeys(given))
        return found

    def _show(self, letters: list[dict[str, Any]], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(letters, indent=2, ensure_ascii=False))
            return
        for letter in letters:
            self.stdout.write(
                f"{letter['id']}  {letter['queue']}  {letter['failed_at']}  {letter['task']}  "
                f"{letter['attempts']} attempts"
            )
            for error in letter["errors"][-1:]:
                *_, last = error["traceback"].strip().splitlines() or [error["exception"]]
                self.stdout.write(f"    {last[:200]}")
        self.stdout.write(f"{len(letters)} tasks.")
