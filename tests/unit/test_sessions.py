import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from importlib import import_module
from typing import ClassVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings as django_settings
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.contrib.sessions.models import Session
from django.contrib.sessions.serializers import JSONSerializer
from django.http import HttpResponse, parse_cookie
from django.test import RequestFactory
from django.utils.functional import LazyObject
from hypothesis import given
from hypothesis import strategies as st

from channels.sessions import (
    CookieMiddleware,
    InstanceSessionWrapper,
    SessionMiddleware,
    SessionMiddlewareStack,
)

ENGINES = ["db", "cache", "cached_db", "file", "signed_cookies"]


async def receive():
    raise AssertionError("nobody asked the client anything")


def run(application, scope):
    """Call an application from this thread, so that it sees the test's transaction."""
    sent = []

    async def send(message):
        sent.append(message)

    async_to_sync(application)(scope, receive, send)
    return sent


def cookie_header(cookies):
    return (b"cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()).encode())


class Browser:
    """Keeps the cookies of one client from response to response."""

    def __init__(self, view, *, status=200, headers=(), **scope):
        self.cookies = {}
        self.scope = {"type": "http", **scope}
        self.status = status
        self.headers = headers
        self.view = view

    def get(self, view=None, status=None):
        async def application(scope, receive, send):
            await (view or self.view)(scope)
            await send(
                {
                    "type": "http.response.start",
                    "status": status or self.status,
                    "headers": self.headers,
                }
            )
            await send({"type": "http.response.body", "body": b"done"})

        scope = dict(self.scope, headers=[cookie_header(self.cookies)])
        start, *self.rest = run(SessionMiddlewareStack(application), scope)
        self.set_cookies = SimpleCookie()
        for name, value in start["headers"]:
            if name == b"Set-Cookie":
                self.set_cookies.load(value.decode())
        for name, morsel in self.set_cookies.items():
            if morsel["max-age"] == "0" or morsel["max-age"] == 0:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        return start

    @property
    def session_cookie(self):
        return self.set_cookies.get(django_settings.SESSION_COOKIE_NAME)


async def leave_alone(scope):
    pass


async def count_visits(scope):
    session = scope["session"]
    await session.aset("visits", await session.aget("visits", 0) + 1)


async def read(scope):
    await scope["session"].aget("visits")


async def empty(scope):
    await scope["session"].aflush()


def stored(browser):
    key = browser.cookies.get(django_settings.SESSION_COOKIE_NAME)
    store = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    return dict(store.items())


@pytest.fixture
def hops(monkeypatch):
    """Everything that is handed to a thread, counted where event loops do it."""
    counted = []
    original = asyncio.BaseEventLoop.run_in_executor

    def run_in_executor(self, executor, function, *arguments):
        counted.append(function)
        return original(self, executor, function, *arguments)

    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", run_in_executor)
    return counted


# Reading cookies


def cookies_in(headers):
    found = {}

    async def application(scope, receive, send):
        found.update(scope["cookies"])

    run(CookieMiddleware(application), {"type": "websocket", "headers": headers})
    return found


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a=1; b=2;c=3", {"a": "1", "b": "2", "c": "3"}),
        (b"a=1; a=2", {"a": "2"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"lonely", {"": "lonely"}),
        (b"=x", {"": "x"}),
        (b"a=; ;;=;", {"a": ""}),
        (b'a="x\\073 \\"y\\""', {"a": 'x; "y"'}),
        (b'a="unfinished', {"a": '"unfinished'}),
        (b'a="', {"a": '"'}),
        (b'a="\\400\\8"', {"a": "4008"}),
        (b"a=\xff\x00\xc3\xa6", {"a": "\xff\x00\xc3\xa6"}),
    ],
)
def test_cookies_are_parsed(header, cookies):
    assert cookies_in([(b"host", b"x"), (b"cookie", header)]) == cookies


def test_several_cookie_headers_are_joined_whatever_their_case():
    headers = [(b"cookie", b"a=1; b=2"), (b"x-cookie", b"no=no"), (b"Cookie", b"b=3; c=4")]
    assert cookies_in(headers) == {"a": "1", "b": "3", "c": "4"}


