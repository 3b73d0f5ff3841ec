"""Where one event loop hears commands: a private channel, in the group of all processes."""

import asyncio
import contextlib
import logging
import uuid
from contextvars import Context
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from .. import DEFAULT_CHANNEL_LAYER, signals
from .._runtime import backstage, lograte, timers
from .._runtime.backoff import random_pause
from .._runtime.connections import connections, when_first
from .._runtime.forks import in_child
from .._runtime.per_loop import PerLoop
from ..exceptions import ChannelsError
from ..layers import channel_layers, get_channel_layer
from ..layers.base import BaseChannelLayer
from ..layers.mailbox import GAP as LAYER_GAP
from ..layers.third_party import adapt
from . import handlers

__all__ = [
    "ANSWER",
    "COMMAND",
    "Plane",
    "control_group",
    "control_layer",
    "planes",
    "process_name",
    "start",
    "watch",
]

logger = logging.getLogger("channels.control")

#: The type of the messages. A reserved name, like that of the answers.
COMMAND = "channels.control"
#: The type of what is answered to a command.
ANSWER = "channels.control.answer"

# The limits of the pause, in seconds, before another attempt to listen.
_PAUSES = (0.1, 5.0)

# Seconds after which the channel is added to its group again. Layers of others let members expire.
_JOIN_AGAIN = 3600.0


def control_layer() -> BaseChannelLayer | None:
    """The layer that carries commands: "default", or else the first of ``CHANNEL_LAYERS``.

    None if none reaches other processes, or it has no groups: commands stay in this process.
    """
    aliases = [*channel_layers.configs, *channel_layers.backends]
    if not aliases:
        return None
    alias = DEFAULT_CHANNEL_LAYER if DEFAULT_CHANNEL_LAYER in aliases else aliases[0]
    layer = adapt(get_channel_layer(alias))
    return layer if layer.supports_groups and layer.supports_processes else None


def control_group() -> str:
    """The group that all processes of a project are in.

    Only what has ``SECRET_KEY`` knows its name, so no consumer that names groups after what clients
    say can be led into it. While a new key is rolled out, processes hear those that have the same.
    """
    try:
        return f"{COMMAND}.{salted_hmac(COMMAND, 'group', algorithm='sha256').hexdigest()[:32]}"
    except ImproperlyConfigured:  # a script without a SECRET_KEY, and so without sessions
        return COMMAND


class _Name:
    """The name of this process, which is another one after a fork."""

    def __init__(self) -> None:
        self.renew()
        in_child(self.renew)

    def renew(self) -> None:
        self.value = uuid.uuid4().hex


_name = _Name()


def process_name() -> str:
    """The name by which other processes know this one: random text."""
    return _name.value


