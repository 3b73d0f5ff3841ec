"""Consumers that are fed from named channels, in a process of their own.

A :class:`Worker` listens to channels of a channel layer and hands each message to the application
with the scope ``{"type": "channel", "channel": name}``. Per channel there is at most one
application instance at a time, which gets the messages in order.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from asgiref.compatibility import guarantee_single_callable
from asgiref.server import StatelessServer

from . import signals
from ._runtime import lograte, timers
from ._runtime.backstage import ignore_failure
from ._runtime.exits import contained, is_crash
from ._runtime.faults import origin
from ._runtime.logtext import printable
from ._runtime.types import ASGIApplication, Message, Scope
from .exceptions import (
    BrokerError,
    InvalidChannelLayerError,
    InvalidNameError,
    ListenerFailed,
    NoClient,
    NoRouteFound,
    StopConsumer,
    UnknownMessageType,
)
from .layers import ChannelLayer
from .layers.third_party import adapt

__all__ = ["ListenerFailed", "NoClient", "Worker"]

logger = logging.getLogger("channels.worker")

# Ends the input of an application instance: nothing comes after it.
_END: Message = {"type": "end of input"}

# Seconds for what was taken and not begun to go back to the channel layer.
_GIVING_BACK = 0.9

# Trying again cannot make these good.
_PERMANENT = (InvalidNameError, InvalidChannelLayerError, NotImplementedError)


class Worker(StatelessServer):
    """Feeds an application from named channels.

    Args:
        application: the ASGI application, usually a ``ProtocolTypeRouter`` with ``"channel"``.
        channels: names of the channels to receive from.
        channel_layer: the channel layer to receive from.
        max_applications: application instances kept at most; those beyond it that wait for a
            message are ended, the least recently used first.

    Raises:
        InvalidChannelLayerError: there is no channel layer.
    """

    #: Seconds that handlers may go on after SIGTERM. Docker and supervisord kill after 10.
    drain_timeout = 8.0
    #: Times in a row that a listener may fail before the worker gives up.
    max_failures = 10
    #: Seconds before a failed listener starts again, as the first limit, which doubles each time,
    #: and the last. The pause is random below the limit, which spreads many workers best ("full
    #: jitter": M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
    backoff = (0.1, 10.0)

    def __init__(
        self,
        application: ASGIApplication,
        channels: Iterable[str],
        channel_layer: ChannelLayer | None,
        max_applications: int = 1000,
    ) -> None:
        super().__init__(application, max_applications)  # type: ignore[no-untyped-call]
        if channel_layer is None:
            raise InvalidChannelLayerError("A worker needs a channel layer: see CHANNEL_LAYERS.")
        self.channels = list(channels)
        self.channel_layer = channel_layer
        self._stopping = asyncio.Event()
        self._failures: dict[str, int] = {}
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
        with self._signals_handled():
            await self.handle()

    def stop(self) -> None:
        """Make :meth:`handle` stop listening, and return when the running handlers have finished.

        Call it in the event loop that runs :meth:`handle`.
        """
        self._stopping.set()

    async def handle(self) -> None:
        """Listen to all channels until :meth:`stop`, then drain.

        Raises:
            ListenerFailed: a channel cannot be received from; the others have been drained.
        """
        listeners = [asyncio.create_task(self._keep_listening(name)) for name in self.channels]
        for listener in listeners:  # one failure is raised; others may have come with it
            listener.add_done_callback(ignore_failure)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((*listeners, stopping), return_when=asyncio.FIRST_COMPLETED)
            failed = next((task for task in listeners if task.done()), None)
            await _cancel(listeners)
            await asyncio.gather(self._stop_receiving(), self._drain())
        finally:
            instances = dict(self.application_instances)
            serving = [details["future"] for details in instances.values()]
            await _cancel([*listeners, stopping, *serving])
            await self._stop_receiving()
            await self._give_back(instances)
        if failed is not None:
            await failed

    @contextlib.contextmanager
    def _signals_handled(self) -> Iterator[None]:
        """Call :meth:`stop` at SIGTERM and SIGINT; only the main thread gets signals."""
        loop = asyncio.get_running_loop()
        handled: list[signal.Signals] = []
        if threading.current_thread() is threading.main_thread():
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends without draining
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(number, self._signalled)
                    handled.append(number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        """Stop; at the second signal, without waiting any longer."""
        if self._stopping.is_set():
            _end_now("it was told to stop a second time")
            return
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
        for channel, details in self.application_instances.items():
            details["input_queue"].put_nowait(_END)
            serving[details["future"]] = channel
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
        for channel, details in instances.items():
            queue = details["input_queue"]
            while not queue.empty():
                message = queue.get_nowait()
                if message is _END:
                    continue
                try:
                    async with timers.timeout(_GIVING_BACK):
                        await self.channel_layer.send(channel, message)
                except Exception as error:  # noqa: BLE001 - whatever a layer or a broker raises
                    self._drop(channel, f"it cannot go back: {type(error).__name__}: {error}")

    # Listening

    async def listener(self, channel: str) -> None:
        """Receive from one channel, for ever, and hand each message to the application.

        A message is received when the application waits for one, or has ended and is to be
        started again. Until then it stays in the channel layer, where other workers find it.
        """
        while True:
            await self._until_free(channel)
            message: Any = await self.channel_layer.receive(channel)
            self._failures[channel] = 0
            if not isinstance(message, dict) or not isinstance(message.get("type"), str):
                self._drop(channel, "it has no type")
                continue
            scope = {"type": "channel", "channel": channel}
            self.get_or_create_application_instance(channel, scope).put_nowait(message)
            details = self.application_instances.get(channel, {})
            if "free" in details:
                details["free"].clear()

    async def _until_free(self, channel: str) -> None:
        """Wait until the application instance of ``channel`` waits for a message, or has ended."""
        while free := self.application_instances.get(channel, {}).get("free"):
            if free.is_set():
                return
            await free.wait()

    async def _keep_listening(self, channel: str) -> None:
        """Run :meth:`listener`, and start it again when it fails."""
        task = asyncio.current_task()
        while True:
            try:
                await self.listener(channel)
                error: Exception = RuntimeError("the listener returned")
            except BaseException as caught:
                if not is_crash(caught, task):
                    raise
                error = contained(caught, f"The listener of channel {channel}")
            failures = self._failures[channel] = self._failures.get(channel, 0) + 1
            if failures > self.max_failures or isinstance(error, _PERMANENT):
                raise ListenerFailed(
                    f"Cannot receive from channel {channel!r}: {type(error).__name__}: {error}"
                ) from error
            first, last = self.backoff
            pause = random.uniform(0, min(last, first * 2**failures))  # noqa: S311 - no secret
            told = isinstance(error, BrokerError)  # its text says it all
            logger.error(
                "Listener of channel %s failed (%d of %d in a row); it starts again in %.1f s%s",
                channel,
                failures,
                self.max_failures,
                pause,
                f": {error}" if told else "",
                exc_info=None if told else error,
            )
            await timers.sleep(pause)

    # Serving

    def get_or_create_application_instance(
        self, scope_id: str, scope: Scope
    ) -> "asyncio.Queue[Message]":
        """The input queue of the application instance for ``scope_id``, made if there is none."""
        details = self.application_instances.get(scope_id)
        if details is None:
            self._make_room()
            details = {
                "input_queue": asyncio.Queue(),
                "scope": scope,
                "waiting": False,
                # Set when it waits for a message that is not on its way yet, and when it has ended.
                "free": asyncio.Event(),
            }
            self.application_instances[scope_id] = details
            details["future"] = asyncio.create_task(self._serve(scope_id, details))
        details["last_used"] = time.time()
        queue: asyncio.Queue[Message] = details["input_queue"]
        return queue

    def _make_room(self) -> None:
        """End instances that wait for a message, the least recently used first."""
        surplus = len(self.application_instances) - self.max_applications + 1
        if surplus > 0:
            waiting = [item for item in self.application_instances.values() if item["waiting"]]
            waiting.sort(key=lambda details: details["last_used"])
            for details in waiting[:surplus]:
                details["input_queue"].put_nowait(_END)

    async def _serve(self, channel: str, details: dict[str, Any]) -> None:
        """Run one application instance after another for as long as there are messages."""
        queue = details["input_queue"]
        try:
            while True:
                took_one = await self._run_instance(details)
                if not (took_one or queue.empty()):
                    # Such an application would be started for ever.
                    queue.task_done()
                    if queue.get_nowait() is not _END:
                        self._drop(channel, "the application ended without receiving it")
                if queue.empty():
                    return
        finally:
            if self.application_instances.get(channel) is details:
                del self.application_instances[channel]
            details["free"].set()

    async def _run_instance(self, details: dict[str, Any]) -> bool:
        """Run one application instance to its end; tell whether it received anything."""
        queue = details["input_queue"]
        scope = dict(details["scope"])
        took_one = False

        async def receive() -> Message:
            nonlocal took_one
            details["waiting"] = True
            if queue.empty():
                details["free"].set()
            try:
                message: Message = await queue.get()
            finally:
                details["waiting"] = False
                details["free"].clear()
            took_one = True
            queue.task_done()
            if message is _END:
                raise StopConsumer
            return message

        async def send(message: Message) -> None:
            await self.application_send(scope, message)

        async def run() -> None:
            application = guarantee_single_callable(self.application)  # type: ignore[no-untyped-call]
            try:
                await application(scope, receive, send)
            except BaseException as error:
                # What ends the event loop must not leave the task.
                if isinstance(error, Exception) or not is_crash(error, asyncio.current_task()):
                    raise
                raise contained(error, f"The application of channel {scope['channel']}") from error

        try:
            # In a task, so that context variables it sets end with it.
            await asyncio.create_task(run())
        except StopConsumer:
            pass
        except asyncio.CancelledError as error:  # pragma: no cover - Python 3.11 hides what runs
            # It reports no call of the outer coroutines when an exception is thrown into the inner
            # one, after which coverage misses lines that tests do run.
            if not is_crash(error, asyncio.current_task()):
                raise
            await self.application_exception(error, details)  # it has cancelled itself
        except Exception as error:  # noqa: BLE001 - the boundary to the application
            await self.application_exception(error, details)
        return took_one

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

    def _drop(self, channel: str, reason: str) -> None:
        shown = printable(channel)
        _log_error(f"dropped {shown}", "Message on channel %s dropped: %s", shown, reason)
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


async def _join(task: "asyncio.Task[None]") -> None:
    await task


def _end_now(why: str) -> None:
    """End the process, and say so."""
    logger.critical("Worker ends at once, with exit code 1: %s", why)
    os._exit(1)


async def _cancel(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancel the tasks and wait until they have ended, whatever they raise."""
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
