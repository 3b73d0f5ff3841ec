"""Routing, seen from the applications it leads to and from the clients it turns away."""

import functools
import gc
import logging
import re
import sys
import types
import weakref
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.urls import Resolver404, include, path, re_path, register_converter
from django.urls.converters import get_converters
from django.urls.resolvers import RegexPattern, URLResolver
from hypothesis import given
from hypothesis import strategies as st

from channels import signals
from channels.auth import AuthMiddlewareStack
from channels.exceptions import ChannelsError, NoRouteFound
from channels.lifespan import Lifespan
from channels.routing import (
    ChannelNameRouter,
    ProtocolTypeRouter,
    URLRouter,
    get_default_application,
)
from channels.security.websocket import OriginValidator
from channels.testing import WebsocketCommunicator

SERVER = {"asgi": {"version": "3.0"}}


class Application:
    """Remembers the scopes it was called with."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)

    @property
    def url_route(self) -> Any:
        assert len(self.scopes) == 1
        return self.scopes[0]["url_route"]


class Middleware:
    """The least that wraps an application: keeps it as ``inner``."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return await self.inner({**scope, "seen": True}, receive, send)


async def nothing_to_receive() -> Any:
    raise AssertionError("a router reads nothing")


async def call(application: Any, path_: str = "/", **scope: Any) -> list[Any]:
    """Run it as a test would; returns what it sent."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await application({"type": "websocket", "path": path_, **scope}, nothing_to_receive, send)
    return sent


# -- URLRouter: matching


async def test_path_and_re_path_are_tried_in_order():
    first, second, third = Application(), Application(), Application()
    router = URLRouter(
        [
            path("rooms/<slug:name>/", first),
            re_path(r"^rooms/(?P<name>\w+)/(?P<tab>\w+)?/?$", second),
            re_path(r"^rooms/(\w+)-(\w+)/$", third),
            path("rooms/a-b/", third),
        ]
    )
    await call(router, "/rooms/lobby/")
    assert first.url_route == {"args": (), "kwargs": {"name": "lobby"}}
    assert first.scopes[0]["path_remaining"] == ""
    await call(router, "/rooms/lobby/files/")
    assert second.url_route == {"args": (), "kwargs": {"name": "lobby", "tab": "files"}}
    assert third.scopes == []


async def test_groups_that_did_not_take_part_are_left_out_and_positional_ones_are_args():
    named, positional = Application(), Application()
    router = URLRouter(
        [
            re_path(r"^n/(?P<a>x)?(?P<b>y)$", named),
            re_path(r"^p/(\d+)/(\w+)/$", positional),
        ]
    )
    await call(router, "/n/y")
    assert named.url_route == {"args": (), "kwargs": {"b": "y"}}
    await call(router, "/p/7/z/")
    assert positional.url_route == {"args": ("7", "z"), "kwargs": {}}


async def test_converters_make_values_and_may_decline():
    class Even:
        regex = "[0-9]+"

        def to_python(self, value: str) -> int:
            if int(value) % 2:
                raise ValueError("odd")
            return int(value)

        def to_url(self, value: int) -> str:
            return str(value)

    if "even" not in get_converters():
        register_converter(Even, "even")
    even, other = Application(), Application()
    router = URLRouter([path("n/<even:number>/", even), path("n/<number>/", other)])
    await call(router, "/n/4/")
    await call(router, "/n/5/")
    assert even.url_route["kwargs"] == {"number": 4}
    assert other.url_route["kwargs"] == {"number": "5"}


async def test_extra_kwargs_of_a_pattern_win_over_its_captures():
    application = Application()
    await call(URLRouter([path("<a>/", application, {"a": 1, "b": 2})]), "/x/")
    assert application.url_route["kwargs"] == {"a": 1, "b": 2}


async def test_the_callers_scope_is_left_alone():
    application = Application()
    scope = {"type": "websocket", "path": "/x/"}
    await URLRouter([path("x/", application)])(scope, nothing_to_receive, nothing_to_receive)
    assert scope == {"type": "websocket", "path": "/x/"}
    assert application.scopes[0]["path"] == "/x/"


async def test_result_and_exceptions_of_the_application_come_through():
    async def application(scope: Any, receive: Any, send: Any) -> str:
        return "result"

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("mine")

    router = URLRouter([path("a/", application), path("b/", failing)])
    scope = {"type": "http", "path": "/a/"}
    assert await router(scope, nothing_to_receive, nothing_to_receive) == "result"
    with pytest.raises(KeyError, match="mine"):
        await call(router, "/b/")


async def test_routes_stay_djangos_patterns_with_callback_and_pattern():
    application = Application()
    routes = [path("a/", application), re_path("^b/$", application)]
    router = URLRouter(routes=routes)
    assert router.routes is routes
    assert [route.callback for route in router.routes] == [application, application]
    assert [str(route.pattern) for route in router.routes] == ["a/", "^b/$"]


async def test_a_url_route_that_somebody_began_is_completed():
    application = Application()
    await call(URLRouter([path("<a>/", application)]), "/x/", url_route={"kwargs": {"b": 1}})
    assert application.url_route == {"args": (), "kwargs": {"a": "x", "b": 1}}


async def test_a_callback_replaced_by_a_tracer_is_used():
    application, tracer = Application(), Application()
    router = URLRouter([path("a/", application)])
    router.routes[0].callback = tracer
    await call(router, "/a/")
    assert (len(application.scopes), len(tracer.scopes)) == (0, 1)


@given(
    kwargs=st.dictionaries(
        st.sampled_from(["a", "b", "c"]), st.from_regex(r"[a-z0-9_-]+", fullmatch=True), min_size=1
    ),
    cut=st.integers(0, 3),
)
async def test_nesting_and_including_anywhere_changes_nothing(kwargs, cut):
    segments = [f"{name}/<{name}>/" for name in kwargs]
    outer, inner = "".join(segments[:cut]), "".join(segments[cut:])
    url = "/" + "".join(f"{name}/{value}/" for name, value in kwargs.items())
    for routes in (
        lambda app: [path(outer + inner, app)],
        lambda app: [path(outer, URLRouter([path(inner, app)]))],
        lambda app: [path(outer, Middleware(URLRouter([path(inner, app)])))],
        lambda app: [path(outer, include([path(inner, app)]))],
    ):
        application = Application()
        await call(URLRouter(routes(application)), url)
        assert application.url_route == {"args": (), "kwargs": kwargs}
        assert application.scopes[0]["path_remaining"] == ""


# -- URLRouter: inner routers


async def test_inner_router_sees_the_rest_and_merges_outer_to_inner():
    application = Application()
    inner = URLRouter([re_path(r"^(\d+)/(\w+)$", application, {"k": "inner"})])
    outer = URLRouter([re_path(r"^u/(\w+)/", inner, {"k": "outer", "o": 1})])
    await call(outer, "/u/ann/3/x")
    # As in Django, a pattern's positional captures stand beside kwargs from elsewhere.
    assert application.url_route == {"args": ("ann", "3", "x"), "kwargs": {"k": "inner", "o": 1}}


@pytest.mark.parametrize("attribute", ["inner", "application"])
async def test_path_leads_to_a_router_behind_middleware(attribute):
    class Wrapper:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await getattr(self, attribute)(scope, receive, send)

    application, wrapper = Application(), Wrapper()
    setattr(wrapper, attribute, Middleware(URLRouter([path("b/", application)])))
    await call(URLRouter([path("a/", wrapper)]), "/a/b/")
    assert application.scopes[0]["seen"] is True


class WithSlots:
    __slots__ = ("_next",)

    def __init__(self, inner):
        self._next = inner

    async def __call__(self, scope, receive, send):
        await self._next(scope, receive, send)


class WithMethod:
    def __init__(self, inner):
        self.wrapped_application = inner

    async def serve(self, scope, receive, send):
        await self.wrapped_application(scope, receive, send)


def decorated(inner):
    @functools.wraps(inner, updated=())
    async def application(*arguments):
        await application.__wrapped__(*arguments)

    return application


def in_a_function(inner):
    async def application(scope, receive, send):
        return await inner(dict(scope), receive, send)

    return application


async def call_with(inner, scope, receive, send):
    await inner(scope, receive, send)


@pytest.mark.parametrize(
    "wrap",
    [
        in_a_function,
        decorated,
        WithSlots,
        lambda inner: WithMethod(inner).serve,
        lambda inner: functools.partial(call_with, inner),
        lambda inner: in_a_function(Middleware(decorated(WithSlots(inner)))),
        lambda inner: ProtocolTypeRouter({"websocket": in_a_function(inner)}),
    ],
)
async def test_path_leads_to_a_router_in_middleware_of_any_form(wrap):
    application = Application()
    outer = URLRouter([path("<int:n>/", wrap(URLRouter([path("b/", application)])))])
    await call(outer, "/1/b/")
    assert application.url_route["kwargs"] == {"n": 1}
    with pytest.raises(NoRouteFound):
        await call(outer, "/1/c/")


async def test_path_to_a_function_still_ends_there():
    async def application(scope, receive, send):
        served.append(scope["path"])

    served = []
    router = URLRouter([path("a/", in_a_function(decorated(application)))])
    await call(router, "/a/")
    with pytest.raises(NoRouteFound):
        await call(router, "/a/b/")
    assert served == ["/a/"]


async def test_middleware_around_itself_is_looked_through_once():
    def around(inner=None):
        async def application(scope, receive, send):
            if inner is None:
                await application(scope, receive, send)

        application.itself = application
        return application

    with pytest.raises(NoRouteFound):
        await call(URLRouter([path("a/", around())]), "/a/b/")


@pytest.mark.parametrize(
    "route",
    [
        lambda inner: ProtocolTypeRouter({"websocket": inner}),
        lambda inner: URLRouter([path("ws/", inner)]),
        lambda inner: URLRouter([path("ws/", URLRouter([path("", inner)]))]),
        lambda inner: ChannelNameRouter({"name": inner}),
        Middleware,
    ],
)
async def test_what_the_application_returns_is_returned(route):
    async def application(scope, receive, send):
        return "the result"

    scope = {"type": "websocket", "path": "/ws/", "channel": "name"}
    assert await route(application)(scope, None, None) == "the result"


async def test_nothing_is_kept_of_applications_that_nobody_uses():
    class Wrapper(Middleware):
        async def __call__(self, scope, receive, send):
            return await super().__call__(scope, receive, send)

    async def application(scope, receive, send):
        await send({"type": "websocket.close"})

    stack = AuthMiddlewareStack(OriginValidator(Wrapper(application), ["*"]))
    router = ProtocolTypeRouter({"websocket": URLRouter([path("ws/", stack)])})
    communicator = WebsocketCommunicator(router, "/ws/")
    assert await communicator.connect() == (False, 1000)
    await communicator.wait()
    kept = [weakref.ref(thing) for thing in (router, Wrapper, application)]
    del router, Wrapper, application, stack, communicator
    gc.collect()
    assert [thing() for thing in kept] == [None] * 3


async def test_path_leads_to_whatever_says_that_it_routes_by_path():
    class Foreign(Application):
        _path_routing = True

    foreign = Foreign()
    await call(URLRouter([path("a/", foreign)]), "/a/b/c")
    assert foreign.scopes[0]["path_remaining"] == "b/c"


async def test_path_to_an_application_still_ends_there():
    application = Application()
    router = URLRouter([path("a/", Middleware(application))])
    with pytest.raises(NoRouteFound):
        await call(router, "/a/b/")


async def test_a_terminated_regex_leaves_nothing_for_the_inner_router():
    empty, more = Application(), Application()
    router = URLRouter([re_path("^a/$", URLRouter([path("", empty), path("b/", more)]))])
    await call(router, "/a/")
    assert len(empty.scopes) == 1
    with pytest.raises(NoRouteFound):
        await call(router, "/a/b/")


async def test_leading_slashes_of_what_remains_are_ignored():
    application = Application()
    router = URLRouter([path("a", URLRouter([path("b/", application)]))])
    await call(router, "/a/b/")
    assert len(application.scopes) == 1


async def test_next_route_is_tried_when_the_inner_router_has_no_match():
    application = Application()
    deepest = URLRouter([path("nothing/", Application())])
    router = URLRouter(
        [
            path("a/", Middleware(URLRouter([path("b/", deepest)]))),
            path("a/b/c/", application),
        ]
    )
    await call(router, "/a/b/c/")
    assert application.scopes[0]["path_remaining"] == ""
    assert "seen" not in application.scopes[0]


@pytest.mark.parametrize("error", [Resolver404("mine"), ValueError("No route found for path mine")])
async def test_an_applications_own_errors_are_not_taken_for_no_match(error):
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise error

    second = Application()
    router = URLRouter([path("a/", URLRouter([path("b/", application)])), path("a/b/", second)])
    with pytest.raises(type(error)) as caught:
        await call(router, "/a/b/")
    assert caught.value is error
    assert second.scopes == []


# -- URLRouter: include()


async def test_include_takes_a_list_a_module_and_a_pair_and_merges_like_django(monkeypatch):
    application = Application()
    module = types.ModuleType("included_routes")
    module.urlpatterns = [re_path(r"^r/(?P<room>\w+)/$", application, {"i": 1})]
    monkeypatch.setitem(sys.modules, "included_routes", module)
    for included in (
        include(module.urlpatterns),
        include((module.urlpatterns, "chat")),
        include("included_routes"),
    ):
        application.scopes.clear()
        router = URLRouter([path("<int:n>/", included, {"o": 2, "i": 0, "n": 7})])
        await call(router, "/5/r/lobby/")
        assert application.url_route == {
            "args": (),
            "kwargs": {"n": 7, "o": 2, "i": 1, "room": "lobby"},
        }


async def test_include_of_an_include_goes_on_to_the_next_route():
    application = Application()
    inner = [path("x/", Application()), path("y/", include([path("z/", Application())]))]
    router = URLRouter([path("a/", include(inner)), path("a/y/w/", application)])
    await call(router, "/a/y/w/")
    assert len(application.scopes) == 1


async def test_included_positional_captures_add_up_unless_there_are_named_ones():
    positional, named = Application(), Application()
    router = URLRouter(
        [
            re_path(
                r"^(\d+)/",
                include([re_path(r"^p/(\d+)$", positional), re_path(r"^n/(?P<b>\d+)$", named)]),
            )
        ]
    )
    await call(router, "/1/p/2")
    await call(router, "/1/n/2")
    assert positional.url_route == {"args": ("1", "2"), "kwargs": {}}
    assert named.url_route == {"args": (), "kwargs": {"b": "2"}}


segments = st.sampled_from([r"(\d)", r"(?P<a>\d)", r"(?P<b>\d)", r"\d"])
extras = st.sampled_from([{}, {}, {"a": "extra"}])
trees = st.recursive(
    st.tuples(segments, extras),
    lambda inner: st.tuples(segments, extras, st.lists(inner, min_size=1, max_size=2)),
    max_leaves=4,
)


@given(st.lists(trees, min_size=1, max_size=3), st.from_regex(r"\d{1,4}", fullmatch=True))
async def test_included_patterns_capture_what_django_captures(drawn, digits):
    application = Application()

    def patterns(nodes: Any) -> list[Any]:
        return [
            re_path(f"^{node[0]}", include(patterns(node[2])), node[1])
            if len(node) == 3
            else re_path(f"^{node[0]}$", application, node[1])
            for node in nodes
        ]

    routes = patterns(drawn)
    router = URLRouter(routes)
    try:
        expected = URLResolver(RegexPattern("^/"), routes).resolve(f"/{digits}")
    except Resolver404:
        with pytest.raises(NoRouteFound):
            await call(router, f"/{digits}")
    else:
        await call(router, f"/{digits}")
        assert application.url_route == {"args": expected.args, "kwargs": expected.kwargs}


async def test_include_may_lead_to_routers():
    application = Application()
    router = URLRouter(
        [path("a/", include([path("b/", Middleware(URLRouter([path("c/", application)])))]))]
    )
    await call(router, "/a/b/c/")
    assert len(application.scopes) == 1


# -- URLRouter: root_path


@pytest.mark.parametrize("root", ["/mount", "/mount/"])
async def test_root_path_is_taken_off_once(root):
    application = Application()
    router = URLRouter([path("a/", URLRouter([path("mount/a/", application)]))])
    await call(router, "/mount/a/mount/a/", root_path=root)
    assert application.scopes[0]["root_path"] == root
    assert application.scopes[0]["path"] == "/mount/a/mount/a/"


@pytest.mark.parametrize("outside", ["/a/", "/mountain/a/", "/", ""])
async def test_a_path_outside_of_root_path_has_no_route(outside):
    router = URLRouter([path("a/", Application()), re_path("", Application())])
    with pytest.raises(NoRouteFound, match=re.escape(f"No route found for path {outside!r}")):
        await call(router, outside, root_path="/mount")


async def test_root_path_itself_is_the_empty_path():
    application = Application()
    await call(URLRouter([path("", application)]), "/mount", root_path="/mount")
    assert len(application.scopes) == 1


# -- No route


async def test_no_route_raises_without_a_server():
    router = URLRouter([path("a/", Application())])
    with pytest.raises(ValueError, match=re.escape("No route found for path 'b/c/'.")) as caught:
        await call(router, "/b/c/")
    assert isinstance(caught.value, NoRouteFound)
    assert isinstance(caught.value, ChannelsError)


async def test_no_route_in_the_inner_router_either_names_the_whole_path():
    router = URLRouter([path("a/", Middleware(URLRouter([path("b/", Application())])))])
    with pytest.raises(NoRouteFound, match=re.escape("No route found for path 'a/c/'.")):
        await call(router, "/a/c/")


async def test_a_scope_without_path_is_a_clear_error():
    router = URLRouter([path("a/", Application())])
    with pytest.raises(ValueError, match="No 'path' key in the scope"):
        await router({"type": "channel"}, nothing_to_receive, nothing_to_receive)


async def test_a_servers_websocket_without_route_is_denied_with_404_and_one_line(caplog):
    router = URLRouter([path("a/", URLRouter([path("b/", Application())]))])
    refused: list[Any] = []

    def on_refused(**arguments: Any) -> None:
        refused.append((arguments["sender"], arguments["status"]))

    signals.connection_refused.connect(on_refused)
    try:
        with caplog.at_level(logging.DEBUG, logger="channels"):
            sent = await call(
                router, "/a/\x1b[31mc", extensions={"websocket.http.response": {}}, **SERVER
            )
    finally:
        signals.connection_refused.disconnect(on_refused)
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == 404
    assert refused == [(URLRouter, 404)]
    [record] = caplog.records
    assert record.exc_info is None
    assert "No route found for path 'a/" in record.getMessage()
    assert record.getMessage().isprintable()


async def test_a_servers_websocket_is_closed_where_there_are_no_denial_responses():
    router = URLRouter([path("a/", Application())])
    assert await call(router, "/b/", **SERVER) == [{"type": "websocket.close"}]


async def test_a_servers_http_request_without_route_gets_404():
    router = URLRouter([path("a/", Application())])
    start, body = await call(router, "/b/", type="http", **SERVER)
    assert (start["type"], start["status"]) == ("http.response.start", 404)
    assert body == {"type": "http.response.body", "body": b"Not Found"}


async def test_any_other_type_of_a_server_raises():
    router = URLRouter([path("a/", Application())])
    with pytest.raises(NoRouteFound):
        await call(router, "/b/", type="mqtt", **SERVER)


# -- Mistakes are found at construction


class Consumer:
    @classmethod
    def as_asgi(cls) -> Any:
        return Application()


class NoApplication:
    pass


def nest(route: Any) -> list[Any]:
    return [path("x/", include([route]))]


@pytest.mark.parametrize("wrap", [lambda route: [route], nest])
def test_a_consumer_class_as_callback_is_refused(wrap):
    with pytest.raises(ImproperlyConfigured, match=r"route 'a/': pass Consumer\.as_asgi\(\)"):
        URLRouter(wrap(path("a/", Consumer)))


def test_any_other_class_is_refused_too():
    with pytest.raises(ImproperlyConfigured, match="pass an instance of NoApplication"):
        URLRouter([path("a/", NoApplication)])


async def test_a_class_whose_instances_can_be_awaited_is_an_application():
    calls = []

    class Endpoint:
        def __init__(self, scope: Any, receive: Any, send: Any) -> None:
            self.path = scope["path"]

        def __await__(self) -> Any:
            calls.append(self.path)
            return iter(())

    await call(URLRouter([path("a/", Endpoint)]), "/a/")
    assert calls == ["/a/"]


def test_a_django_view_is_refused():
    from django.views import View

    class Page(View):
        pass

    with pytest.raises(ImproperlyConfigured, match=r"Page\.as_view\(\) is a Django view"):
        URLRouter([path("a/", Page.as_view())])


@pytest.mark.parametrize("route", [("a/", Application()), "a/", None, Application()])
def test_what_is_no_route_is_refused(route):
    with pytest.raises(ImproperlyConfigured, match=r"path\(\) and re_path\(\) routes"):
        URLRouter([route])


def test_an_invalid_regular_expression_is_found():
    with pytest.raises(ImproperlyConfigured, match="not a valid regular expression"):
        URLRouter([re_path("^a(", Application())])


@pytest.mark.parametrize("router", [ProtocolTypeRouter, ChannelNameRouter])
def test_mappings_refuse_classes(router):
    with pytest.raises(ImproperlyConfigured, match=r"'some': pass Consumer\.as_asgi\(\)"):
        router({"some": Consumer})


# -- ProtocolTypeRouter


async def test_protocol_types():
    http, websocket = Application(), Application()
    mapping = {"http": http, "websocket": websocket}
    router = ProtocolTypeRouter(mapping)
    assert router.application_mapping is mapping
    await call(router, type="http")
    assert (len(http.scopes), len(websocket.scopes)) == (1, 0)


async def test_unconfigured_type_raises_without_a_server():
    message = re.escape("No application configured for scope type 'websocket'")
    with pytest.raises(ValueError, match=message) as caught:
        await call(ProtocolTypeRouter({}))
    assert isinstance(caught.value, NoRouteFound)


async def test_unconfigured_type_of_a_server_is_answered_with_one_line(caplog):
    router = ProtocolTypeRouter({})
    start, _ = await call(router, type="http", **SERVER)
    assert start["status"] == 404
    assert await call(router, type="websocket", **SERVER) == [{"type": "websocket.close"}]
    assert ["No application configured for scope type" in line for line in caplog.messages] == [
        True,
        True,
    ]
    with pytest.raises(NoRouteFound, match="'mqtt'"):
        await call(router, type="mqtt", **SERVER)


async def test_lifespan_is_answered_unless_it_is_mapped():
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive() -> Any:
        return next(events)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await ProtocolTypeRouter({"http": Application()})({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    mine = Application()
    await call(ProtocolTypeRouter({"lifespan": mine}), type="lifespan")
    assert len(mine.scopes) == 1
    assert not isinstance(mine, Lifespan)


# -- ChannelNameRouter


async def test_channel_names():
    thumbnails = Application()
    router = ChannelNameRouter({"thumbnails": thumbnails})
    await call(router, type="channel", channel="thumbnails")
    assert thumbnails.scopes[0]["channel"] == "thumbnails"
    with pytest.raises(ValueError, match="No application configured for channel name 'other'"):
        await call(router, type="channel", channel="other")
    with pytest.raises(ValueError, match="without a 'channel' key"):
        await call(router)


# -- get_default_application


application = Application()


def test_default_application():
    with override_settings(ASGI_APPLICATION=f"{__name__}.application"):
        assert get_default_application() is sys.modules[__name__].application


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (None, "Cannot find ASGI_APPLICATION setting"),
        ("", "Cannot find ASGI_APPLICATION setting"),
        ("application", "Cannot find ASGI_APPLICATION setting"),
        (Application(), "Cannot find ASGI_APPLICATION setting"),
        ("no_such_module.application", "Cannot import ASGI_APPLICATION module 'no_such_module': "),
        ("channels.nothing", "Cannot find 'nothing' in ASGI_APPLICATION module channels"),
    ],
)
def test_default_application_that_cannot_be_found(setting, message):
    with (
        override_settings(ASGI_APPLICATION=setting),
        pytest.raises(ImproperlyConfigured, match=message),
    ):
        get_default_application()


def test_default_application_when_there_is_no_setting_at_all(settings):
    settings.ASGI_APPLICATION = None
    del settings.ASGI_APPLICATION
    with pytest.raises(ImproperlyConfigured, match="Cannot find ASGI_APPLICATION setting"):
        get_default_application()
