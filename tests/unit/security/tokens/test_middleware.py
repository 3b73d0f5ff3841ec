"""Who comes in with a token, and what of it the application sees."""

import asyncio
import time

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ImproperlyConfigured

from channels.auth import AuthMiddlewareStack, login
from channels.exceptions import InvalidArgument, ScopeError, TokenRefused, VerifierUnavailable
from channels.generic.http import AsyncHttpConsumer
from channels.generic.sse import AsyncSseConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.security.permissions import IsAuthenticated, PermissionMiddleware
from channels.security.tokens import Identity, TokenAuthMiddleware, refresh_token
from tests.asgi import Server, until

from .helpers import (
    ANNA,
    Echo,
    Known,
    User,
    application,
    bearer,
    client,
    connected,
    create_user,
    in_thread,
    known,
    refused,
)

OFFERED = ["channels.bearer", "good"]


async def test_a_good_token_lets_its_user_in():
    async with connected(application(), bearer("good")):
        assert Echo.seen["user"] is ANNA
        assert Echo.seen["token"].verifier == "Known"
        assert "good" not in repr(Echo.seen)


async def test_without_a_token_nobody_is_signed_in():
    async with connected(application()):
        assert not Echo.seen["user"].is_authenticated
        assert Echo.seen["token"] is None


async def test_what_an_outer_middleware_of_tokens_has_found_stays():
    inner = TokenAuthMiddleware(Echo.as_asgi(), known())
    async with connected(TokenAuthMiddleware(inner, known()), bearer("good")):
        assert (Echo.seen["user"], Echo.seen["token"].verifier) == (ANNA, "Known")


class Other(Known):
    """Another kind of verifier."""


@pytest.mark.parametrize("kind", ["websocket", "http"])
async def test_a_required_token_that_an_outer_middleware_has_taken(kind):
    verifier = known()
    inner = application(verifier, required=True)
    for outer in (verifier, [Other(), verifier]):
        nested = TokenAuthMiddleware(inner, outer)
        assert (await refused(nested, scope_type=kind))[0] == 401
        async with connected(nested, bearer("good")):
            assert (Echo.seen["user"], Echo.seen["token"].verifier) == (ANNA, "Known")
            assert Echo.seen["subprotocols"] == []
    # What the inner one is to see is more than that the outer one has let in.
    for outer in (Known(good=Identity(User(5))), Other(good=Identity(ANNA)), [known(), verifier]):
        nested = TokenAuthMiddleware(inner, outer)
        assert (await refused(nested, bearer("good"), scope_type=kind))[0] == 401


async def test_the_user_of_an_outer_middleware_stays_if_there_is_no_token():
    other = User(2)
    async with connected(application(), user=other):
        assert Echo.seen["user"] is other
    async with connected(application(), bearer("good"), user=other):
        assert Echo.seen["user"] is ANNA


@pytest.mark.django_db(transaction=True)
async def test_a_middleware_further_in_finds_who_comes_with_a_session():
    user = await in_thread(create_user)
    session = SessionStore()
    await login({"session": session}, user)
    await session.asave()
    cookie = [(b"cookie", f"sessionid={session.session_key}".encode())]
    app = TokenAuthMiddleware(AuthMiddlewareStack(Echo.as_asgi()), known())
    async with connected(app, cookie):
        assert (Echo.seen["user"], Echo.seen["token"]) == (user, None)
    async with connected(app):
        assert not Echo.seen["user"].is_authenticated
    async with connected(app, [*cookie, *bearer("good")]):
        assert Echo.seen["user"] is ANNA


INVALID = b'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    ("headers", "status", "challenge"),
    [
        (bearer("bad"), 401, INVALID),
        (bearer("unknown"), 401, INVALID),
        (bearer("x" * 9000), 401, INVALID),
        (bearer(""), 401, INVALID),
        (bearer("good") * 2, 400, b'Bearer error="invalid_request"'),
        (bearer("away"), 503, None),
    ],
)
@pytest.mark.parametrize("kind", ["websocket", "http"])
async def test_bad_ones_are_refused(headers, status, challenge, kind):
    app = application(known(away=VerifierUnavailable("it is away")))
    found, told = await refused(app, headers, scope_type=kind)
    assert (found, told.get(b"www-authenticate")) == (status, challenge)


async def test_a_server_without_denial_responses_closes():
    assert (await refused(application(), bearer("bad"), extensions={}))[0] == "websocket.close"


async def test_a_token_may_be_required():
    app = application(required=True)
    status, headers = await refused(app)
    assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
    async with connected(app, bearer("good")):
        assert Echo.seen["user"] is ANNA


@pytest.mark.parametrize(
    ("token", "code"), [("bad", 4401), ("late", 4419), ("away", 1013), ("two", 4401)]
)
async def test_a_page_is_told_by_a_close_if_the_project_wants_that(token, code):
    verifier = known(late=TokenRefused("", expired=True), away=VerifierUnavailable(""))
    app = application(verifier, refuse_by_close=True)
    offered = ["channels.bearer", token]
    if token == "two":
        offered *= 2
    server = await client(app, subprotocols=offered).connect()
    await server.ended()
    assert server.sent == [
        {"type": "websocket.accept", "subprotocol": "channels.bearer"},
        {"type": "websocket.close", "code": code},
    ]
    server = await client(app, bearer("bad")).connect()
    assert server.sent[0] == {"type": "websocket.accept", "subprotocol": None}


