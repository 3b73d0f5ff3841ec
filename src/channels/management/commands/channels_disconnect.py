"""``manage.py channels_disconnect``: end what a user, a session, a token or a group has open."""

from argparse import ArgumentTypeError
from collections.abc import Iterable
from typing import Any

from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import DEFAULT_CHANNEL_LAYER, control
from ...close_codes import CloseCode
from ...exceptions import ChannelsError, InvalidNameError
from ...layers import get_channel_layer
from ...layers.base import BaseChannelLayer
from ...layers.third_party import adapt
from ...live import Query, aask_connections, reaches_others
from ...live.looking import local_channels
from ...revocation import disconnect_group
from ...revocation.disconnecting import COMMAND, which

__all__ = ["Command"]

# Bytes of a close reason that fit into a frame (RFC 6455).
_LONGEST_REASON = 123


class Command(BaseCommand):
    """Tells every process over the channel layer, and says what they answer."""

    help = (
        "Ends the connections of a user, of a session, of a token or of a group, or one "
        "connection, in every process that serves any."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add whom to disconnect, and what to tell the clients."""
        whom = parser.add_mutually_exclusive_group(required=True)
        whom.add_argument("--user", metavar="NAME_OR_PK", help="A username, or a primary key.")
        whom.add_argument("--session", metavar="KEY", help="The key of a session, which stays.")
        whom.add_argument("--token-id", metavar="ID", help="The jti of a token, which stays.")
        whom.add_argument("--group", metavar="NAME", help="A group of a channel layer.")
        whom.add_argument("--channel", metavar="NAME", help="The channel of one consumer.")
        parser.add_argument(
            "--code",
            type=_code,
            default=CloseCode.UNAUTHORIZED.value,
            help="What WebSockets are closed with: 1000, or 3000 to 4999 (default: 4401, after "
            "which the browser client does not come back).",
        )
        parser.add_argument(
            "--reason", type=_reason, default="", help="For the clients of WebSockets."
        )
        parser.add_argument(
            "--layer",
            default=DEFAULT_CHANNEL_LAYER,
            metavar="ALIAS",
            help="The layer that the group is of (default: default).",
        )
        parser.add_argument(
            "--timeout",
            type=_seconds,
            default=2.0,
            help="Seconds that the processes have to answer (default: 2).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Disconnect, and say how many."""
        if not reaches_others():
            raise CommandError(
                "No channel layer of this project reaches other processes, so the connections of a "
                "server cannot be ended from here. Configure a layer with a broker in "
                "CHANNEL_LAYERS, or call the functions of channels.revocation in the server's own "
                "process, from a view for example"
            )
        try:
            if options["group"] is not None:
                self._end_group(options)
            else:
                self._end(options)
        except InvalidNameError as error:
            raise CommandError(str(error)) from error
        except (ChannelsError, OSError) as error:
            raise CommandError(f"The channel layer cannot be reached: {error}") from error

    def _end(self, options: dict[str, Any]) -> None:
        by, value = next(
            (by, options[option])
            for by, option in (
                ("user", "user"),
                ("session", "session"),
                ("token", "token_id"),
                ("channel", "channel"),
            )
            if options[option] is not None
        )
        if by == "user":
            value = self._primary_key(value)
        answers = control.ask(
            COMMAND,
            options["timeout"],
            **which(by, value),
            code=options["code"],
            reason=options["reason"],
        )
        processes = {answer["process"] for answer in answers}
        if not processes:
            raise CommandError(
                f"No process has answered within {options['timeout']:g} s, so none is known to "
                "have ended anything; a busy one does so when it gets to it. A server (Daphne from "
                "its first connection of a consumer on) answers if it runs this version of "
                "Channels, has 'channels' in INSTALLED_APPS, and uses the same SECRET_KEY and "
                "channel layer with the same prefix; see manage.py channels_top"
            )
        count = sum(_numbers(answer["answer"] for answer in answers))
        self.stdout.write(f"{_connections(count)}; {_processes(len(processes))} answered")

    def _end_group(self, options: dict[str, Any]) -> None:
        layer = self._layer(options["layer"])
        known = "this layer does not tell how many"
        if local_channels(layer) is not None:
            query = Query(group=options["group"], limit=0)
            seconds = options["timeout"]
            count, _ = async_to_sync(aask_connections)(query, seconds=seconds)
            known = _connections(count)
        disconnect_group(
            options["group"],
            code=options["code"],
            reason=options["reason"],
            alias=options["layer"],
        )
        self.stdout.write(f"The group was told; {known}")

    def _layer(self, alias: str) -> BaseChannelLayer:
        configured = get_channel_layer(alias)
        if configured is None:
            raise CommandError(f"CHANNEL_LAYERS has no layer {alias!r}; write one that it has")
        layer = adapt(configured)
        if not layer.supports_groups or not layer.supports_processes:
            raise CommandError(
                f"The layer {alias!r} has no groups that reach other processes: write the alias "
                "of one that does after --layer"
            )
        return layer

    def _primary_key(self, text: str) -> Any:
        """The primary key of the user with this name, or this key."""
        if not apps.is_installed("django.contrib.auth"):
            return text
        model: Any = get_user_model()
        named = model._default_manager.filter(**{model.USERNAME_FIELD: text}).first()
        try:
            key = model._meta.pk.to_python(text)
            keyed = model._base_manager.get(pk=key)
        except (ValidationError, ValueError, OverflowError):
            key = keyed = None
        except ObjectDoesNotExist:
            keyed = None
        if named is not None and keyed is not None and named.pk != keyed.pk:
            raise CommandError(
                f"{text!r} is the name of the user with the primary key {named.pk}, and the "
                f"primary key of {keyed.get_username()!r}: write the name of the latter, or the "
                "primary key of the former"
            )
        if named is not None:
            return named.pk
        if key is None:
            raise CommandError(
                f"No user has the name {text!r}, and it is no primary key: write one of the two"
            )
        if keyed is None:
            self.stdout.write(
                f"No user has the name or primary key {text!r} now: connections of a deleted one "
                "are looked for"
            )
        return key


def _connections(count: int) -> str:
    return "1 connection ends" if count == 1 else f"{count} connections end"


def _processes(count: int) -> str:
    return "1 process has" if count == 1 else f"{count} processes have"


def _numbers(answers: Iterable[Any]) -> list[int]:
    """What is a number among what processes say, which may be of any version."""
    return [answer for answer in answers if isinstance(answer, int)]


def _code(text: str) -> int:
    code = int(text) if text.isdecimal() and len(text) == 4 else 0
    if code != 1000 and not 3000 <= code <= 4999:
        raise ArgumentTypeError(f"{text!r} is no close code: write 1000, or 3000 to 4999")
    return code


def _reason(text: str) -> str:
    if len(text.encode()) > _LONGEST_REASON:
        raise ArgumentTypeError(f"a close reason has at most {_LONGEST_REASON} bytes: shorten it")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 60:
        raise ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 60")
    return seconds