def test_no_cookie_header_is_no_cookies():
    assert cookies_in([(b"host", b"example.com")]) == {}


rubbish = st.one_of(
    st.binary(),
    st.lists(st.sampled_from([b";", b"=", b'"', b"\\", b"0", b"73", b" ", b"a", b"\xe9"])).map(
        b"".join
    ),
)


@given(rubbish)
def test_cookies_are_what_django_parses(header):
    assert cookies_in([(b"cookie", header)]) == parse_cookie(header.decode("latin1"))


@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"Cookie", b"host"]), rubbish)))
def test_no_headers_are_too_odd(headers):
    assert all(isinstance(value, str) for value in cookies_in(headers).values())


@pytest.mark.parametrize(
    "header",
    [
        b'a="' + b'\\"' * 50_000 + b'"',
        b"a" * 100_000,
        b";" * 100_000,
        b"=" * 100_000,
        b"a=1;" * 25_000,
        b'"' * 100_000,
        b"\xff" * 100_000,
    ],
)
def test_a_hostile_header_does_not_hold_up_the_event_loop(header):
    started = time.thread_time()
    cookies_in([(b"cookie", header)])
    # Quadratic unquoting takes about six seconds for the first of these.
    assert time.thread_time() - started < 1


def test_cookies_already_there_are_kept():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope["cookies"])

    cookies = {"from": "outside"}
    run(CookieMiddleware(application), {"type": "http", "cookies": cookies, "headers": []})
    run(CookieMiddleware(application), {"type": "http", "cookies": cookies})
    assert seen == [cookies, cookies]


def test_a_scope_without_headers_is_refused():
    with pytest.raises(ValueError, match="did not have a headers key"):
        run(CookieMiddleware(leave_alone), {"type": "channel"})


# Setting cookies


def set_cookie(*arguments, **options):
    message = {"type": "http.response.start"}
    CookieMiddleware.set_cookie(message, *arguments, **options)
    [(name, value)] = message["headers"]
    assert name == b"Set-Cookie"
    return value


def morsel(header):
    [morsel] = SimpleCookie(header.decode()).values()
    return morsel


def test_a_cookie_is_lax_and_for_every_path_unless_told():
    assert set_cookie("name", "value") == b"name=value; Path=/; SameSite=lax"


def test_every_attribute_of_a_cookie_is_written():
    header = set_cookie(
        "name",
        "value",
        max_age=60,
        path="/chat",
        domain=".example.com",
        secure=True,
        httponly=True,
        samesite="Strict",
    )
    written = morsel(header)
    assert written["max-age"] == "60"
    assert written["path"] == "/chat"
    assert written["domain"] == ".example.com"
    assert written["secure"] is True
    assert written["httponly"] is True
    assert written["samesite"] == "Strict"
    assert written["expires"].endswith("GMT")


@pytest.mark.parametrize("zone", [None, UTC])
def test_a_datetime_becomes_a_lifetime(zone):
    moment = datetime.now(UTC) + timedelta(hours=1)
    written = morsel(set_cookie("name", expires=moment.replace(tzinfo=zone)))
    assert 3590 < int(written["max-age"]) <= 3601


def test_a_moment_in_the_past_expires_the_cookie():
    assert morsel(set_cookie("name", expires=datetime(2001, 1, 1)))["max-age"] == "0"


def test_a_timedelta_and_a_fraction_are_lifetimes():
    assert morsel(set_cookie("name", max_age=timedelta(minutes=2)))["max-age"] == "120"
    assert morsel(set_cookie("name", max_age=1.9))["max-age"] == "1"


def test_an_http_date_is_written_as_it_is():
    header = set_cookie("name", expires="Thu, 01 Jan 2032 00:00:00 GMT")
    assert b"expires=Thu, 01 Jan 2032 00:00:00 GMT" in header


def test_a_moment_and_a_lifetime_contradict():
    with pytest.raises(ValueError, match="can't be used together"):
        set_cookie("name", max_age=1, expires=datetime.now(UTC))


def test_samesite_is_validated_and_can_be_left_out():
    with pytest.raises(ValueError, match="samesite must be"):
        set_cookie("name", samesite="sometimes")
    assert b"SameSite" not in set_cookie("name", samesite=None)


