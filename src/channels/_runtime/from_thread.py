"""Sends from the thread of a sync handler, which a client that does not read must not hold up.

A send returns when the server has taken the message. Where that takes longer, because the client
does not read, the message is left to the event loop, and the handler goes on; the consumer's next
handler begins when the client has taken everything. A handler that sends more than is to be kept
for its client waits, and steps aside meanwhile, so that another handler can run.
"""

import asyncio
import contextlib
import threading
from collections import deque

from asgiref.sync import AsyncToSync, SyncToAsync, async_to_sync

from ..exceptions import EventLoopRunning
from .connections import connections
from .loops import running_loop
from .threads import current_call, pool
from .types import Message, Send

__all__ = ["KEPT", "SendFromThread"]

# Bytes that are kept for a client beside the message that the server is taking.
KEPT = 2**20

# Seconds after which a message that the server has not taken is left to the event loop. Longer
# than a server takes for it that is merely busy.
_PATIENCE = 0.1

# Seconds between looks at whether the event loop that a thread waits for still runs.
_LOOK = 1.0

# Messages that may be left to the event loop. For the others the handler waits for the outcome.
_LENDABLE = frozenset({"websocket.send", "websocket.close", "http.response.body"})


class _Item:
    """A message on its way."""

    __slots__ = ("done", "error", "left", "message", "over", "size")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.size = _size(message)
        #: Left to the event loop: no handler waits for it.
        self.left = False
        self.done = False
        self.error: BaseException | None = None
        # The cheapest thing that one thread can wait for and another one release.
        self.over = threading.Lock()
        self.over.acquire()