class Choosing(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept(self.scope["subprotocols"][0])


async def test_a_page_offers_its_token_as_a_subprotocol():
    async with connected(application(), subprotocols=OFFERED) as server:
        assert server.sent[0]["subprotocol"] == "channels.bearer"
        assert (Echo.seen["subprotocols"], Echo.seen["user"]) == ([], ANNA)
    chosen = application(consumer=Choosing)
    async with connected(chosen, subprotocols=[*OFFERED, "chat.v1"]) as server:
        assert server.sent[0]["subprotocol"] == "chat.v1"


async def test_only_one_time_tokens_may_be_in_the_query_string():
    ticket = Known(one_time=True, good=Identity(User(3)))
    app = application([known(), ticket])
    async with connected(app, query_string=b"a=1&ticket=good"):
        assert (Echo.seen["user"].pk, Echo.seen["query_string"]) == (3, b"a=1")
    assert (await refused(app, query_string=b"ticket=bad"))[0] == 401
    async with connected(application(), query_string=b"ticket=good"):
        assert not Echo.seen["user"].is_authenticated


async def test_verifiers_have_schemes_of_their_own():
    app = application(Known(schemes=("Bearer", "Token"), good=Identity(ANNA)))
    async with connected(app, [(b"authorization", b"Token good")]):
        assert Echo.seen["user"] is ANNA


async def test_other_protocols_pass():
    seen = []

    async def inner(scope, receive, send):
        seen.append(scope)

    await TokenAuthMiddleware(inner, known())({"type": "lifespan"}, None, None)
    assert seen == [{"type": "lifespan"}]


async def test_permissions_refuse_anonymous_clients_with_the_challenge():
    app = application(consumer=Echo)
    app.inner = PermissionMiddleware(app.inner, IsAuthenticated)
    status, headers = await refused(app)
    assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")


class Plain:
    def verify(self, token):
        return Identity(ANNA)


@pytest.mark.parametrize("verifiers", [[], None, ["x"], [Known(), object()], 5, Plain()])
def test_verifiers_have_to_be_given(verifiers):
    with pytest.raises(ImproperlyConfigured, match=r"needs verifiers, such as"):
        TokenAuthMiddleware(Echo.as_asgi(), verifiers)


# Expiry


def expiring(seconds, **more):
    return known(short=Identity(ANNA, time.time() + seconds), **more)


class Leaving(Echo):
    code = None

    async def disconnect(self, code):
        type(self).code = code


async def test_a_websocket_is_closed_when_its_token_expires():
    app = application(expiring(0.1), consumer=Leaving)
    server = await client(app, bearer("short")).connect()
    await until(lambda: server.sent[-1]["type"] == "websocket.close")
    assert server.sent[-1] == {
        "type": "websocket.close",
        "code": 4419,
        "reason": "token expired",
    }
    await server.leave(1006)
    assert Leaving.code == 4419


class Events(AsyncSseConsumer):
    pass


async def test_a_stream_of_events_ends_when_its_token_expires():
    app = application(expiring(0.1), Events)
    server = client(app, bearer("short"), scope_type="http", method="GET")
    server.put("http.request")
    server.start()
    await server.ended()
    assert server.sent[0]["status"] == 200
    assert not server.sent[-1].get("more_body")


# Refresh


class Refreshing(Echo):
    async def receive(self, text_data=None, bytes_data=None):
        try:
            identity = await refresh_token(self.scope, text_data)
        except (TokenRefused, ScopeError) as error:
            await self.send(type(error).__name__)
        else:
            await self.send(repr(identity))


class SyncRefreshing(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        identity = async_to_sync(refresh_token)(self.scope, text_data)
        self.send(repr(identity))


@pytest.mark.parametrize("consumer", [Refreshing, SyncRefreshing])
async def test_a_consumer_refreshes_the_token(consumer):
    verifier = known(short=Identity(ANNA, time.time() + 100), other=Identity(User(2)))
    async with connected(application(verifier, consumer), bearer("short")) as server:
        server.text("good")
        await until(lambda: server.texts() == ["<Identity: user 1 by Known>"])
        assert server.task.done() is False


async def test_a_consumer_is_told_what_cannot_be_refreshed():
    verifier = known(other=Identity(User(2)))
    async with connected(application(verifier, Refreshing), bearer("good")) as server:
        server.text("other")
        await until(lambda: server.texts() == ["TokenRefused"])
    async with connected(application(verifier, Refreshing)) as server:
        server.text("good")
        await until(lambda: server.texts() == ["ScopeError"])


class Slow(AsyncHttpConsumer):
    async def handle(self, body):
        await asyncio.sleep(0)
        await self.send_response(200, self.scope["user"].__class__.__name__.encode())


async def test_requests_have_tokens_too():
    server = Server(application(known(), Slow), "http", headers=bearer("good"))
    server.put("http.request")
    server.start()
    await server.ended()
    assert server.sent[-1]["body"] == b"User"


async def test_without_a_query_parameter_tickets_are_nowhere_in_the_query_string():
    ticket = Known(one_time=True, good=Identity(User(3)))
    app = application(ticket, query_parameter=None, required=True)
    assert (await refused(app, query_string=b"ticket=good&None=good"))[0] == 401


@pytest.mark.parametrize("parameter", ["", 5])
def test_a_query_parameter_has_a_name(parameter):
    with pytest.raises(ImproperlyConfigured, match="query_parameter must be text"):
        application(query_parameter=parameter)


async def test_a_newer_token_is_text():
    for scope, token in ((None, "good"), ({}, None), ({}, b"good"), ({}, "")):
        with pytest.raises(InvalidArgument):
            await refresh_token(scope, token)
