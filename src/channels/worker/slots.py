"""A place for one application instance of a channel, which is fed one message after another."""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from asgiref.compatibility import guarantee_single_callable
from asgiref.sync import ThreadSensitiveContext

from .._runtime import lograte, timers
from .._runtime.exits import contained, is_crash
from .._runtime.logtext import printable
from .._runtime.types import Message, Scope
from ..exceptions import NoRouteFound, StopConsumer, UnknownMessageType
from .jobs import CANCELLED, DONE, FAILED, TIMED_OUT, UNHANDLED, Job, is_heard

if TYPE_CHECKING:
    from .server import Worker

__all__ = ["END", "Slot"]

logger = logging.getLogger("channels.worker")

#: Ends the input of an application instance: nothing comes after it.
END: Message = {"type": "end of input"}


class Slot:
    """Runs one application instance after another for as long as there are messages.

    Args:
        worker: whose application it is.
        scope: of the application.
        freed: set when the slot becomes free.
        own_thread: whether what needs a thread runs in one of this slot, and not in the one that
            all share: handlers of synchronous consumers could not run at the same time there.
    """

    def __init__(
        self, worker: "Worker", scope: Scope, freed: asyncio.Event, *, own_thread: bool = False
    ) -> None:
        self._worker = worker
        self._freed = freed
        self._scope = scope
        self._own_thread = own_thread
        # Whether a message is being handled, and what is to be told of it, if anyone listens.
        self._busy = False
        self._job: Job | None = None
        self._limit: timers.Timer | None = None
        self._timed_out = False
        self._task: asyncio.Task[None] | None = None
        #: What the application is to receive.
        self.queue: asyncio.Queue[Message] = asyncio.Queue()
        #: The entry of ``application_instances``, with the well-known keys.
        self.details: dict[str, Any] = {"input_queue": self.queue, "scope": scope, "slot": self}
        #: Whether the application waits for a message.
        self.waiting = False
        #: Whether it waits for a message, and none is on its way.
        self.free = False

    async def serve(self) -> None:
        """Run instances until there is no message left."""
        queue, channel = self.queue, self._scope["channel"]
        try:
            while True:
                took_one = await self._run_instance()
                if not (took_one or queue.empty()):
                    # Such an application would be started for ever.
                    queue.task_done()
                    if queue.get_nowait() is not END:
                        self._worker.drop(channel, "the application ended without receiving it")
                if queue.empty():
                    return
        finally:
            self.free = True
            self._freed.set()

    async def _run_instance(self) -> bool:
        """Run one application instance to its end; tell whether it received anything."""
        queue, scope = self.queue, dict(self._scope)
        took_one = False

        async def receive() -> Message:
            nonlocal took_one
            if self._busy:
                self._finish(DONE)
            self.waiting = True
            if queue.empty():
                self.free = True
                self._freed.set()
            try:
                message = await queue.get()
            finally:
                self.waiting = self.free = False
            queue.task_done()
            took_one = True
            if message is END:
                raise StopConsumer
            self._busy = True
            if self._worker.handler_timeout is not None:
                self._limit_time(self._worker.handler_timeout, message)
            if is_heard():
                self._job = Job(scope["channel"], message.get("type"))
            return message

        async def send(message: Message) -> None:
            await self._worker.application_send(scope, message)

        async def run() -> None:
            application = guarantee_single_callable(self._worker.application)  # type: ignore[no-untyped-call]
            threads = ThreadSensitiveContext() if self._own_thread else contextlib.nullcontext()
            try:
                async with threads:
                    await application(scope, receive, send)
            except BaseException as error:
                # What ends the event loop must not leave the task.
                if isinstance(error, Exception) or not is_crash(error, asyncio.current_task()):
                    raise
                raise contained(error, f"The application of channel {scope['channel']}") from error

        outcome = DONE
        try:
            # In a task, so that context variables it sets end with it.
            self._task = asyncio.create_task(run())
            await self._task
        except StopConsumer:
            pass
        except asyncio.CancelledError as error:  # pragma: no cover - Python 3.11 hides what runs
            # It reports no call of the outer coroutines when an exception is thrown into the inner
            # one, after which coverage misses lines that tests do run.
            outcome = CANCELLED
            if not is_crash(error, asyncio.current_task()):
                raise
            if not self._timed_out:  # it has cancelled itself
                outcome = FAILED
                await self._worker.application_exception(error, self.details)
        except Exception as error:  # noqa: BLE001 - the boundary to the application
            outcome = FAILED
            if isinstance(error, UnknownMessageType | NoRouteFound):
                outcome = UNHANDLED
                if self._busy:
                    self._worker.count_drop(scope["channel"], "the application has no handler")
            await self._worker.application_exception(error, self.details)
        finally:
            self._task = None
            self._finish(outcome)
        return took_one

    # The message that is being handled

    def _limit_time(self, seconds: float, message: Message) -> None:
        self._limit = timers.Timer(seconds, self._out_of_time, seconds, message.get("type"))

    def _finish(self, outcome: str) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if self._job is not None:
            self._job.finished(type(self._worker), TIMED_OUT if self._timed_out else outcome)
            self._job = None
        self._busy = self._timed_out = False

    def _out_of_time(self, seconds: float, message_type: object) -> None:
        """The handler has taken longer than handlers may."""
        self._limit = None
        channel = printable(self._scope["channel"])
        lograte.log(
            logger,
            logging.ERROR,
            f"timeout {channel}",
            "Handler of %s on channel %s was still running after %g s; cancelled",
            printable(message_type),
            channel,
            seconds,
        )
        if self._task is not None:  # pragma: no branch - without it no message is being handled
            self._timed_out = True
            self._task.cancel()