@pytest.mark.parametrize("value", ["", "a b;c,d", '"quoted"', "smørrebrød", "日本語 ☃"])
def test_any_text_is_a_value_that_comes_back(value):
    header = set_cookie("name", value).split(b"; Path")[0]
    [(_, read_back)] = cookies_in([(b"cookie", header)]).items()
    with suppress(UnicodeDecodeError):  # raised by Latin-1 text, which quoting made ASCII
        read_back = read_back.encode("latin1").decode()
    assert read_back == value


@pytest.mark.parametrize("headers", [None, [], [(b"a", b"b")], ((b"a", b"b"),)])
def test_the_headers_of_a_message_are_kept_and_never_changed_in_place(headers):
    message = {"type": "http.response.start", "headers": headers}
    before = list(headers or ())
    CookieMiddleware.set_cookie(message, "one", "1")
    CookieMiddleware.set_cookie(message, "two", "2")
    assert [value for _, value in message["headers"][:-2]] == [value for _, value in before]
    assert [value.split(b";")[0] for _, value in message["headers"][-2:]] == [b"one=1", b"two=2"]
    assert list(headers or ()) == before


def test_deleting_a_cookie_sends_one_that_has_expired():
    message = {"type": "http.response.start"}
    CookieMiddleware.delete_cookie(message, "name", path="/chat", domain="example.com")
    [(name, value)] = message["headers"]
    assert name == b"Set-Cookie"
    gone = morsel(value)
    assert (gone.value, gone["max-age"], gone["path"]) == ("", "0", "/chat")
    assert gone["domain"] == "example.com"
    assert gone["expires"] == "Thu, 01 Jan 1970 00:00:00 GMT"


# The stack


def test_a_session_needs_cookies():
    with pytest.raises(ValueError, match="needs to run inside of CookieMiddleware"):
        run(SessionMiddleware(leave_alone), {"type": "http", "headers": []})


def test_a_session_already_there_is_kept_and_not_saved():
    outside = {"a plain": "dict"}
    seen = []

    async def application(scope, receive, send):
        seen.append(scope["session"])
        await send({"type": "http.response.start", "status": 200})

    sent = run(
        SessionMiddlewareStack(application), {"type": "http", "headers": [], "session": outside}
    )
    assert seen[0] is outside
    assert sent == [{"type": "http.response.start", "status": 200}]


@pytest.mark.django_db
def test_a_stack_in_a_stack_saves_once():
    async def view(scope, receive, send):
        await count_visits(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    stack = SessionMiddlewareStack(SessionMiddlewareStack(view))
    [start] = run(stack, {"type": "http", "headers": []})
    assert [name for name, _ in start["headers"]].count(b"Set-Cookie") == 1
    assert Session.objects.count() == 1


def test_the_outer_scope_is_left_alone():
    scope = {"type": "websocket", "headers": []}
    run(SessionMiddlewareStack(accept), scope)
    assert scope == {"type": "websocket", "headers": []}


async def accept(scope, receive, send):
    await send({"type": "websocket.accept"})


# What a connection costs


def test_without_a_session_cookie_nothing_is_asked_and_no_thread_used(hops):
    # No django_db mark: a query would fail the test.
    sent = run(
        SessionMiddlewareStack(accept), {"type": "websocket", "headers": [(b"cookie", b"a=b")]}
    )
    assert sent == [{"type": "websocket.accept"}]
    assert hops == []


def test_a_session_that_is_not_read_is_not_loaded(hops):
    cookie = (b"cookie", b"sessionid=abcdefghijklmnopqrstuvwxyz012345")
    run(SessionMiddlewareStack(accept), {"type": "websocket", "headers": [cookie]})
    assert hops == []


@pytest.mark.parametrize("kind", ["websocket", "channel"])
def test_only_http_has_its_messages_looked_at(kind):
    seen = []

    async def application(scope, receive, send):
        seen.append(send)

    async def send(message):
        pass

    scope = {"type": kind, "headers": []}
    async_to_sync(SessionMiddlewareStack(application))(scope, receive, send)
    assert seen == [send]
    async_to_sync(SessionMiddlewareStack(application))(dict(scope, type="http"), receive, send)
    assert seen[1] is not send


@pytest.mark.django_db
def test_saving_a_session_takes_one_thread_hop(hops):
    async def view(scope):
        scope["session"].update({"visits": 1})

    browser = Browser(view)
    browser.get()
    assert len(hops) == 1
    assert stored(browser) == {"visits": 1}


# Sessions over HTTP


@pytest.fixture(params=ENGINES)
def engine(request, settings, tmp_path):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    return request.param


@pytest.mark.django_db
def test_a_session_lives_from_request_to_request(engine):
    browser = Browser(count_visits)
    browser.get()
    browser.get()
    browser.get()
    assert stored(browser) == {"visits": 3}


@pytest.mark.django_db
def test_an_emptied_session_loses_its_cookie(engine):
    browser = Browser(count_visits)
    browser.get()
    browser.get(empty)
    assert browser.cookies == {}
    assert browser.session_cookie["samesite"] == "Lax"
    assert browser.session_cookie["path"] == "/"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "cookie",
    [
        b"short",
        b"nul\x00nul\x00nul\x00",
        b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
        b"../../../../etc/passwd",
        b"a" * 60_000,
        b'"\\000\\001\\002\\003\\004\\005\\006\\007\\012"',
        b"unknown-but-well-formed-key-0123",
    ],
)
def test_a_rubbish_session_cookie_is_an_empty_session(engine, cookie):
    found = []

    async def view(scope, receive, send):
        found.append(await scope["session"].aget("visits"))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": "http", "headers": [(b"cookie", b"sessionid=" + cookie)]}
    [start] = run(SessionMiddlewareStack(view), scope)
    assert found == [None]
    assert start["status"] == 200


