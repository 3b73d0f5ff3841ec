"""Driving any ASGI application from a test, event by event."""

# ruff: noqa: ASYNC109 (the timeout arguments belong to the well-known interface)

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypedDict
from urllib.parse import unquote

from asgiref import testing
from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext

from .._runtime.backstage import untold

__all__ = ["ApplicationCommunicator", "Event", "Response", "Scope", "split_path"]

Scope = dict[str, Any]
Event = dict[str, Any]


class Response(TypedDict):
    """A complete HTTP response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class ApplicationCommunicator(testing.ApplicationCommunicator):
    """Runs an ASGI application in a task of its own and exchanges events with it.

    This is asgiref's communicator with the same methods and attributes, made to say what went
    wrong: an application that crashes while the test waits for it raises its own exception in the
    test at once, and timeouts and misuse explain themselves.

    The application starts with the first event sent or awaited; until then ``scope`` may be
    edited. A communicator lives and dies with the event loop that was running at that moment. One
    that is simply dropped cancels its application.

    Args:
        application: an ASGI application, or a consumer class, which stands for its ``as_asgi()``.
        scope: the connection's scope. It has no ``asgi`` key: that is the mark of a real server,
            and turns errors that a client caused into denials instead of exceptions.
    """

    _future: asyncio.Task[None] | None = None
    _error_seen = False

    application: Callable[..., Coroutine[Any, Any, None]]
    scope: Scope

    def __init__(self, application: Any, scope: Scope) -> None:
        if isinstance(application, type) and hasattr(application, "as_asgi"):
            application = application.as_asgi()
        super().__init__(application, scope)  # type: ignore[no-untyped-call]

    @property
    def future(self) -> asyncio.Task[None]:
        """The application's task. Started, in a context of its own, when first asked for."""
        if self._future is None:
            context = _application_context(asyncio.get_running_loop())
            running = self.application(self.scope, self.input_queue.get, self.output_queue.put)
            self._future = context.run(asyncio.create_task, running)
        return self._future

    async def send_input(self, message: Event) -> None:
        """Give the application one event.

        Raises:
            Exception: what the application raised, if it has.
            asyncio.CancelledError: the application was cancelled, mostly by an earlier timeout.
        """
        self._raise_if_ended()
        await self.input_queue.put(message)

    async def receive_output(self, timeout: float | None = 1) -> Event:
        """Return the next event that the application sends.

        An application that sends nothing in time is cancelled, and cannot be used any more: use
        :meth:`receive_nothing` to check that it is silent.

        Args:
            timeout: seconds to wait; None waits without limit.

        Raises:
            TimeoutError: nothing came in time, or nothing can come: the application has ended.
            Exception: what the application raised, if it has.
            asyncio.CancelledError: the application was cancelled, mostly by an earlier timeout.
        """
        self._raise_if_ended()
        getter: asyncio.Task[Event] = asyncio.create_task(self.output_queue.get())
        try:
            await asyncio.wait(
                {getter, self.future}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if getter.done():
                return getter.result()
        finally:
            getter.cancel()
        self._raise_if_ended()
        if self.future.done():
            raise TimeoutError("The application has ended without sending an event.")
        await self._cancel()
        raise TimeoutError(
            f"The application sent nothing within {timeout} s, and has been cancelled."
        )

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Whether the application sends nothing for a while. It is not cancelled.

        Args:
            timeout: seconds to wait.
            interval: seconds between two looks.

        Raises:
            Exception: what the application raised, if it has.
        """
        self._raise_if_ended()
        nothing: bool = await super().receive_nothing(timeout, interval)  # type: ignore[no-untyped-call]
        if nothing:
            self._raise_if_ended()
        return nothing

    async def wait(self, timeout: float | None = 1) -> None:
        """Wait for the application to end; one that has not ended by then is cancelled.

        Args:
            timeout: seconds to wait; None waits without limit.

        Raises:
            Exception: what the application raised, if it has.
        """
        self._require_own_loop()
        await asyncio.wait({self.future}, timeout=timeout)
        if not self.future.done():
            await self._cancel()
        elif not self.future.cancelled():
            self._raise_if_ended()

    async def _expect(self, timeout: float | None, *types: str) -> Event:
        """Return the next event, which must be of one of ``types``; AssertionError otherwise."""
        awaited = " or ".join(types)
        try:
            event = await self.receive_output(timeout)
        except TimeoutError as error:
            error.add_note(f"The test was waiting for {awaited}.")
            raise
        if event["type"] not in types:
            raise AssertionError(
                f"The test was waiting for {awaited}; the application sent {event!r}."
            )
        return event

    async def _read_response(self, start: Event, timeout: float | None) -> Response:
        """Read the rest of the (denial) response that begins with the event ``start``."""
        body_type = start["type"].removesuffix("start") + "body"
        body, more = bytearray(), True
        while more:
            part = await self._expect(timeout, body_type)
            body += part.get("body", b"")
            more = part.get("more_body", False)
        headers = list(start.get("headers", []))
        return Response(status=start["status"], headers=headers, body=bytes(body))

    def _raise_if_ended(self) -> None:
        """Start the application if need be; raise what ended it, unless it ended well."""
        self._require_own_loop()
        task = self.future
        if not task.done():
            return
        if task.cancelled():
            raise asyncio.CancelledError(
                "The application was cancelled: receive_output() timed out earlier, or stop() was"
                " called. Use receive_nothing() to check that an application is silent."
            )
        self._error_seen = task.exception() is not None
        task.result()

    def _require_own_loop(self) -> None:
        """Raise unless the application runs, or is about to run, on the running event loop."""
        if self._future and self._future.get_loop() is not asyncio.get_running_loop():
            raise RuntimeError(
                f"This {type(self).__name__} was started on another event loop. Use it from first"
                " to last in one coroutine; in a synchronous test, wrap that coroutine in one"
                " async_to_sync() call rather than each of its steps."
            )

    async def _cancel(self) -> None:
        """Cancel the application and wait until it is gone; raise what it raises on its way."""
        self.future.cancel()
        await asyncio.wait({self.future})
        if not self.future.cancelled():
            self._raise_if_ended()

    def __del__(self) -> None:
        # May run in any thread, and after the loop was closed. A loop that is closed by asyncio's
        # runners has cancelled the task already.
        if self._future and not self._future.done():
            untold(self._future)  # of a loop that was closed without cancelling its tasks
            with contextlib.suppress(RuntimeError):
                self._future.get_loop().call_soon_threadsafe(self._future.cancel)


def _application_context(loop: asyncio.AbstractEventLoop) -> contextvars.Context:
    """Make the context an application runs in: empty, as behind a server, but for its thread.

    Inside ``async_to_sync``, and so in every asynchronous test of Django's test classes, what is
    thread-sensitive has to run in the thread of the test, which holds the test's transaction.
    asgiref sees to that only until the test's own coroutine ends. An application that the test
    left running would clean up later, in another thread, with a database connection of its own.
    Nor would Django's own ASGI handler stay in that thread. Hence the thread is fixed here.
    """
    context = contextvars.Context()
    executor = AsyncToSync.loop_thread_executors.get(loop)
    if executor is not None:
        sensitive = ThreadSensitiveContext()
        SyncToAsync.context_to_thread_executor[sensitive] = executor
        context.run(SyncToAsync.thread_sensitive_context.set, sensitive)
    return context


def split_path(path: str) -> tuple[str, bytes]:
    """Split a URL path into what servers put into a scope: ``path`` and ``query_string``.

    Raises:
        TypeError: ``path`` is not text.
    """
    if not isinstance(path, str):
        raise TypeError(f"The path must be a str, not {type(path).__name__}.")
    path, _, query = path.partition("?")
    return unquote(path), query.encode("utf-8")
