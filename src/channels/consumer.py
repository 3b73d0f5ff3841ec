"""The classes that people subclass to handle a connection."""

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any, ClassVar, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from django.core.exceptions import ImproperlyConfigured

from . import DEFAULT_CHANNEL_LAYER
from ._runtime import threads
from ._runtime.background import Background, BackgroundTasks
from ._runtime.background_threads import BackgroundThreads
from ._runtime.connection import Connection
from ._runtime.faults import contained, is_interrupt
from ._runtime.from_thread import SendFromThread
from ._runtime.kinds import refuse_coroutine, refuse_plain
from ._runtime.logtext import printable
from ._runtime.scopes import from_server
from ._runtime.types import Mailbox, Message, Receive, Scope, Send, any_name

# Some are imported from here, and replaced here by tests, although they are not used here.
from .db import aclose_old_connections, database_sync_to_async
from .exceptions import BackgroundTaskError, StopConsumer, UnknownMessageType
from .layers import FullChannelLayer, get_channel_layer
from .layers.third_party import adapt
from .messages.declarations import declarations, is_declared
from .security.limits.guard import Guard
from .security.limits.options import Limits
from .security.limits.project import class_limits, guard_for, handshake_timeout
from .security.permissions.base import Permission, entry_rule
from .utils import await_many_dispatch

__all__ = [
    "AsyncConsumer",
    "ConsumerApplication",
    "StopConsumer",
    "SyncConsumer",
    "aclose_old_connections",
    "await_many_dispatch",
    "database_sync_to_async",
    "find_handler",
    "framework",
    "get_handler_name",
]

_C = TypeVar("_C", bound="AsyncConsumer")
_T = TypeVar("_T", bound=type)
_B = TypeVar("_B", bound=Background)
_P = ParamSpec("_P")
_R = TypeVar("_R")

# Set on the instance by the runtime, so no class namespace shows them.
_INSTANCE_ATTRIBUTES = frozenset(
    {"base_send", "channel_layer", "channel_name", "channel_receive", "scope"}
)

# No message may call it, not even where a project overrides it.
_HOOK = "on_worker_shutdown"


def get_handler_name(message: Mapping[str, Any]) -> str:
    """The name of the method that handles ``message``: its type with ``.`` replaced by ``_``.

    Raises:
        ValueError: the message has no usable ``type``, or one that starts with an underscore.
    """
    if "type" not in message:
        raise UnknownMessageType("Incoming message has no 'type' attribute")
    message_type = message["type"]
    if not isinstance(message_type, str):
        raise UnknownMessageType(
            f"The type of a message must be a string, not {type(message_type).__name__}"
        )
    name = message_type.replace(".", "_")
    if name.startswith("_"):
        raise UnknownMessageType("Malformed type in message (leading underscore)")
    return name


def find_handler(
    consumer: Any, message: Mapping[str, Any]
) -> Callable[[Any], Awaitable[None] | None]:
    """The handler of ``message``, looked up by name on the instance.

    Packages add handlers to classes and instances at any time, so between messages nothing is
    remembered but that messages of this type may call a method of this name.

    Raises:
        UnknownMessageType: there is no such handler, or its name is a framework method's.
    """
    try:
        name = _names[message["type"]]
    except (KeyError, TypeError):
        name = _permitted_name(type(consumer), message)
    handler: Callable[[Any], Awaitable[None] | None] | None = getattr(consumer, name, None)
    if not callable(handler):  # nor is a plain attribute that happens to have that name one
        raise UnknownMessageType(f"No handler for message type {printable(message['type'])}")
    return handler


# By type of message: the name of the handler, where that is no framework class's business. An
# application has about as many types as handlers, but it may make types from what clients send; and
# nothing here may keep a class alive.
_names: dict[str, str] = {}
_NAMES_KEPT = 1000
_LONGEST_KEPT = 100  # characters

# Public names that classes of the framework define, less those that messages may call.
_guarded: set[str] = set(_INSTANCE_ATTRIBUTES)
# Names of the handlers that messages may call.
_open: set[str] = set()


def framework(*handlers: str) -> Callable[[_T], _T]:
    """Mark a class as the framework's: messages may call none of its methods but ``handlers``.

    What a project's class defines or overrides is a handler all the same.
    """

    def mark(cls: _T) -> _T:
        cls._channels_protocol_handlers = frozenset(handlers)  # type: ignore[attr-defined]
        _open.update(handlers)
        _guarded.update(name for name in vars(cls) if not name.startswith("_"))
        _guarded.difference_update(_open)
        _names.clear()
        return cls

    return mark


