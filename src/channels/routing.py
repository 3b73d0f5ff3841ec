"""Which application serves this scope: by protocol, by path, or by channel name."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls.resolvers import RoutePattern, URLPattern, URLResolver

from ._runtime.denial import deny
from ._runtime.hints import explain_scope
from ._runtime.installed import remind
from ._runtime.nesting import is_wsgi, routes_further
from ._runtime.scopes import from_server
from ._runtime.types import ASGIApplication, Receive, Scope, Send
from .exceptions import NoRouteFound
from .lifespan import Lifespan

__all__ = [
    "ChannelNameRouter",
    "ProtocolTypeRouter",
    "URLRouter",
    "get_default_application",
    "slashed_routes",
]

_Route: TypeAlias = URLPattern | URLResolver


def get_default_application() -> ASGIApplication:
    """Import the application that ``settings.ASGI_APPLICATION`` names.

    Raises:
        ImproperlyConfigured: the setting is missing, or leads to nothing.

    """
    setting = getattr(settings, "ASGI_APPLICATION", None)
    if not isinstance(setting, str) or "." not in setting:
        raise ImproperlyConfigured(
            "Cannot find ASGI_APPLICATION setting. Set it to the dotted path of your ASGI "
            f"application, such as 'mysite.asgi.application' (it is {setting!r})."
        )
    path, name = setting.rsplit(".", 1)
    try:
        module = import_module(path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"Cannot import ASGI_APPLICATION module {path!r}: {error}"
        ) from error
    try:
        application: ASGIApplication = getattr(module, name)
    except AttributeError as error:
        raise ImproperlyConfigured(
            f"Cannot find {name!r} in ASGI_APPLICATION module {path}."
        ) from error
    if is_wsgi(application):
        raise ImproperlyConfigured(
            f"ASGI_APPLICATION {setting!r} is a WSGI application, which serves no WebSockets. Name "
            "the one of your asgi.py, such as 'mysite.asgi.application', which is made with "
            "get_asgi_application() or ProtocolTypeRouter({...})."
        )
    return application


class ProtocolTypeRouter:
    """Chooses an application by the type of the scope (``"http"``, ``"websocket"``, ...).

    The ``lifespan`` of the server is answered here unless the mapping has an application for it,
    such as ``channels.lifespan.Lifespan(on_startup=[...])``.

    Args:
        application_mapping: ``{scope type: ASGI application}``.

    Raises:
        ImproperlyConfigured: at construction, when a consumer's class was given instead of
            ``Consumer.as_asgi()``.
        NoRouteFound: when called with a type that is not in the mapping. To a server's client
            this is a 404 and one line in the log instead.

    """

    def __init__(self, application_mapping: Mapping[str, ASGIApplication]) -> None:
        for scope_type, application in application_mapping.items():
            _refuse_classes(application, f"ProtocolTypeRouter, scope type {scope_type!r}")
        self.application_mapping = application_mapping
        self._lifespan = Lifespan()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the application that is configured for this type of scope."""
        scope_type = scope["type"]
        if from_server(scope):
            remind()
        application = self.application_mapping.get(scope_type)
        if application is not None:
            try:
                return await application(scope, receive, send)
            except KeyError as error:
                explain_scope(error)
                raise
        if scope_type == "lifespan":
            return await self._lifespan(scope, receive, send)
        reason = f"No application configured for scope type {scope_type!r}"
        return await _not_found(self, scope, send, reason)


