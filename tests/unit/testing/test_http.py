"""HttpCommunicator: one request, one complete response."""

import asyncio

import pytest
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.test import TestCase, override_settings
from django.urls import path

from channels.testing import HttpCommunicator


async def describe(scope, receive, send):
    """Answer with the request, in two parts."""
    request = await receive()
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-test", b"1")]})
    line = f"{scope['method']} {scope['path']} {scope['query_string']!r} "
    await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": request["body"]})


async def test_request_and_response():
    communicator = HttpCommunicator(describe, "post", "/caf%C3%A9/?q=%20x", body=b"payload")
    response = await communicator.get_response()
    assert response == {
        "status": 201,
        "headers": [(b"x-test", b"1")],
        "body": "POST /café/ b'q=%20x' payload".encode(),
    }
    assert await communicator.get_response() == response


async def test_scope():
    headers = [(b"host", b"example.org")]
    scope = HttpCommunicator(describe, "GET", "/", headers=headers).scope
    assert scope["type"] == "http"
    assert scope["headers"] == headers
    assert scope["query_string"] == b""
    assert "asgi" not in scope


async def test_response_without_headers_or_body():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    response = await HttpCommunicator(application, "GET", "/").get_response()
    assert response == {"status": 204, "headers": [], "body": b""}


async def test_the_client_leaves_once_it_has_the_response():
    events = []

    async def application(scope, receive, send):
        events.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        events.append(await receive())

    await HttpCommunicator(application, "GET", "/").get_response()
    assert [event["type"] for event in events] == ["http.request", "http.disconnect"]


async def test_crash_after_the_response_is_not_hidden():
    async def application(scope, receive, send):
        await describe(scope, receive, send)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await HttpCommunicator(application, "GET", "/").get_response()


async def test_missing_response_says_what_was_awaited():
    async def application(scope, receive, send):
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError) as caught:
        await HttpCommunicator(application, "GET", "/").get_response(timeout=0.01)
    assert "http.response.start" in caught.value.__notes__[0]


async def test_something_else_than_a_response_fails_the_test():
    async def application(scope, receive, send):
        await send({"type": "websocket.accept"})

    with pytest.raises(AssertionError, match=r"waiting for http\.response\.start.*accept"):
        await HttpCommunicator(application, "GET", "/").get_response()


@pytest.mark.parametrize(
    "arguments", [(b"GET", "/"), ("GET", b"/"), ("GET", None), ("GET", "/", "text")]
)
def test_wrong_types_are_refused(arguments):
    with pytest.raises(TypeError, match="must be"):
        HttpCommunicator(describe, *arguments)


class Urls:
    urlpatterns = (path("count/", lambda request: HttpResponse(_count_users())),)


def _count_users():
    return get_user_model().objects.count()


@override_settings(ROOT_URLCONF=Urls)
class DjangoViewTests(TestCase):
    """Django's own handler, which else takes a thread of its own for each request."""

    async def test_a_view_sees_the_transaction_of_the_test(self):
        await get_user_model().objects.acreate(username="test")
        response = await HttpCommunicator(get_asgi_application(), "GET", "/count/").get_response()
        assert (response["status"], response["body"]) == (200, b"1")
