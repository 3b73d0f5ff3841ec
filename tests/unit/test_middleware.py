import pytest
from django.urls import path

from channels.middleware import BaseMiddleware
from channels.routing import URLRouter


class Recorder:
    """An application that remembers what it was called with."""

    def __init__(self):
        self.calls = []

    async def __call__(self, scope, receive, send):
        self.calls.append((scope, receive, send))
        scope["added inside"] = True


async def receive():
    raise AssertionError("nobody asked the client anything")


async def send(message):
    raise AssertionError("nobody told the client anything")


async def test_the_application_gets_the_same_callables_and_a_copy_of_the_scope():
    application = Recorder()
    scope = {"type": "websocket", "path": "/"}
    await BaseMiddleware(application)(scope, receive, send)
    [(inner_scope, inner_receive, inner_send)] = application.calls
    assert inner_scope == {"type": "websocket", "path": "/", "added inside": True}
    assert inner_receive is receive
    assert inner_send is send
    assert scope == {"type": "websocket", "path": "/"}


async def test_what_the_application_raises_comes_through():
    async def application(scope, receive, send):
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        await BaseMiddleware(application)({}, receive, send)


async def test_a_subclass_may_skip_the_constructor():
    class Careless(BaseMiddleware):
        def __init__(self, application):
            self.inner = application

        async def __call__(self, scope, receive, send):
            return await super().__call__(dict(scope, user="somebody"), receive, send)

    application = Recorder()
    await Careless(application)({}, receive, send)
    assert application.calls[0][0]["user"] == "somebody"


def looks_at_the_rest(application):
    """What the routers of other packages ask it, before they match a prefix of the path."""
    return getattr(application, "_path_routing", False)


async def test_a_router_inside_is_found_through_any_number_of_middlewares():
    application = Recorder()
    inner = URLRouter([path("room/<int:number>/", application)])
    wrapped = BaseMiddleware(BaseMiddleware(inner))
    assert looks_at_the_rest(wrapped) is True
    await URLRouter([path("chat/", wrapped)])(
        {"type": "websocket", "path": "/chat/room/7/"}, receive, send
    )
    assert application.calls[0][0]["url_route"]["kwargs"] == {"number": 7}


def test_without_a_router_inside_there_is_no_mark():
    class Empty(BaseMiddleware):
        def __init__(self):
            pass

    assert looks_at_the_rest(BaseMiddleware(Recorder())) is False
    assert looks_at_the_rest(Empty()) is False


async def test_the_mark_that_middleware_assigns_is_what_routers_see():
    """As documented, for what gets its application from where no router is found."""

    class Copying(BaseMiddleware):
        def __init__(self, application):
            super().__init__(application)
            self._path_routing = True

    application = Recorder()
    wrapped = Copying(application)
    assert looks_at_the_rest(wrapped) is True
    await URLRouter([path("chat/", wrapped)])(
        {"type": "websocket", "path": "/chat/room/7/"}, receive, send
    )
    assert application.calls[0][0]["path_remaining"] == "room/7/"
