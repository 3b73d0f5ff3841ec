import json
import re

import pytest
from django.urls import path, re_path

from channels.contrib.health import Health, HealthApplication, InvalidHealthCheck
from channels.exceptions import NoRouteFound
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import HttpCommunicator
from tests.asgi import Server


async def inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": scope["type"].encode()})


async def request(application, path="/healthz", method="GET", **scope):
    server = Server(application, "http", path=path, method=method, **scope)
    server.start()
    await server.ended()
    return server.sent


async def status(application, path, **scope):
    return (await request(application, path, **scope))[0]["status"]


async def test_the_answer():
    start, body = await request(HealthApplication(inner))
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert all(name == name.lower() for name, _ in start["headers"])
    assert json.loads(body["body"])["status"] == "ok"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("/healthz", 200),
        ("/healthz/", 200),
        ("/readyz", 200),
        ("/", 299),
        ("", 299),
        ("/healthzz", 299),
        ("/healthz/x", 299),
        ("/HEALTHZ", 299),
    ],
)
async def test_paths(where, expected):
    assert await status(HealthApplication(inner), where) == expected


@pytest.mark.parametrize(("root", "whole"), [("/app", "/app/healthz"), ("/app/", "/healthz")])
async def test_root_path_that_servers_include_or_leave_out(root, whole):
    assert await status(HealthApplication(inner), whole, root_path=root) == 200


async def test_other_paths_may_be_chosen():
    application = HealthApplication(inner, live_path="/a/live/", ready_path="/a/ready")
    assert await status(application, "/a/live") == 200
    assert await status(application, "/a/ready") == 200
    assert await status(application, "/healthz") == 299
    with pytest.raises(InvalidHealthCheck, match="slash"):
        HealthApplication(inner, live_path="live")


async def test_other_protocols_are_passed_on():
    async def note(scope, receive, send):
        seen.append(scope["type"])

    seen = []
    for scope_type in ("websocket", "lifespan"):
        server = Server(HealthApplication(note), scope_type, path="/healthz")
        server.start()
        await server.ended()
    assert seen == ["websocket", "lifespan"]


async def test_without_an_inner_application_the_rest_is_not_found():
    assert await status(HealthApplication(), "/healthz") == 200
    assert await status(HealthApplication(), "/else") == 404
    with pytest.raises(NoRouteFound):
        await HttpCommunicator(HealthApplication(), "GET", "/else").get_response()


async def test_it_fits_into_routers():
    router = ProtocolTypeRouter(
        {
            "http": URLRouter(
                [
                    path("healthz", HealthApplication()),
                    re_path(r"", HealthApplication(inner, live_path="/other")),
                ]
            )
        }
    )
    assert await status(router, "/healthz") == 200
    assert await status(router, "/other") == 200
    assert await status(router, "/readyz") == 200
    assert await status(router, "/page") == 299


async def test_what_fails_is_told():
    health = Health(checks={"disk": lambda: False})
    start, body = await request(HealthApplication(inner, health), "/readyz")
    assert start["status"] == 503
    assert re.search(rb'"disk": \{"ok": false, .*"error": "returned False"\}', body["body"])