class SendFromThread:
    """A plain function that sends over an event loop, in the order of the calls.

    It may be called on the event loop's own thread too, where it cannot wait: the message is sent
    as soon as the loop gets to it.

    Args:
        send: the coroutine function that sends.
        loop: where it is to run.
        pooled: whether the handlers run in the pool. The thread of those that do not, in tests,
            may be needed on the way of what they send, which asgiref sees to; they wait for no
            message that was left on the event loop.
    """

    __slots__ = (
        "_failure",
        "_kept",
        "_lock",
        "_loop",
        "_pooled",
        "_queue",
        "_send",
        "_task",
    )

    def __init__(
        self,
        send: Send,
        loop: asyncio.AbstractEventLoop,
        *,
        pooled: bool = True,
    ) -> None:
        self._send = send
        self._loop = loop
        self._pooled = pooled
        self._lock = threading.Lock()
        self._queue: deque[_Item] = deque()
        self._task: asyncio.Task[None] | None = None  # which sends what is in the queue
        self._kept = 0  # bytes of what has been left
        self._failure: BaseException | None = None  # the first, of what has been left

    def __call__(self, message: Message) -> None:
        """Send ``message``.

        Raises:
            EventLoopRunning: it is called on the event loop's thread, and the client does not
                take what was sent before.
            Exception: what the server raised, if it took the message, or refused it, in time;
                otherwise :meth:`settle` raises it.
        """
        here = running_loop()
        if here is self._loop:
            self._leave_here(message)
        elif here is None and not self._pooled and not self._kept:
            async_to_sync(self._send)(message)
        else:
            self._send_from_elsewhere(message)

    @property
    def settled(self) -> bool:
        """Whether the server has taken everything, and nothing is to be raised."""
        return self._task is None and self._failure is None

    async def settle(self) -> None:
        """Wait until the server has taken everything. On the event loop.

        Raises:
            Exception: what it raised for a message that was left to the event loop.
        """
        while (task := self._task) is not None:
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError:
                task.cancel()
                raise
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it refers to this frame

    def cancel(self) -> None:
        """Give up what the server has not taken yet. On the event loop."""
        if self._task is not None:
            self._task.cancel()

    # In a thread

    def _send_from_elsewhere(self, message: Message) -> None:
        item = _Item(message)
        behind = self._kept > 0  # what was sent before waits for the client
        if behind:
            self._leave(item)
        try:
            self._loop.call_soon_threadsafe(self._hand_in, item)
        except RuntimeError:  # the loop has been closed, and the client is gone
            return
        if item.left:
            return
        if behind or not item.over.acquire(timeout=_PATIENCE):
            if not behind and self._leave(item):
                return
            self._wait(item)
        if item.error is not None:
            try:
                raise item.error
            finally:
                del item  # the error refers to this frame

    def _leave(self, item: _Item) -> bool:
        """Leave a message to the event loop, unless too much waits there; whether it was left."""
        with self._lock:
            if self._pooled:
                if item.done or item.message["type"] not in _LENDABLE:
                    return False
                if self._kept and self._kept + item.size > KEPT:
                    return False
            elif not self._kept:
                return False
            item.left = True
            self._kept += item.size
            return True

    def _wait(self, item: _Item) -> None:
        """Wait for the client; another handler may run meanwhile."""
        call, here = current_call(), pool()
        if call is not None and here.step_aside(call):
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(_disconnect_slowest)
        try:
            while not item.over.acquire(timeout=_LOOK):
                if not self._loop.is_running():
                    return
        finally:
            if call is not None:
                here.come_back(call)

    # On the event loop

    def _leave_here(self, message: Message) -> None:
        item = _Item(message)
        with self._lock:
            if self._kept and self._kept + item.size > KEPT:
                raise EventLoopRunning(
                    f"{self._kept} bytes wait for the client already, and send() cannot wait for "
                    "it in the thread of the event loop. In a coroutine write: "
                    "await sync_to_async(self.send)(...)"
                )
            item.left = True
            self._kept += item.size
        self._hand_in(item)

    def _hand_in(self, item: _Item) -> None:
        self._queue.append(item)
        if self._task is None:
            # Not made by the loop's task factory: an eager one (Python 3.12) starts the task, and
            # may end it, before this attribute is set.
            self._task = asyncio.Task(self._send_all(), loop=self._loop)
            self._task.add_done_callback(self._over)

    async def _send_all(self) -> None:
        # The context is the handler's: asgiref would run sync code in the handler's thread, which
        # waits for this task.
        if getattr(AsyncToSync.executors, "current", None) is not None:
            AsyncToSync.executors.current = None
        if not self._pooled:
            SyncToAsync.deadlock_context.set(False)
        queue = self._queue
        try:
            while queue:
                error: BaseException | None = None
                try:
                    await self._send(queue[0].message)
                except asyncio.CancelledError:
                    raise
                except BaseException as failure:  # noqa: BLE001 - the handler gets it
                    error = failure
                self._finish(queue.popleft(), error)
                del error  # it refers to this frame
        finally:
            self._let_go()

    def _over(self, task: "asyncio.Task[None]") -> None:
        if self._task is task:  # it was cancelled before it had begun
            self._let_go()

    def _let_go(self) -> None:
        """Nothing sends any more. What is still in the queue is dropped: the event loop ends."""
        self._task = None
        while self._queue:
            self._finish(self._queue.popleft(), None)

    def _finish(self, item: _Item, error: BaseException | None) -> None:
        with self._lock:
            item.done = True
            if item.left:
                self._kept -= item.size
                self._failure = self._failure or error
            else:
                item.error = error
        item.over.release()


def _disconnect_slowest() -> None:
    """Too many threads wait for clients: disconnect the one that has read nothing for longest."""
    connections.get().pending_sends.disconnect_slowest(pool().waiting())


def _size(message: Message) -> int:
    """Of what it holds, in bytes; of text in characters. Never 0."""
    size = 1
    for key in ("text", "bytes", "body"):
        content = message.get(key)
        if content is not None:
            with contextlib.suppress(TypeError):  # the server will say so
                size += len(content)
    return size