def _permitted_name(cls: type, message: Mapping[str, Any]) -> str:
    name = get_handler_name(message)
    message_type = message["type"]
    if name in _guarded:
        if is_declared(cls, name):
            raise UnknownMessageType(
                f"Message type {printable(message_type)!r} names a handler of clients' messages, "
                "which no other message may call; rename the type, and write a handler for it"
            )
        if not _is_the_projects(cls, name):
            raise UnknownMessageType(
                f"Message type {printable(message_type)!r} names a method of the framework, which "
                "messages may not call; rename the type and its handler"
            )
    elif len(message_type) <= _LONGEST_KEPT:
        if len(_names) >= _NAMES_KEPT:
            _names.clear()
        _names[message_type] = name
    return name


def _guard(cls: type) -> None:
    """Keep other messages from the handlers of ``cls`` that take messages of clients."""
    declared = {declaration.handler for declaration in declarations(cls).values()} - _guarded
    if declared:
        _guarded.update(declared)
        _names.clear()


def _is_the_projects(cls: type, name: str) -> bool:
    """Whether it is a project's class that gives ``cls`` this method."""
    if name in _INSTANCE_ATTRIBUTES or name == _HOOK:
        return False
    for base in cls.__mro__:
        if name in vars(base):
            return "_channels_protocol_handlers" not in vars(base)
    return True  # it is set on the instance, or missing


class _HandshakeTimeout:
    """What the limits of the class and of the project say, as they are now."""

    def __get__(self, instance: object, owner: type) -> float | None:
        return handshake_timeout(owner)


# What says who may connect, and how much. The generic consumers ignore arguments that they do not
# know, which must not happen to these.
_OF_THE_CLASS = ("permissions", "refuse_by_close", "client_limits")


def _refuse_ignored(cls: type, initkwargs: Mapping[str, Any]) -> None:
    for name in _OF_THE_CLASS:
        if name in initkwargs and name not in inspect.signature(cls).parameters:
            raise ImproperlyConfigured(
                f"{cls.__qualname__}.as_asgi({name}=...) would be ignored: write {name} = ... in "
                "the class."
            )


