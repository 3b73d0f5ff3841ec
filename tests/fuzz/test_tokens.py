"""Headers, subprotocols, query strings and frames, with tokens that are good, forged or rubbish."""

import asyncio
import base64
import contextlib
import functools
import json
import time
from types import SimpleNamespace

import jwt
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from channels._runtime.tenure import Tenure
from channels.exceptions import TokenRefused
from channels.security.tokens import (
    Identity,
    JWTVerifier,
    SignedTokenVerifier,
    TokenAuthMiddleware,
)
from channels.security.tokens.reading import take

from . import fuzz

SECRET = "a secret of more than thirty-two bytes"


#: A user that no database knows.
ANNA = User(pk=7)


class Signed(SignedTokenVerifier):
    async def _user(self, content):
        return ANNA


class Jwt(JWTVerifier):
    async def get_user(self, claims):
        return ANNA


class Ticket:
    one_time = True

    async def verify(self, token):
        if token == "ticket_good":
            return Identity(ANNA)
        if token.startswith("ticket_"):
            raise TokenRefused("used")
        return None


VERIFIERS = [Signed(), Jwt(SECRET, algorithms=["HS256"]), Ticket()]


@functools.cache
def signed():
    """Made late: it needs settings."""
    return SignedTokenVerifier().make_token(ANNA, lifetime=1e6)


JWT = jwt.encode({"sub": "7", "exp": time.time() + 1e6}, SECRET, "HS256")


@st.composite
def forged(draw):
    """A good token with something else in one place."""
    token = draw(st.sampled_from([signed(), JWT]))
    at = draw(st.integers(0, len(token) - 1))
    other = draw(st.characters(min_codepoint=33, max_codepoint=126) | st.just(""))
    return token[:at] + other + token[at + 1 :]


RUBBISH = st.text(max_size=40) | st.text(alphabet="ey.:_-=AJ09 ,\x00\xff", max_size=60)
TOKENS = st.deferred(lambda: st.sampled_from([signed(), JWT, "ticket_good"]) | forged() | RUBBISH)
SCHEMES = st.sampled_from(["Bearer ", "bearer ", "Bearer", "Bearer  ", "Basic ", "", "Token "])


def encoded(text):
    return text.encode("utf-8", "surrogatepass")


@st.composite
def scopes(draw):
    headers = [
        (b"authorization", encoded(draw(SCHEMES) + token))
        for token in draw(st.lists(TOKENS, max_size=2))
    ]
    offered = []
    if draw(st.booleans()):
        offered = draw(
            st.lists(st.just("channels.bearer") | st.just("chat.v1") | TOKENS, max_size=4)
        )
        headers.append((b"sec-websocket-protocol", encoded(", ".join(offered))))
    names = st.sampled_from(["ticket", "%74icket", "a", "tick+et", ""])
    query = "&".join(f"{name}={draw(TOKENS)}" for name in draw(st.lists(names, max_size=2)))
    return {
        "type": draw(st.sampled_from(["websocket", "http"])),
        "path": "/",
        "asgi": {},
        "headers": headers,
        "subprotocols": offered,
        "query_string": encoded(query),
        "extensions": {"websocket.http.response": {}},
    }


def is_good(token, in_query=False):
    return token in (["ticket_good"] if in_query else [signed(), JWT, "ticket_good"])


def is_as_good(token):
    """Some bits of a JWT's last character are no part of its signature; some parsers mind them."""
    with contextlib.suppress(ValueError):
        return token[:-1] == JWT[:-1] and signature(token) == signature(JWT)
    return False


def signature(token):
    text = token.rpartition(".")[2]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def receive():
    return {"type": "websocket.connect"}


def call(scope):
    """What the application is given, or the status of the refusal."""
    given, sent = [], []

    async def application(scope, receive, send):
        given.append(scope)

    async def send(message):
        sent.append(message)

    app = TokenAuthMiddleware(application, VERIFIERS)
    async_to_sync(app)(scope, receive, send)
    return given[0] if given else sent[0]["status"]


@fuzz
@given(scopes())
def test_a_client_comes_in_by_one_good_token_or_with_none(scope):
    tokens = take(scope, {b"bearer"}, "ticket").tokens
    found = call(scope)
    if not tokens:
        assert not found["user"].is_authenticated
    elif len(tokens) > 1:
        assert found == 400
    else:
        ((token, in_query),) = tokens
        assert found == 401 or found["user"] is ANNA
        assert (found != 401) is is_good(token, in_query) or is_as_good(token)


@fuzz
@given(scopes())
def test_nothing_of_a_token_goes_further(scope):
    """But for what a client has put where no token belongs, too."""
    found = call(scope)
    presented = take(scope, {b"bearer"}, "ticket")
    left = repr((presented.scope["headers"], presented.scope["query_string"]))
    if not isinstance(found, int):
        for token, _ in presented.tokens:
            shown = repr(token)[1:-1]
            assert len(token) < 12 or shown in left or shown not in repr(found)
    for name, value in presented.scope["headers"]:
        assert name != b"authorization" or value.strip().split(b" ")[0].lower() != b"bearer"
    assert scope["type"] == "http" or "channels.bearer" not in presented.scope["subprotocols"]


@fuzz
@given(forged())
def test_a_token_that_was_changed_is_good_for_nobody(token):
    async def verify(verifier):
        try:
            return await verifier.verify(token)
        except TokenRefused:
            return None

    accepted = [asyncio.run(verify(verifier)) is not None for verifier in VERIFIERS]
    assert any(accepted) is is_good(token) or is_as_good(token)


FRAMES = (
    st.text(max_size=80)
    | st.dictionaries(st.sampled_from(["type", "token", "x"]), TOKENS | st.none()).map(json.dumps)
    | st.builds(
        lambda token, space: '{"type":' + space + '"channels.token","token":' + token,
        st.one_of(TOKENS.map(lambda t: json.dumps(t) + "}"), st.text(max_size=30)),
        st.sampled_from(["", " ", "\t\n"]),
    )
)


@fuzz
@given(FRAMES, st.sampled_from(["text", "bytes"]))
def test_a_frame_is_taken_or_goes_to_the_consumer(text, key):
    events = [
        {"type": "websocket.receive", key: text if key == "text" else encoded(text)},
        {"type": "websocket.disconnect", "code": 1000},
    ]
    waiting, taken = list(events), []

    async def receive():
        return waiting.pop(0)

    async def refresh(scope, token):
        taken.append(token)

    async def run():
        credential = SimpleNamespace(expires_at=None, changed=None, refresh=refresh)
        consumer = SimpleNamespace(scope={"type": "websocket", "path": "/"})

        async def send(message):
            return None

        tenure = Tenure(credential, consumer, receive, SimpleNamespace(send=send), None)
        given = [await tenure.receive()]
        if waiting:
            given.append(await tenure.receive())
        while tenure._refreshing is not None:
            await asyncio.sleep(0)
        tenure.finish()
        return given

    given = asyncio.run(run())
    if taken:
        assert given == events[1:]
        assert json.loads(text)["type"] == "channels.token"
    else:
        assert given == events
