"""The checks that tell of what neither permissions nor limits reach."""

import functools

import pytest
from django.core.asgi import get_asgi_application
from django.urls import path

from channels import application_checks
from channels.auth import AuthMiddlewareStack
from channels.bypass_checks import check_ignored_declarations, check_unguarded
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.contrib.health import HealthApplication
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.limits import LimitMiddleware
from channels.security.permissions import AllowAny, IsAuthenticated, PermissionMiddleware


@pytest.fixture
def check(monkeypatch):
    """The messages of a check about an application."""

    def run(application, which=check_ignored_declarations):
        monkeypatch.setattr(application_checks, "project_application", lambda: application)
        return which(None)

    return run


def routed(*targets):
    routes = [
        path(f"{number}/", target.as_asgi() if hasattr(target, "as_asgi") else target)
        for number, target in enumerate(targets)
    ]
    return ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter(routes))})


async def answer(self, scope, receive, send):
    await send({"type": "websocket.close"})


async def raw(scope, receive, send):
    await send({"type": "websocket.close"})


BASES = [AsyncConsumer, SyncConsumer, AsyncWebsocketConsumer, WebsocketConsumer]


@pytest.mark.parametrize("base", BASES)
def test_permissions_that_an_overridden_call_never_asks(check, base):
    own = {"__call__": answer, "permissions": IsAuthenticated, "client_limits": {"bytes": "1/s"}}
    own["client_limits"] = {"messages_per_connection": "1/s"}
    consumer = type("Own", (base,), own)
    (message,) = check(routed(consumer, consumer))
    assert message.id == "channels.W035"
    assert message.msg.startswith(f"{__name__}.Own has permissions and client_limits, which nobody")
    assert "super().__call__" in message.hint


def test_what_is_declared_further_up_counts_too(check):
    base = type("Base", (AsyncWebsocketConsumer,), {"permissions": IsAuthenticated()})
    assert check(routed(base)) == []
    (message,) = check(routed(type("Own", (base,), {"__call__": answer})))
    assert "Own has permissions, which nobody reads" in message.msg
    open_ = type("Open", (base,), {"__call__": answer, "permissions": None})
    assert check(routed(open_)) == []
    assert check(routed(type("Bare", (AsyncWebsocketConsumer,), {"__call__": answer}))) == []


class Calls(AsyncWebsocketConsumer):
    permissions = IsAuthenticated

    async def __call__(self, scope, receive, send):
        await super().__call__(scope, receive, send)


class CallsByName(Calls):
    async def __call__(self, scope, receive, send):
        await AsyncWebsocketConsumer.__call__(self, scope, receive, send)


class CallsWithin(Calls):
    async def __call__(self, scope, receive, send):
        async def go():
            await super(CallsWithin, self).__call__(scope, receive, send)

        await go()


class CallsByAMethod(Calls):
    async def __call__(self, scope, receive, send):
        await self.serve(scope, receive, send)

    async def serve(self, scope, receive, send):
        await super().__call__(scope, receive, send)


def timed(method):
    async def call(self, *args):
        await method(self, *args)

    return call


class Decorated(Calls):
    __call__ = timed(Calls.__call__)


class DecoratedWell(Calls):
    __call__ = functools.wraps(Calls.__call__)(timed(Calls.__call__))


class Compiled(Calls):
    __call__ = functools.partialmethod(Calls.__call__)


@pytest.mark.parametrize(
    "consumer",
    [Calls, CallsByName, CallsWithin, CallsByAMethod, Decorated, DecoratedWell, Compiled],
)
def test_a_call_that_leads_to_that_of_the_framework_is_no_mistake(check, consumer):
    assert check(routed(consumer)) == check(routed(consumer), check_unguarded) == []


def test_a_class_that_another_package_makes_an_application_of_is_believed_to(check):
    def application(scope, receive, send):
        """Makes something of the class."""

    application.consumer_class = type("Foreign", (), {"client_limits": {"message_size": 1}})
    assert check(routed(application)) == check(routed(application), check_unguarded) == []


def test_methods_that_call_each_other_lead_nowhere(check):
    class Circling(Calls):
        async def __call__(self, scope, receive, send):
            await self.circle(scope)

        async def circle(self, scope):
            await self.circle(scope)

    class Accepting(Calls):
        async def __call__(self, scope, receive, send):
            await self.accept()

    for consumer in (Circling, Accepting):
        assert [message.id for message in check(routed(consumer))] == ["channels.W035"]


class Plain:
    """No consumer, although it looks like one."""

    permission_classes = [IsAuthenticated]
    client_limits = {"messages_per_connection": "1/s"}
    refuse_by_close = False

    async def __call__(self, scope, receive, send):
        await raw(scope, receive, send)


def test_what_is_no_consumer_has_no_permissions(check):
    (message,) = check(routed(Plain()))
    assert f"{__name__}.Plain has permission_classes and client_limits, which nobody" in message.msg
    assert "PermissionMiddleware" in message.hint


@pytest.mark.parametrize("value", [None, ["chat.view"], property(lambda self: AllowAny), raw])
def test_what_projects_mean_by_these_names_is_theirs(check, value):
    plain = type("Theirs", (), {"__call__": Plain.__call__, "permissions": value})
    assert check(routed(plain())) == []


def test_websockets_that_nothing_guards(check):
    own = type("Own", (AsyncWebsocketConsumer,), {"__call__": answer})
    application = routed(own, raw, BaseMiddleware(raw), Plain(), AsyncWebsocketConsumer)
    (message,) = check(application, check_unguarded)
    assert message.id == "channels.W036"
    assert message.msg.endswith("or overrides __call__(): BaseMiddleware, Own, Plain, raw.")
    (message,) = check(ProtocolTypeRouter({"websocket": raw}), check_unguarded)
    assert message.msg.endswith(": raw.")


def test_what_stands_in_front_or_serves_no_websockets(check):
    for guarded in (
        LimitMiddleware(raw, message_size=1000),
        PermissionMiddleware(raw, IsAuthenticated),
        BaseMiddleware(LimitMiddleware(raw, message_size=1000)),
        HealthApplication(),
        get_asgi_application(),
    ):
        assert check(routed(guarded), check_unguarded) == []
    outside = LimitMiddleware(URLRouter([path("", raw)]), message_size=1000)
    assert check(ProtocolTypeRouter({"websocket": outside}), check_unguarded) == []
    requests = LimitMiddleware(raw, message_size=1000, protocols=["http"])
    assert len(check(routed(requests), check_unguarded)) == 1
    for application in (None, ProtocolTypeRouter({"http": raw}), raw):
        assert check(application, check_unguarded) == []