class ConsumerApplication(Protocol, Generic[_C]):
    """The ASGI application that :meth:`AsyncConsumer.as_asgi` returns."""

    consumer_class: "type[_C]"
    consumer_initkwargs: dict[str, Any]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Serve one connection with a new consumer."""


def _background(consumer: "AsyncConsumer", kind: type[_B]) -> _B:
    """What runs beside the handlers of ``consumer``."""
    connection = consumer._channels_connection
    if connection is None:
        raise BackgroundTaskError(
            f"{type(consumer).__qualname__} has no connection, which would end a background task; "
            "start it in a handler"
        )
    return connection.background(kind)


@framework("layer_gap")
class AsyncConsumer:
    """Handles one connection: a coroutine method for every type of message.

    An event of the client or a message of the channel layer with the type ``chat.message`` is
    given to ``chat_message(message)``. Handlers run one at a time, in order per source. There is
    one instance for each connection, so attributes are the connection's state.
    """

    _sync: ClassVar[bool] = False

    #: Which entry of ``CHANNEL_LAYERS`` to use.
    channel_layer_alias: str = DEFAULT_CHANNEL_LAYER

    #: Seconds that a handler may go on after its client has gone, before it is cancelled.
    disconnect_grace: float = 0.05

    #: Tasks that may run beside the handlers at a time: see :meth:`start_background_task`.
    max_background_tasks: int = 20

    #: Seconds that background tasks may take to end when the connection has ended, before they are
    #: left alone, with a line in the log.
    background_grace: float = 5.0

    #: Seconds within which a WebSocket has to be accepted or closed, before the client is refused
    #: with 503; None for as long as it takes. Browsers may give up sooner (Firefox after 20 s). By
    #: default what the limits say, and 30.0 if they do not.
    handshake_timeout: float | None = cast("float | None", _HandshakeTimeout())

    #: Seconds that a client may take nothing of what it is sent, before it is disconnected (with
    #: 1013); None for as long as it likes. About as long as servers wait for a client's pong.
    send_timeout: float | None = 20.0

    #: Who may come in, asked before ``connect()``, and before a request is handled: see
    #: :mod:`channels.security.permissions`. None for everybody. A worker's consumers have no client
    #: to be asked about.
    permissions: Permission | type[Permission] | None = None

    #: Accept a WebSocket that :attr:`permissions` refuse, and close it with 4401 or 4403, which
    #: pages can see, instead of refusing the handshake with 401 or 403, which they cannot.
    refuse_by_close: bool = False
    #: Whether the connection ends when its user signs out, is deactivated or deleted, changes the
    #: password, or the session expires. See the setting ``CHANNELS_REVOCATION``.
    ends_with_session: bool = True

    #: How much clients of this consumer may do, such as ``Limits(messages_per_connection="20/s")``
    #: or a dict. What it leaves out is as the setting ``CHANNELS_LIMITS`` has it.
    client_limits: "Limits | Mapping[str, Any] | None" = None

    # Set on the instance before the first handler runs. The layer is None when none is configured;
    # the type leaves that out, as that of get_channel_layer() does.
    scope: Scope
    channel_layer: FullChannelLayer
    channel_name: str
    channel_receive: Callable[[], Awaitable[dict[str, Any]]]
    base_send: Callable[[Any], Any]

    _channels_connection: Connection | None = None
    _channels_guard: Guard | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Find mistakes in what the class declares.

        Raises:
            InvalidPermission: :attr:`permissions` can be asked nothing.
            InvalidDeclaration: a type of message is declared that cannot be accepted.
        """
        super().__init_subclass__(**kwargs)
        entry_rule(inspect.getattr_static(cls, "permissions"))
        _guard(cls)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the connection from its first event to its end."""
        self.scope = scope
        connection = self._channels_connection = Connection(self, send)
        self.base_send = self._channels_make_base_send(connection)
        await connection.run(receive, self._channels_open_channel)

    def _channels_make_base_send(self, connection: Connection) -> Callable[[Any], Any]:
        return connection.send

    def _channels_entry_rule(self) -> Permission | None:
        return entry_rule(self.permissions)

    def _channels_make_guard(self) -> Guard | None:
        guard = self._channels_guard = guard_for(self.scope, self)
        return guard

    async def _channels_open_channel(self, wake: Callable[[], None]) -> Mailbox | None:
        layer: Any = get_channel_layer(self.channel_layer_alias)
        self.channel_layer = layer
        if layer is None:
            return None
        self.channel_name = name = await layer.new_channel()
        self.channel_receive = functools.partial(layer.receive, name)
        mailbox = adapt(layer).open_mailbox(name, wake)
        guard = self._channels_guard
        if guard is not None and guard.groups is not None:
            adapt(layer).limit_groups(name, guard.groups, guard.count_groups)
        return mailbox

    @any_name
    async def dispatch(self, message: Any) -> None:
        """Give ``message`` to its handler.

        Raises:
            ValueError: no handler takes messages of this type.
        """
        handler: Callable[[Message], Any] = find_handler(self, message)
        try:
            await handler(message)
        except TypeError as error:
            refuse_plain(self, get_handler_name(message), error)
            raise

    @any_name
    async def layer_gap(self, message: Any) -> None:
        """Called once when messages to this channel may have been lost, with the ``reason``.

        Override it to fetch what the client may have missed.
        """

    async def on_worker_shutdown(self) -> None:
        """Called once when this consumer ends in a worker, and nowhere else.

        The worker ends, a handler has failed, or the consumer has to make room for others. Override
        it to stop what handlers have started, and to save what must not get lost. What
        :attr:`channel_layer` offers works. When the worker ends, this counts among the seconds
        that handlers have for it (``Worker.drain_timeout``).
        """

    async def _channels_shut_down(self) -> None:
        hook: Callable[[], Any] = self.on_worker_shutdown
        try:
            await hook()
        except TypeError as error:
            refuse_plain(self, _HOOK, error)
            raise

    async def send(self, message: Message) -> None:
        """Send an ASGI message to the client, as a dict with a ``type``."""
        await self.base_send(message)

    def start_background_task(
        self, target: Callable[_P, Awaitable[_R]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> "asyncio.Task[_R]":
        """Run a coroutine beside the handlers, until the connection ends at the latest.

        Then it is cancelled and awaited, before ``disconnect()`` is called. What it raises is
        treated as if a handler had raised it: it is logged, and the connection ends. In
        ``disconnect()`` none can be started any more.

        Args:
            target: a coroutine function.
            *args: what it is called with.
            **kwargs: what it is called with.

        Returns:
            The task, which may be awaited or cancelled.

        Raises:
            TooManyBackgroundTasks: :attr:`max_background_tasks` are running.
            BackgroundTaskError: the connection has ended, or this is another thread than the event
                loop's.
            InvalidMethodError: ``target`` is no coroutine function.
        """
        return _background(self, BackgroundTasks).start(target, args, kwargs)

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ConsumerApplication[Self]:
        """An ASGI application that makes one consumer, with ``initkwargs``, per connection.

        Raises:
            ImproperlyConfigured: :attr:`client_limits` are no limits, or an argument would be
                ignored that says who may connect.
        """
        _refuse_ignored(cls, initkwargs)
        _guard(cls)  # in case that a base class did not pass __init_subclass__() on
        class_limits(cls)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                consumer = cls(**initkwargs)
            except Exception:
                raise
            except BaseException as error:
                if is_interrupt(error):
                    raise
                raise contained(error, f"{cls.__qualname__}.__init__()") from error
            await consumer(scope, receive, send)

        functools.update_wrapper(app, cls, updated=())
        application = cast("ConsumerApplication[Self]", app)
        application.consumer_class = cls
        application.consumer_initkwargs = initkwargs
        return application


@framework()
class SyncConsumer(AsyncConsumer):
    """The same with plain methods, which run in a thread.

    Behind a server they share a bounded pool of threads, so one that blocks holds up only its own
    connection.
    """

    _sync: ClassVar[bool] = True

    _channels_sender: SendFromThread | None = None

    def _channels_make_base_send(self, connection: Connection) -> Callable[[Any], Any]:
        loop, pooled = asyncio.get_running_loop(), from_server(self.scope)
        self._channels_sender = SendFromThread(connection.send, loop, pooled=pooled)
        return self._channels_sender

    @any_name
    async def dispatch(self, message: Any) -> None:
        """Give ``message`` to its handler, in a thread.

        Raises:
            ValueError: no handler takes messages of this type.
        """
        handler = find_handler(self, message)
        pooled = from_server(getattr(self, "scope", {}))
        try:
            outcome = await threads.run(handler, message, pooled=pooled, owner=self)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and self._channels_sender is not None:
                # A client that does not read does not hold up the end.
                self._channels_sender.cancel()
            with contextlib.suppress(Exception):  # the first failure is the one that is told
                await self._channels_settle()
            if pooled and isinstance(error, KeyboardInterrupt):  # it comes to the main thread only
                raise contained(error, type(self).__qualname__) from error
            raise
        await self._channels_settle()
        if outcome is not None:
            refuse_coroutine(self, get_handler_name(message), outcome)

    async def _channels_settle(self) -> None:
        """Wait until the client has taken what a handler has sent."""
        if self._channels_sender is not None and not self._channels_sender.settled:
            await self._channels_sender.settle()

    @any_name
    def layer_gap(self, message: Any) -> None:  # type: ignore[override]
        """Called once when messages to this channel may have been lost, with the ``reason``.

        Override it to fetch what the client may have missed.
        """

    def on_worker_shutdown(self) -> None:  # type: ignore[override]
        """Called once when this consumer ends in a worker, and nowhere else.

        The worker ends, a handler has failed, or the consumer has to make room for others. Override
        it to stop what handlers have started, and to save what must not get lost. When the worker
        ends, this counts among the seconds that handlers have for it (``Worker.drain_timeout``).
        """

    async def _channels_shut_down(self) -> None:
        hook: Callable[[], Any] = self.on_worker_shutdown
        refuse_coroutine(self, _HOOK, await threads.run(hook, pooled=False, owner=self))

    def send(self, message: Message) -> None:  # type: ignore[override]
        """Send an ASGI message to the client, as a dict with a ``type``."""
        self.base_send(message)

    def start_background_task(  # type: ignore[override]
        self, target: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> "Future[_R]":
        """Call a function in a thread of its own, beside the handlers.

        When the connection has ended, :attr:`background_stopping` is set, and ``disconnect()`` is
        called when the function has returned, or after :attr:`background_grace` seconds. What the
        function raises is treated as if a handler had raised it: it is logged, and the connection
        ends. In ``disconnect()`` none can be started any more.

        Args:
            target: a function.
            *args: what it is called with.
            **kwargs: what it is called with.

        Returns:
            A future for what the function returns. It cannot be cancelled.

        Raises:
            TooManyBackgroundTasks: :attr:`max_background_tasks` are running, or as many in this
                process as the setting ``CHANNELS_BACKGROUND_THREADS`` says.
            BackgroundTaskError: the connection has ended.
            InvalidMethodError: ``target`` is a coroutine function.
        """
        return _background(self, BackgroundThreads).start(target, args, kwargs)

    @functools.cached_property
    def background_stopping(self) -> threading.Event:
        """Set when the connection has ended and its background tasks are to return.

        In a loop, ``self.background_stopping.wait(5)`` takes the place of ``time.sleep(5)``: it
        returns True as soon as the task is to return.
        """
        return _background(self, BackgroundThreads).stopping
