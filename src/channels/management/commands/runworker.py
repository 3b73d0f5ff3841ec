"""``manage.py runworker``: consumers fed from named channels, in a process of their own."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from channels import DEFAULT_CHANNEL_LAYER
from channels.exceptions import ListenerFailed
from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels.routing import get_default_application
from channels.worker import Worker

__all__ = ["Command"]


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
        parser.add_argument("channels", nargs="+", help="Names of the channels to listen to.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker."""
        alias, channels = options["layer"], list(dict.fromkeys(options["channels"]))
        layer = get_channel_layer(alias)
        if layer is None:
            raise CommandError(f"CHANNEL_LAYERS has no {alias!r}: configure it, or use --layer.")
        for name in channels:
            self._check_name(layer, name)
        if isinstance(layer, InMemoryChannelLayer):
            warning = (
                f"CHANNEL_LAYERS[{alias!r}] is an in-memory layer: it carries no message from "
                "another process, so this worker has nothing to do. Use a layer with a broker."
            )
            self.stderr.write(self.style.WARNING(warning))
        application = get_default_application()
        if "channel" not in getattr(application, "application_mapping", {"channel"}):
            raise CommandError(
                'The ProtocolTypeRouter of ASGI_APPLICATION has no "channel": '
                'add ProtocolTypeRouter({"channel": ChannelNameRouter({...}), ...}).'
            )
        worker = self.worker_class(application=application, channels=channels, channel_layer=layer)
        self.stdout.write(f"Listening to {', '.join(channels)}. Quit with CONTROL-C.")
        try:
            worker.run()
        except ListenerFailed as error:
            raise CommandError(str(error)) from error

    def _check_name(self, layer: Any, name: str) -> None:
        """Refuse a name that the layer cannot receive from.

        Raises:
            CommandError: the name is not valid, or belongs to one connection.
        """
        if "!" in name:
            raise CommandError(f"{name!r} is the channel of one connection; nobody else listens.")
        check = getattr(layer, "require_valid_channel_name", None)
        if check is not None:
            try:
                check(name)
            except TypeError as error:
                raise CommandError(f"{name!r} is no valid channel name: {error}") from error
