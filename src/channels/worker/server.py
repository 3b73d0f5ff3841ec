"""The worker: it listens to channels, feeds the application, and ends in order."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from asgiref.server import StatelessServer

from .. import signals
from .._runtime import lag, lograte, timers
from .._runtime.backstage import ignore_failure
from .._runtime.carried import put_back
from .._runtime.exits import signals_handled
from .._runtime.faults import origin
from .._runtime.logtext import printable
from .._runtime.types import ASGIApplication, Message, Scope
from ..exceptions import (
    InvalidChannelLayerError,
    InvalidWorkerOption,
    NoClient,
    NoRouteFound,
    UnknownMessageType,
)
from ..layers import ChannelLayer
from ..layers.carriers import unchanged
from ..layers.third_party import adapt
from .concurrency import Concurrency, per_channel
from .health import Health
from .listening import Listening
from .slots import END, Slot

__all__ = ["Worker"]

logger = logging.getLogger("channels.worker")

# Seconds for what was taken and not begun to go back to the channel layer.
_GIVING_BACK = 0.9

# Seconds for what was cancelled to end.
_ENDING = 0.3


class Worker(StatelessServer):
    """Feeds an application from named channels.

    Args:
        application: the ASGI application, usually a ``ProtocolTypeRouter`` with ``"channel"``.
        channels: names of the channels to receive from.
        channel_layer: the channel layer to receive from.
        max_applications: application instances kept at most; those beyond it that wait for a
            message are ended, the least recently used first.
        concurrency: messages of each channel that are handled at a time, each by an application
            instance of its own: a number for all channels, or a mapping from channels to numbers.
            With 1, messages are handled in order; with more, in any order.
        handler_timeout: seconds that a handler may take for a message before it is cancelled.
        health_file: a file that is touched every :attr:`health_interval` seconds while the worker
            is well, and removed when it ends.
        health_port: a TCP port where ``GET /healthz`` is answered with 200 while the worker is
            well, and else with 503, and ``GET /livez`` with 200 while its event loop turns.
        health_host: the address for it; by default all of this machine.

    Raises:
        InvalidChannelLayerError: there is no channel layer.
        InvalidWorkerOption: another argument is not possible.
    """

    #: Seconds that handlers may go on after SIGTERM. Docker and supervisord kill after 10.
    drain_timeout = 8.0
    #: Times in a row that a listener may fail before the worker gives up.
    max_failures = 10
    #: Seconds before a failed listener starts again, as the first limit, which doubles each time,
    #: and the last. The pause is random below the limit, which spreads many workers best ("full
    #: jitter": M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
    backoff = (0.1, 10.0)
    #: Seconds between two looks at how the worker is.
    health_interval = 5.0

    def __init__(
        self,
        application: ASGIApplication,
        channels: Iterable[str],
        channel_layer: ChannelLayer | None,
        max_applications: int = 1000,
        *,
        concurrency: Concurrency = 1,
        handler_timeout: float | None = None,
        health_file: str | os.PathLike[str] | None = None,
        health_port: int | None = None,
        health_host: str | None = None,
    ) -> None:
        super().__init__(application, max_applications)  # type: ignore[no-untyped-call]
        if channel_layer is None:
            raise InvalidChannelLayerError("A worker needs a channel layer: see CHANNEL_LAYERS.")
        if handler_timeout is not None and not handler_timeout > 0:
            raise InvalidWorkerOption(
                f"handler_timeout must be more than 0 seconds, not {handler_timeout!r}."
            )
        if health_port is not None and not 0 < health_port < 65536:
            raise InvalidWorkerOption(
                f"health_port must be a number from 1 to 65535, not {health_port!r}."
            )
        self.channels = list(channels)
        self.channel_layer = channel_layer
        self.concurrency = per_channel(self.channels, concurrency)
        # The scope ids of the instances that a channel may have: no name of a channel has a space.
        self._places = {
            name: [name, *(f"{name} {n}" for n in range(2, number + 1))]
            for name, number in self.concurrency.items()
        }
        self.handler_timeout = handler_timeout
        self.health_file = health_file
        self.health_host, self.health_port = health_host, health_port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._listening: dict[str, Listening] = {}
        self._freed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._last_resort: threading.Timer | None = None

    # The process

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, drain, and return.

        Raises:
            ListenerFailed: a channel cannot be received from.
            SystemExit: a task that the application has started wants the process to end. The
                worker says so, drains first, and never ends with 0 then.
        """
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner() as runner:
            serving = runner.get_loop().create_task(self.arun())
            try:
                runner.run(_join(serving))
            except SystemExit as error:
                logger.critical(
                    "A task of the application raised SystemExit(%r): the worker lets running "
                    "handlers finish, and ends",
                    error.code,
                    exc_info=error,
                )
                self._stopping.set()
                if not serving.done():
                    runner.run(_join(serving))
                raise SystemExit(error.code or 1) from error

    async def arun(self) -> None:
        """Like :meth:`run`, in the running event loop."""
        with signals_handled(self._signalled, _end_at_once):
            await self.handle()

    def stop(self) -> None:
        """Make :meth:`handle` stop listening, and return when the running handlers have finished.

        From any thread.
        """
        loop = self._loop
        if loop is None or loop.is_closed() or loop is _running_loop():
            self._stopping.set()
        else:
            loop.call_soon_threadsafe(self._stopping.set)

    async def handle(self) -> None:
        """Listen to all channels until :meth:`stop`, then drain.

        Raises:
            ListenerFailed: a channel cannot be received from; the others have been drained.
            InvalidWorkerOption: the health file cannot be written, or the port is taken.
        """
        self._loop = asyncio.get_running_loop()
        async with Health(self):
            await self._listen()

    async def _listen(self) -> None:
        self._listening = {name: Listening(self, name) for name in self.channels}
        signals.emit(signals.worker_started, type(self), worker=self)
        lag.watch()
        listeners = [asyncio.create_task(self._listening[name].run()) for name in self.channels]
        for listener in listeners:  # one failure is raised; others may have come with it
            listener.add_done_callback(ignore_failure)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((*listeners, stopping), return_when=asyncio.FIRST_COMPLETED)
            failed = next((task for task in listeners if task.done()), None)
            signals.emit(signals.worker_stopping, type(self), worker=self)
            await _cancel(listeners)
            await asyncio.gather(self._stop_receiving(), self._drain())
        finally:
            instances = dict(self.application_instances)
            await _cancel([*listeners, stopping])
            for task in await _cancel([details["future"] for details in instances.values()]):
                logger.error("A handler goes on although it was cancelled: %r", task)
            await self._stop_receiving()
            await self._give_back(instances)
        if failed is not None:
            await failed

    def _signalled(self) -> None:
        """Stop, in time."""
        logger.info("Worker stops listening and lets running handlers finish")
        # The interpreter waits for threads before it ends; one that is stuck must not hold it.
        why = f"a thread is still busy {self.drain_timeout + 1.0:g} s after it was told to stop"
        self._last_resort = threading.Timer(self.drain_timeout + 1.0, _end_now, (why,))
        self._last_resort.daemon = True
        self._last_resort.start()
        self.stop()

    async def _drain(self) -> None:
        """Let every application instance handle what it has, up to the deadline."""
        serving = {}
        for details in self.application_instances.values():
            details["input_queue"].put_nowait(END)
            serving[details["future"]] = details["scope"]["channel"]
        late: set[asyncio.Future[None]] = set()
        if serving:
            _, late = await asyncio.wait(serving, timeout=self.drain_timeout)
        if not late and self._last_resort is not None:
            self._last_resort.cancel()
        for task in late:
            logger.error(
                "Handler of channel %s was still running %g s after the worker was told to stop; "
                "cancelled",
                serving[task],
                self.drain_timeout,
            )

    async def _stop_receiving(self) -> None:
        """Give back messages that the channel layer keeps ready for this worker's listeners."""
        stop = adapt(self.channel_layer).stop_receiving
        await asyncio.gather(*map(stop, self.channels), return_exceptions=True)

    async def _give_back(self, instances: dict[str, dict[str, Any]]) -> None:
        """Send again what no application instance has begun with."""
        for details in instances.values():
            queue, channel = details["input_queue"], details["scope"]["channel"]
            while not queue.empty():
                message = queue.get_nowait()
                if message is END:
                    continue
                try:
                    async with timers.timeout(_GIVING_BACK):
                        with unchanged(message):
                            await self.channel_layer.send(channel, message)
                except Exception as error:  # noqa: BLE001 - whatever a layer or a broker raises
                    self.drop(channel, f"it cannot go back: {type(error).__name__}: {error}")

    # Listening

    async def listener(self, channel: str) -> None:
        """Receive from one channel, for ever, and hand each message to the application.

        A message is received when an application instance waits for one, or is to be started.
        Until then it stays in the channel layer, where other workers find it.
        """
        instances, listening = self.application_instances, self._listening.get(channel)
        while True:
            place = await self._free_place(channel)
            message: Any = put_back(await self.channel_layer.receive(channel))
            if listening is not None and listening.failures:
                listening.received()
            if not isinstance(message, dict) or not isinstance(message.get("type"), str):
                self.drop(channel, "it has no type")
                continue
            scope = {"type": "channel", "channel": channel}
            self.get_or_create_application_instance(place, scope).put_nowait(message)
            if place in instances and "slot" in instances[place]:
                instances[place]["slot"].free = False

    @property
    def failing(self) -> list[str]:
        """The channels whose listeners have failed, and are not known to be well again."""
        return [name for name, listening in self._listening.items() if listening.failing]

    async def _free_place(self, channel: str) -> str:
        """Wait until one more message of ``channel`` can be handled; the instance's scope id."""
        freed, instances = self._freed[channel], self.application_instances
        while True:
            freed.clear()
            for place in self._places.get(channel, (channel,)):
                details = instances.get(place)
                if details is None or "slot" not in details or details["slot"].free:
                    return place
            await freed.wait()

    # Serving

    def get_or_create_application_instance(
        self, scope_id: str, scope: Scope
    ) -> "asyncio.Queue[Message]":
        """The input queue of the application instance for ``scope_id``, made if there is none."""
        details = self.application_instances.get(scope_id)
        if details is None:
            self._make_room()
            channel = scope["channel"]
            own_thread = self.concurrency.get(channel, 1) > 1
            slot = Slot(self, scope, self._freed[channel], own_thread=own_thread)
            self.application_instances[scope_id] = details = slot.details
            details["future"] = asyncio.create_task(self._serve(scope_id, slot))
        details["last_used"] = time.time()
        queue: asyncio.Queue[Message] = details["input_queue"]
        return queue

    async def _serve(self, scope_id: str, slot: Slot) -> None:
        try:
            await slot.serve()
        finally:
            self._forget(scope_id, slot)

    def _forget(self, scope_id: str, slot: Slot) -> None:
        """``slot`` has ended; another one may have taken its place."""
        if self.application_instances.get(scope_id) is slot.details:
            del self.application_instances[scope_id]

    def _make_room(self) -> None:
        """End instances that wait for a message, the least recently used first."""
        surplus = len(self.application_instances) - self.max_applications + 1
        if surplus > 0:
            waiting = [
                details
                for details in self.application_instances.values()
                if "slot" in details and details["slot"].waiting
            ]
            waiting.sort(key=lambda details: details["last_used"])
            for details in waiting[:surplus]:
                details["input_queue"].put_nowait(END)

    async def application_send(self, scope: Scope, message: Message) -> None:
        """Refuse what the application sends: a worker has no client.

        Raises:
            NoClient: always.
        """
        raise NoClient(
            f"The application of channel {scope['channel']!r} sent {message.get('type')!r}, but "
            "a worker has no client; use channel_layer.send() to reach another consumer."
        )

    async def application_exception(
        self, exception: BaseException, application_details: dict[str, Any]
    ) -> None:
        """Log what an application instance raised; the next message gets a fresh instance."""
        channel = printable(application_details["scope"]["channel"])
        if isinstance(exception, (UnknownMessageType, NoRouteFound)):  # the text says it all
            kind, text = f"{type(exception).__name__} {channel}", printable(exception, 500)
            _log_error(kind, "Message on channel %s dropped: %s", channel, text)
        else:
            text = "Application failed on a message of channel %s"
            _log_error(f"{origin(exception)} {channel}", text, channel, exc_info=exception)

    def drop(self, channel: str, reason: str) -> None:
        """Tell the log and listeners that a message is lost."""
        shown = printable(channel)
        _log_error(f"dropped {shown}", "Message on channel %s dropped: %s", shown, reason)
        self.count_drop(channel, reason)

    def count_drop(self, channel: str, reason: str) -> None:
        """Tell listeners that a message is lost."""
        signals.emit(
            signals.message_dropped,
            type(self),
            layer=self.channel_layer,
            channel=channel,
            reason=reason,
            count=1,
        )


def _log_error(
    kind: str, message: str, *arguments: str, exc_info: BaseException | None = None
) -> None:
    """A line about messages, of which clients may cause any number."""
    lograte.log(logger, logging.ERROR, kind, message, *arguments, exc_info=exc_info)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _join(task: "asyncio.Task[None]") -> None:
    await task


def _end_at_once() -> None:
    _end_now("it was told to stop a second time")


def _end_now(why: str) -> None:
    """End the process, and say so."""
    logger.critical("Worker ends at once, with exit code 1: %s", why)
    os._exit(1)


async def _cancel(tasks: "Iterable[asyncio.Future[Any]]") -> "set[asyncio.Future[Any]]":
    """Cancel the tasks and wait until they have ended, whatever they raise.

    One that goes on is cancelled a second time.

    Returns:
        Those that have not ended even then.
    """
    pending = {task for task in tasks if not task.done()}
    for task in pending:
        task.add_done_callback(ignore_failure)
    for _ in range(2):
        if pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=_ENDING)
    return pending
