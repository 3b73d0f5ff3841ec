"""``manage.py runworker``: consumers fed from named channels, in a process of their own."""

import math
import sys
from argparse import ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels import DEFAULT_CHANNEL_LAYER
from channels.exceptions import ChannelsError, InvalidWorkerOption, ListenerFailed
from channels.layers import (
    BaseChannelLayer,
    ChannelLayer,
    channel_layers,
    get_channel_layer,
)
from channels.layers.third_party import adapt
from channels.routing import ChannelNameRouter, get_default_application
from channels.worker import Worker

from .. import reloading

__all__ = ["Command"]

# Of Worker, by the option that gives them.
_ARGUMENTS = {
    "timeout": "handler_timeout",
    "health_file": "health_file",
    "health_port": "health_port",
    "health_host": "health_host",
}


class Command(BaseCommand):
    """Runs a worker until SIGTERM or SIGINT; set ``worker_class`` to run another kind of worker."""

    help = "Hands the messages of the named channels to the consumers of ASGI_APPLICATION."
    leave_locale_alone = True
    worker_class: type[Worker] = Worker

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the channel layer and the channels."""
        parser.add_argument(
            "--layer",
            default=DEFAULT_CHANNEL_LAYER,
            help=f"Alias of the layer in CHANNEL_LAYERS (default: {DEFAULT_CHANNEL_LAYER}).",
        )
        parser.add_argument(
            "--concurrency",
            type=_number,
            default=1,
            metavar="N",
            help="Messages of a channel that are handled at a time (default: 1, in order).",
        )
        parser.add_argument(
            "--timeout",
            type=_seconds,
            metavar="SECONDS",
            help="Cancel a handler that takes longer for a message (default: no limit).",
        )
        parser.add_argument(
            "--reload",
            action="store_true",
            help="For development: when code changes, let running handlers finish, and start anew.",
        )
        parser.add_argument(
            "--health-file",
            metavar="PATH",
            help="A file to touch every few seconds while all is well, and to remove at the end.",
        )
        parser.add_argument(
            "--health-port",
            type=int,
            metavar="PORT",
            help="Answer GET /healthz on this port, with 200 while all is well, else with 503.",
        )
        parser.add_argument(
            "--health-host",
            metavar="HOST",
            help="The address for --health-port (default: all of this machine).",
        )
        parser.add_argument(
            "channels",
            nargs="+",
            type=_channel,
            metavar="CHANNEL[:N]",
            help="A channel to listen to, and how many of its messages are handled at a time.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker."""
        alias, concurrency = options["layer"], dict(options["channels"])
        channels = list(concurrency)
        layer = self._find_layer(alias)
        backend = adapt(layer)
        for name in channels:
            self._check_name(backend, name)
        if not backend.supports_processes:
            warning = (
                f"CHANNEL_LAYERS[{alias!r}] is an in-memory layer: it carries no message from "
                "another process, so this worker has nothing to do. Use a layer with a broker."
            )
            self.stderr.write(self.style.WARNING(warning))
        try:
            application = get_default_application()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        self._check_routes(application, channels)
        # Worker classes of projects may not know of arguments that are new.
        extras: dict[str, Any] = {}
        numbers = {name: n or options["concurrency"] for name, n in concurrency.items()}
        if max(numbers.values()) > 1:
            extras["concurrency"] = numbers
        for option, argument in _ARGUMENTS.items():
            if options[option] is not None:
                extras[argument] = options[option]
        try:
            worker = self.worker_class(
                application=application, channels=channels, channel_layer=layer, **extras
            )
            self._run(worker, reload=options["reload"])
        except (ListenerFailed, InvalidWorkerOption) as error:
            raise CommandError(str(error)) from error

    def _run(self, worker: Worker, *, reload: bool) -> None:
        """Run the worker; with ``reload`` in a child process, again and again."""
        if reload and not reloading.is_child():
            sys.exit(reloading.supervise(self.stderr.write))
        patience = worker.drain_timeout + 1.0
        changes = reloading.Changes(worker.stop, patience) if reload else None
        self.stdout.write(f"Listening to {', '.join(worker.channels)}. Quit with CONTROL-C.")
        worker.run()
        if changes is not None and changes.noticed:
            sys.exit(reloading.RELOAD)

    def _find_layer(self, alias: str) -> ChannelLayer:
        """The channel layer of this alias.

        Raises:
            CommandError: there is none, or it cannot be made.
        """
        try:
            layer: ChannelLayer | None = get_channel_layer(alias)
        except (ChannelsError, ImportError, TypeError, ValueError) as error:
            raise CommandError(f"CHANNEL_LAYERS[{alias!r}] cannot be used: {error}") from error
        if layer is None:
            known = ", ".join(map(repr, channel_layers.configs))
            raise CommandError(
                f"CHANNEL_LAYERS has no {alias!r}: configure it, or use --layer "
                f"({f'there is {known}' if known else 'it is empty'})."
            )
        return layer

    def _check_routes(self, application: Any, channels: list[str]) -> None:
        """Warn of channels whose messages would find no consumer.

        Raises:
            CommandError: none of them leads to one.
        """
        routes = getattr(application, "application_mapping", {"channel": None})
        if "channel" not in routes:
            raise CommandError(
                'The ProtocolTypeRouter of ASGI_APPLICATION has no "channel": '
                'add ProtocolTypeRouter({"channel": ChannelNameRouter({...}), ...}).'
            )
        router = routes["channel"]
        if type(router) is not ChannelNameRouter:  # a middleware, or a class of the project's
            return
        unknown = [name for name in channels if name not in router.application_mapping]
        if unknown:
            known = ", ".join(router.application_mapping) or "no channel at all"
            text = f"The ChannelNameRouter has no {', '.join(unknown)}; it knows {known}."
            if len(unknown) == len(channels):
                raise CommandError(text)
            self.stderr.write(self.style.WARNING(f"{text} Messages to others will be dropped."))

    def _check_name(self, backend: BaseChannelLayer, name: str) -> None:
        """Refuse a name that the layer cannot receive from.

        Raises:
            CommandError: the name is not valid, or belongs to one connection.
        """
        if "!" in name:
            raise CommandError(f"{name!r} is the channel of one connection; nobody else listens.")
        try:
            backend.require_valid_channel_name(name)
        except TypeError as error:
            raise CommandError(f"{name!r} is no valid channel name: {error}") from error


def _channel(text: str) -> tuple[str, int | None]:
    """The name of a channel and its concurrency, if that is given."""
    name, colon, number = text.partition(":")
    return name, _number(number) if colon else None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < math.inf:
        raise ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