@pytest.mark.django_db
def test_a_session_is_saved_and_its_cookie_set_only_when_modified():
    browser = Browser(count_visits)
    start = browser.get()
    assert browser.session_cookie.value
    assert (b"Vary", b"Cookie") in start["headers"]
    start = browser.get(read)
    assert browser.session_cookie is None
    assert (b"Vary", b"Cookie") in start["headers"]
    start = browser.get(leave_alone)
    assert browser.session_cookie is None
    assert not start["headers"]


@pytest.mark.django_db
def test_no_session_is_made_for_who_stores_nothing(settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser = Browser(read)
    browser.get()
    assert browser.cookies == {}
    assert not Session.objects.exists()


@pytest.mark.django_db
def test_a_session_can_be_saved_at_every_request(settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser = Browser(count_visits)
    browser.get()
    start = browser.get(leave_alone)
    assert browser.session_cookie.value == browser.cookies["sessionid"]
    assert (b"Vary", b"Cookie") in start["headers"]


@pytest.mark.django_db
def test_a_session_that_had_expired_is_replaced_when_every_request_saves(engine, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    browser = Browser(leave_alone)
    browser.cookies["sessionid"] = "abcdefghijklmnopqrstuvwxyz012345"
    assert browser.get()["status"] == 200
    assert browser.cookies["sessionid"] != "abcdefghijklmnopqrstuvwxyz012345"
    assert stored(browser) == {}


def test_a_cookie_that_cannot_be_a_session_key_is_deleted():
    browser = Browser(leave_alone)
    browser.cookies["sessionid"] = "short"
    start = browser.get()
    assert browser.cookies == {}
    assert (b"Vary", b"Cookie") in start["headers"]


@pytest.mark.django_db
def test_a_message_is_not_changed_when_it_gets_a_cookie():
    message = {"type": "http.response.start", "status": 200, "headers": ()}

    async def application(scope, receive, send):
        await count_visits(scope)
        await send(message)

    [start] = run(SessionMiddlewareStack(application), {"type": "http", "headers": []})
    assert start["headers"]
    assert message == {"type": "http.response.start", "status": 200, "headers": ()}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "saved"), [(200, True), (404, True), (500, False), (503, False)]
)
def test_an_error_of_the_server_saves_nothing(status, saved):
    browser = Browser(count_visits)
    start = browser.get(status=status)
    assert ("sessionid" in browser.cookies) is saved
    assert Session.objects.exists() is saved
    assert (b"Vary", b"Cookie") in start["headers"]


@pytest.mark.parametrize(
    ("headers", "varied"),
    [
        ([], True),
        ([(b"vary", b"Accept")], True),
        ([(b"Vary", b"Accept, cookie")], False),
        ([(b"vary", b"*")], False),
    ],
)
def test_the_vary_header_is_added_unless_it_says_so_already(headers, varied):
    start = Browser(read, headers=headers).get()
    assert start["headers"] == headers + [(b"Vary", b"Cookie")] * varied


@pytest.mark.django_db
def test_the_cookie_follows_the_settings(settings):
    settings.SESSION_COOKIE_NAME = "__Host-chat"
    settings.SESSION_COOKIE_AGE = 100
    settings.SESSION_COOKIE_DOMAIN = "example.com"
    settings.SESSION_COOKIE_PATH = "/chat"
    settings.SESSION_COOKIE_SECURE = True
    settings.SESSION_COOKIE_HTTPONLY = False
    settings.SESSION_COOKIE_SAMESITE = "None"
    browser = Browser(count_visits)
    browser.get()
    cookie = browser.session_cookie
    assert 90 <= int(cookie["max-age"]) <= 100
    assert cookie["domain"] == "example.com"
    assert cookie["path"] == "/chat"
    assert cookie["secure"] is True
    assert cookie["httponly"] == ""
    assert cookie["samesite"] == "None"
    browser.get(empty)
    cookie = browser.session_cookie
    assert (cookie["max-age"], cookie["domain"], cookie["path"]) == ("0", "example.com", "/chat")
    assert cookie["samesite"] == "None"
    assert cookie["secure"] is True


@pytest.mark.django_db
def test_samesite_can_be_turned_off(settings):
    settings.SESSION_COOKIE_SAMESITE = False
    browser = Browser(count_visits)
    browser.get()
    assert browser.session_cookie["samesite"] == ""
    assert browser.session_cookie["httponly"] is True


@pytest.mark.django_db
def test_a_session_may_end_with_the_browser(settings):
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    browser = Browser(count_visits)
    browser.get()
    assert browser.session_cookie["max-age"] == ""
    assert browser.session_cookie["expires"] == ""


@pytest.mark.django_db
def test_a_session_may_have_an_expiry_of_its_own():
    async def view(scope):
        await scope["session"].aset_expiry(50)

    browser = Browser(view)
    browser.get()
    assert browser.session_cookie["max-age"] == "50"


async def modify_a_session_that_is_then_deleted(scope):
    await count_visits(scope)
    await Session.objects.all().adelete()


@pytest.mark.django_db
def test_a_session_deleted_meanwhile_interrupts_the_request():
    browser = Browser(count_visits)
    browser.get()
    with pytest.raises(SessionInterrupted, match="was deleted before the request completed"):
        browser.get(modify_a_session_that_is_then_deleted)


@pytest.mark.django_db
def test_the_client_of_a_server_is_told_with_status_400(caplog):
    browser = Browser(count_visits, asgi={"version": "3.0"}, path="/chat")
    browser.get()
    start = browser.get(modify_a_session_that_is_then_deleted)
    assert start["status"] == 400
    assert browser.session_cookie is None
    assert browser.rest == [{"type": "http.response.body", "body": b"Bad Request"}]
    [record] = caplog.records
    assert "was deleted before the request completed" in record.getMessage()
    assert record.exc_info is None


# Side by side with Django's own middleware

ACTIONS = {
    "nothing": lambda session: None,
    "read": lambda session: session.get("visits"),
    "write": lambda session: session.update({"visits": 2}),
    "clear": lambda session: session.clear(),
    "flush": lambda session: session.flush(),
    "cycle_key": lambda session: session.cycle_key(),
    "end with the browser": lambda session: session.set_expiry(0),
    "expire at a moment": lambda session: session.set_expiry(datetime(2100, 1, 1, tzinfo=UTC)),
}


def session_key(kind):
    match kind:
        case "known":
            session = SessionStore()
            session["visits"] = 1
            session.save()
            return session.session_key
        case "unknown":
            return "abcdefghijklmnopqrstuvwxyz012345"
        case "short":
            return "short"
    return None


def answer_of_django(key, action, status):
    def view(request):
        action(request.session)
        return HttpResponse(status=status)

    request = RequestFactory(headers={"cookie": f"sessionid={key}"} if key else {}).get("/")
    response = DjangoSessionMiddleware(view)(request)
    return response.cookies.get("sessionid"), response.get("Vary")


def answer_of_channels(key, action, status):
    async def application(scope, receive, send):
        await sync_to_async(action)(scope["session"])
        await send({"type": "http.response.start", "status": status, "headers": []})

    headers = [cookie_header({"sessionid": key})] if key else []
    [start] = run(SessionMiddlewareStack(application), {"type": "http", "headers": headers})
    headers = dict(start["headers"])
    cookies = SimpleCookie(headers.get(b"Set-Cookie", b"").decode())
    vary = headers.get(b"Vary")
    return cookies.get("sessionid"), vary and vary.decode()


def comparable(answer_of, key, action, status):
    """An answer without the name of a new key, and its cookie's lifetime, which takes a while."""
    try:
        cookie, vary = answer_of(key, action, status)
    except SessionInterrupted:
        return "interrupted", -1
    if cookie is None:
        return vary, -1
    attributes = {name: str(value) for name, value in cookie.items()}
    lifetime = int(attributes.pop("max-age") or -1)
    attributes["expires"] = bool(attributes["expires"])
    value = cookie.value and ("same key" if cookie.value == key else "new key")
    return (value, attributes, vary), lifetime


@pytest.mark.django_db
@pytest.mark.parametrize("every_request", [False, True])
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("kind", ["none", "short", "unknown", "known"])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_answer_is_the_one_of_django(action, kind, status, every_request, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = every_request
    answers, lifetimes, remaining = [], [], []
    for answer_of in (answer_of_django, answer_of_channels):
        Session.objects.all().delete()
        answer, lifetime = comparable(answer_of, session_key(kind), ACTIONS[action], status)
        answers.append(answer)
        lifetimes.append(lifetime)
        remaining.append([session.get_decoded() for session in Session.objects.all()])
    assert answers[1] == answers[0]
    assert lifetimes[1] == pytest.approx(lifetimes[0], abs=30)
    assert remaining[1] == remaining[0]


# Sessions over WebSocket


@pytest.mark.django_db
def test_a_websocket_saves_its_session_only_when_told():
    browser = Browser(count_visits)
    browser.get()

    def connect(save):
        async def application(scope, receive, send):
            await count_visits(scope)
            await send({"type": "websocket.accept"})
            if save:
                await scope["session"].asave()

        scope = {"type": "websocket", "headers": [cookie_header(browser.cookies)]}
        assert run(SessionMiddlewareStack(application), scope) == [{"type": "websocket.accept"}]

    connect(save=False)
    assert stored(browser) == {"visits": 1}
    connect(save=True)
    assert stored(browser) == {"visits": 2}


# What packages build on


@pytest.mark.django_db
def test_a_subclass_may_resolve_the_session_in_its_own_way():
    browser = Browser(count_visits)
    browser.get()
    key = browser.cookies["sessionid"]

    class Wrapper(InstanceSessionWrapper):
        async def resolve_session(self):
            reversed_key = self.scope["cookies"].get(self.cookie_name)
            self.scope["session"]._wrapped = self.session_store(reversed_key[::-1])

    class Middleware(SessionMiddleware):
        async def __call__(self, scope, receive, send):
            wrapper = Wrapper(scope, send)
            await wrapper.resolve_session()
            return await self.inner(wrapper.scope, receive, wrapper.send)

    found = []

    async def application(scope, receive, send):
        found.append(await scope["session"].aget("visits"))
        await send({"type": "websocket.accept"})

    scope = {"type": "websocket", "headers": [cookie_header({"sessionid": key[::-1]})]}
    sent = run(CookieMiddleware(Middleware(application)), scope)
    assert found == [1]
    assert sent == [{"type": "websocket.accept"}]


@pytest.mark.django_db
def test_a_subclass_may_save_at_other_messages():
    class Wrapper(InstanceSessionWrapper):
        save_message_types: ClassVar = ["websocket.accept"]
        cookie_response_message_types: ClassVar = ["websocket.accept"]

    sent = []

    async def send(message):
        sent.append(message)

    async def connect():
        wrapper = Wrapper({"type": "websocket", "cookies": {}}, send)
        assert wrapper.intercepts
        await wrapper.resolve_session()
        await count_visits(wrapper.scope)
        await wrapper.send({"type": "websocket.accept"})

    async_to_sync(connect)()
    [accepted] = sent
    assert [name for name, _ in accepted["headers"]] == [b"Set-Cookie", b"Vary"]
    assert Session.objects.count() == 1


@pytest.mark.django_db
def test_a_subclass_may_save_at_one_message_and_send_the_cookie_with_another():
    browser = Browser(count_visits)
    browser.get()
    key = browser.cookies["sessionid"]

    class Wrapper(InstanceSessionWrapper):
        save_message_types: ClassVar = ["websocket.close"]
        cookie_response_message_types: ClassVar = ["websocket.accept"]

    sent, saved = [], []

    async def send(message):
        sent.append(message)
        saved.append(await sync_to_async(stored)(browser))

    async def connect():
        wrapper = Wrapper({"type": "websocket", "cookies": {"sessionid": key}}, send)
        await wrapper.resolve_session()
        await count_visits(wrapper.scope)
        await wrapper.send({"type": "websocket.accept"})
        await wrapper.send({"type": "websocket.close"})

    async_to_sync(connect)()
    accepted, closed = sent
    assert [name for name, _ in accepted["headers"]] == [b"Set-Cookie", b"Vary"]
    assert morsel(accepted["headers"][0][1]).value == key
    assert closed == {"type": "websocket.close"}
    assert saved == [{"visits": 1}, {"visits": 2}]


def test_the_session_in_the_scope_is_lazy():
    wrapper = InstanceSessionWrapper({"type": "http", "cookies": {}}, None)
    assert isinstance(wrapper.scope["session"], LazyObject)
    async_to_sync(wrapper.resolve_session)()
    assert wrapper.scope["session"].serializer is JSONSerializer


# Django's own session middleware further in


def inner_response(value):
    return [(b"Set-Cookie", f"sessionid={value}; Path=/".encode())]


@pytest.mark.django_db
@pytest.mark.parametrize("every_request", [False, True])
@pytest.mark.parametrize("action", [leave_alone, count_visits, empty])
def test_a_cookie_that_the_response_sets_already_is_left_alone(action, every_request, settings):
    settings.SESSION_SAVE_EVERY_REQUEST = every_request
    browser = Browser(count_visits)
    browser.get()
    key = browser.cookies["sessionid"]
    browser.headers = inner_response("inner")
    start = browser.get(action)
    assert [value for name, value in start["headers"] if name == b"Set-Cookie"] == [
        b"sessionid=inner; Path=/"
    ]
    if action is count_visits:  # and what was put into the outer session is not lost
        assert SessionStore(key)["visits"] == 2


@pytest.mark.django_db
@pytest.mark.parametrize("cookies", [{}, {"sessionid": "unknown0123"}])
def test_a_session_that_nobody_would_find_is_not_made_beside_the_one_of_the_response(cookies):
    browser = Browser(count_visits, headers=inner_response("inner"))
    browser.cookies = dict(cookies)
    browser.get()
    assert browser.cookies["sessionid"] == "inner"
    assert not Session.objects.exists()


@pytest.mark.django_db
def test_a_sign_in_further_in_ends_the_outer_session_without_an_error():
    browser = Browser(count_visits)
    browser.get()
    key = browser.cookies["sessionid"]

    async def sign_in(scope):
        await count_visits(scope)
        await SessionStore(key).aflush()

    browser.headers = inner_response("inner")
    assert browser.get(sign_in)["status"] == 200
    assert browser.cookies["sessionid"] == "inner"
    assert not Session.objects.exists()


@pytest.mark.django_db
def test_other_cookies_of_the_response_change_nothing():
    browser = Browser(count_visits, headers=[(b"Set-Cookie", b"xsessionid=1; Path=/")])
    browser.get()
    assert Session.objects.filter(pk=browser.cookies["sessionid"]).exists()