class URLRouter:
    """Chooses an application by path, with Django's ``path()``, ``re_path()`` and ``include()``.

    A route may lead to another router, also one that is wrapped in middleware: the inner router
    sees what the outer pattern left of the path, so that pattern must not consume all of it
    (``path()`` patterns never do here; a regular expression must not end in ``$``). When the
    inner router has no match, the next route of the outer one is tried.

    The application finds the captured values in ``scope["url_route"]``, as ``{"args": (...),
    "kwargs": {...}}``: those of outer patterns first, inner ones winning, and each pattern's
    extra keyword arguments over what it captured.

    Args:
        routes: patterns, tried in this order. Their applications are read at each connection.

    Raises:
        ImproperlyConfigured: at construction, when a route is not a pattern, has an invalid
            regular expression, or leads to a class or a Django view instead of an application.
        NoRouteFound: when called with a path that no route matches. To a server's client this
            is a 404 and one line in the log instead.

    """

    # Tells an outer router (of any package) that this application looks at the rest of the path.
    _path_routing = True

    def __init__(self, routes: Sequence[_Route]) -> None:
        self.routes = routes
        _prepare(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the application of the first route that matches, here and in inner routers."""
        nested = "path_remaining" in scope
        path = scope["path_remaining"] if nested else _path_below_root(scope)
        if path is None:
            reason = f"No route found for path {scope['path']!r}, outside of root_path."
            return await _not_found(self, scope, send, reason)
        path = path.lstrip("/")
        outer = scope.get("url_route") or {}
        slashed: list[str] = []
        for match in _matches(self.routes, path):
            url_route = {
                "args": (*outer.get("args", ()), *match.args),
                "kwargs": {**outer.get("kwargs", {}), **match.kwargs},
            }
            inner_scope = {**scope, "path_remaining": match.rest, "url_route": url_route}
            try:
                return await match.application(inner_scope, receive, send)
            except _NoInnerRoute as error:
                slashed.append(error.hint)
        hint = "".join(dict.fromkeys([*slashed, _slash_hint(self.routes)]))
        reason = f"No route found for path {path!r}.{hint}"
        if nested:
            raise _NoInnerRoute(reason, hint)
        return await _not_found(self, scope, send, reason)


class ChannelNameRouter:
    """Chooses an application by the name of the channel; what ``runworker`` serves.

    Args:
        application_mapping: ``{channel name: ASGI application}``.

    Raises:
        ImproperlyConfigured: at construction, when a consumer's class was given instead of
            ``Consumer.as_asgi()``.
        NoRouteFound: when called for a channel that is not in the mapping.
        ValueError: when called with a scope that has no channel.

    """

    def __init__(self, application_mapping: Mapping[str, ASGIApplication]) -> None:
        for channel, application in application_mapping.items():
            _refuse_classes(application, f"ChannelNameRouter, channel {channel!r}")
        self.application_mapping = application_mapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the application that is configured for this channel."""
        if "channel" not in scope:
            raise ValueError(
                "ChannelNameRouter got a scope without a 'channel' key. Use it only for the "
                f"'channel' scope type of workers, not for {scope.get('type')!r}."
            )
        application = self.application_mapping.get(scope["channel"])
        if application is None:
            raise NoRouteFound(f"No application configured for channel name {scope['channel']!r}")
        return await application(scope, receive, send)


class _NoInnerRoute(NoRouteFound):
    """An inner router has no match, so the outer one is to try its next route.

    Nobody else raises this: an application's own ``Resolver404`` is never mistaken for it.
    """

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class _Match(NamedTuple):
    application: ASGIApplication
    rest: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def _matches(routes: Sequence[_Route], path: str) -> Iterator[_Match]:
    """Yield what matches ``path``, in order, with captures merged as ``django.urls`` does."""
    for route in routes:
        found = route.pattern.match(path)
        if found is None:
            continue
        rest, args, captured = found
        if not isinstance(route, URLResolver):
            yield _Match(route.callback, rest, args, {**captured, **route.default_args})
            continue
        for inner in _matches(route.url_patterns, rest):
            kwargs = {**captured, **route.default_kwargs, **inner.kwargs}
            # Positional captures of an include() count only where there are no named ones.
            inner_args = inner.args if kwargs else args + inner.args
            yield inner._replace(args=inner_args, kwargs=kwargs)


def slashed_routes(routes: Sequence[_Route]) -> Iterator[_Route]:
    """The routes that begin with a slash, here and in includes.

    The path to match has none in front: such a ``path()`` never matches, and a ``re_path()`` only
    in the middle of a path.
    """
    for route in routes:
        if str(route.pattern).lstrip("^").lstrip("\\").startswith("/"):
            yield route
        if isinstance(route, URLResolver):
            yield from slashed_routes(route.url_patterns)


def _slash_hint(routes: Sequence[_Route]) -> str:
    """What to say of routes that cannot match."""
    patterns = [repr(str(route.pattern)) for route in islice(slashed_routes(routes), 3)]
    if not patterns:
        return ""
    return f" (Routes must not begin with a slash, as {', '.join(patterns)} does: remove it.)"


def _path_below_root(scope: Scope) -> str | None:
    """The path without ``root_path``, which it includes (ASGI specification); None if it is not."""
    try:
        path: str = scope["path"]
    except KeyError:
        raise ValueError(
            f"No 'path' key in the scope, cannot route URLs (scope type {scope.get('type')!r})."
        ) from None
    root = (scope.get("root_path") or "").rstrip("/")
    if not root:
        return path
    if path == root or path.startswith(root + "/"):
        return path[len(root) :]
    return None


async def _not_found(router: object, scope: Scope, send: Send, reason: str) -> None:
    if from_server(scope) and scope["type"] in {"http", "websocket"}:
        await deny(scope, send, status=404, reason=reason, sender=type(router))
    else:
        raise NoRouteFound(reason)


def _prepare(routes: Sequence[_Route]) -> None:
    """Refuse routes that cannot work, and let ``path()`` in front of a router match a prefix.

    Compiles every regular expression too (patterns do it when ``regex`` is first read), so that
    an invalid one is found now and the first connection does not pay.
    """
    for route in routes:
        if not hasattr(route, "pattern"):
            raise ImproperlyConfigured(
                f"URLRouter takes a list of path() and re_path() routes, not {route!r}."
            )
        if isinstance(route, URLResolver):
            _prepare(route.url_patterns)
        else:
            _refuse_classes(route.callback, f"URLRouter, route '{route.pattern}'")
            pattern = route.pattern
            if isinstance(pattern, RoutePattern) and routes_further(route.callback):
                route.pattern = RoutePattern(str(pattern), pattern.name, is_endpoint=False)
        _ = route.pattern.regex


def _refuse_classes(application: object, where: str) -> None:
    """Catch the usual mistakes when the project starts rather than at the first connection.

    A class may be an ASGI application only when its instances can be awaited, as Starlette's
    endpoints can.
    """
    if isinstance(application, type) and not hasattr(application, "__await__"):
        name = application.__name__
        instead = (
            f"{name}.as_asgi()" if hasattr(application, "as_asgi") else f"an instance of {name}"
        )
        raise ImproperlyConfigured(f"{where}: pass {instead}, not the class {name}.")
    view = getattr(application, "view_class", None)
    if isinstance(view, type):
        raise ImproperlyConfigured(
            f"{where}: {view.__name__}.as_view() is a Django view, not an ASGI application. Put "
            "it into your ROOT_URLCONF and route 'http' to get_asgi_application()."
        )