class Plane:
    """Hears commands on one event loop, and has them handled there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening: asyncio.Task[None] | None = None
        self._handling: set[asyncio.Task[Any]] = set()
        self._missed = False
        #: Set as long as commands of other processes reach this event loop.
        self.listens = asyncio.Event()

    def start(self) -> None:
        """Begin to listen to other processes, if there is a layer that reaches any."""
        if self._listening is None:
            with contextlib.suppress(Exception):  # of a setting, which each connection tells of
                if control_layer() is not None:
                    listening = backstage.untold(
                        self._loop.create_task(self._listen_on(), context=Context())
                    )
                    listening.add_done_callback(self._stopped)
                    self._listening = listening

    def _stopped(self, listening: "asyncio.Task[None]") -> None:
        self._listening = None  # else it would keep alive whatever began it
        backstage.ignore_failure(listening)

    def stop(self) -> None:
        """Listen no more, and leave nothing at the broker."""
        if self._listening is not None:
            self._listening.cancel()

    def handle(self, command: str, data: dict[str, Any], reply: str | None = None) -> None:
        """Call the handlers of a command soon, and send what they answer to a channel."""
        # Nothing of the publisher's context, such as the thread of a request that is over by then.
        running = self._handle(command, data, reply)
        task = backstage.untold(self._loop.create_task(running, context=Context()))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    async def _handle(self, command: str, data: dict[str, Any], reply: str | None) -> None:
        answers = await handlers.call(command, data)
        layer = control_layer() if reply is not None else None
        if layer is not None and reply is not None:
            for answer in answers:
                await self._answer(layer, command, reply, answer)

    async def _answer(self, layer: BaseChannelLayer, command: str, to: str, answer: Any) -> None:
        try:
            message = {"type": ANSWER, "process": process_name(), "answer": answer}
            await layer.send(to, message)
        except Exception as error:  # noqa: BLE001 - of whatever layer
            text = "An answer to the command %s was not sent: %s"
            lograte.log(logger, logging.WARNING, f"answer {command}", text, command, error)

    async def _listen_on(self) -> None:
        """Listen for ever; again after a pause, when that has failed."""
        failures = 0
        while True:
            try:
                layer = control_layer()
                if layer is None:  # the setting has changed
                    return
                await self._listen(layer)
            except Exception as error:  # noqa: BLE001 - of whatever layer
                failures = 1 if self.listens.is_set() else failures + 1
                # A layer that was closed can be used again at once.
                if failures > 1 or type(error) is ChannelsError:
                    text = "Commands of other processes are not heard (%s: %s); trying again"
                    name = type(error).__name__
                    lograte.log(logger, logging.WARNING, "deaf", text, name, str(error))
            finally:
                self.listens.clear()
            self._missed = True
            await timers.sleep(random_pause(failures, *_PAUSES))

    async def _listen(self, layer: BaseChannelLayer) -> None:
        """Join the group, and hand on what comes.

        Raises:
            Exception: of the layer, when nothing more will come.
        """
        news = asyncio.Event()
        channel = await layer.new_channel()
        mailbox = layer.open_mailbox(channel, news.set)
        try:
            await layer.group_add(control_group(), channel)
            self.listens.set()
            if self._missed:
                self._missed = False
                self.handle(handlers.GAP, {"reason": "this process could not listen for a while"})
            while not mailbox.overflowed:
                news.clear()
                while (message := mailbox.take()) is not None:
                    self._heard(message)
                with contextlib.suppress(TimeoutError):
                    async with timers.timeout(_JOIN_AGAIN):
                        await news.wait()
                        continue
                await layer.group_add(control_group(), channel)
            raise ChannelsError("more commands came than the channel holds")
        finally:
            await mailbox.close()

    def _heard(self, message: dict[str, Any]) -> None:
        if message["type"] == LAYER_GAP:
            self.handle(handlers.GAP, {"reason": message["reason"]})
        elif message["type"] == COMMAND and message["origin"] != process_name():
            self.handle(message["command"], message["data"], message["reply"])


#: The plane of each event loop that serves, or has served a connection.
planes = PerLoop(Plane)


def start() -> None:
    """Begin to listen on the running event loop. Cheap after the first call."""
    planes.get().start()


def _start(sender: Any, **kwargs: Any) -> None:
    start()


def _drain(sender: Any, **kwargs: Any) -> None:
    """Listen no more: the connections are about to end, and so is the process, perhaps at once."""
    plane = planes.peek()
    if plane is not None:
        plane.stop()


def _end_worker(sender: Any, **kwargs: Any) -> None:
    plane = planes.peek()
    if plane is not None and not connections.get().open:
        plane.stop()


def watch() -> None:
    """Listen wherever servers, connections or workers begin, from now on."""
    if start not in when_first:
        when_first.append(start)
    signals.server_started.connect(_start, dispatch_uid="channels.control")
    signals.server_stopping.connect(_drain, dispatch_uid="channels.control")
    signals.worker_started.connect(_start, dispatch_uid="channels.control")
    signals.worker_stopping.connect(_end_worker, dispatch_uid="channels.control")
    signals.server_draining.connect(_drain, dispatch_uid="channels.control")
