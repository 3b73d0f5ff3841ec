"""Permissions around an application: the right refusal for each protocol."""

import pytest

from channels import signals
from channels.exceptions import InvalidPermission
from channels.security.permissions import (
    AllowAny,
    IsAuthenticated,
    IsStaff,
    Permission,
    PermissionMiddleware,
)
from channels.testing import HttpCommunicator, WebsocketCommunicator


class User:
    pk = 5
    is_staff = False
    is_active = True

    def __init__(self, is_authenticated=True):
        self.is_authenticated = is_authenticated


ANONYMOUS = User(is_authenticated=False)


async def application(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
    else:
        scope["called"] = True


def websocket(wrapped, **scope):
    communicator = WebsocketCommunicator(wrapped, "/")
    communicator.scope.update(scope)
    return communicator


async def http(wrapped, **scope):
    communicator = HttpCommunicator(wrapped, "GET", "/")
    communicator.scope.update(scope)
    return await communicator.get_response()


async def test_those_who_may_come_in():
    for permission in (AllowAny, IsAuthenticated(), IsAuthenticated & ~IsStaff):
        wrapped = PermissionMiddleware(application, permission)
        assert (await websocket(wrapped, user=User()).connect())[0]
        assert (await http(wrapped, user=User()))["status"] == 200


@pytest.mark.parametrize(("user", "status"), [(ANONYMOUS, 401), (User(), 403)])
async def test_those_who_may_not_are_refused(user, status):
    told = []

    def listen(sender, reason, **arguments):
        told.append((sender, arguments["status"], reason))

    signals.connection_refused.connect(listen)
    try:
        wrapped = PermissionMiddleware(application, IsStaff())
        response = await http(wrapped, user=user)
        denied = websocket(wrapped, user=user, extensions={"websocket.http.response": {}})
        assert not (await denied.connect())[0]
    finally:
        signals.connection_refused.disconnect(listen)
    assert (response["status"], b"IsStaff" in response["body"]) == (status, False)
    assert [(sender, code) for sender, code, _ in told] == [(PermissionMiddleware, status)] * 2
    assert "IsStaff()" in told[0][2]


@pytest.mark.parametrize(("user", "code"), [(ANONYMOUS, 4401), (User(), 4403)])
async def test_a_page_is_told_by_a_close_if_the_project_wants_that(user, code):
    wrapped = PermissionMiddleware(application, IsStaff(), refuse_by_close=True)
    socket = websocket(wrapped, user=user, subprotocols=["v2", "v1"])
    assert await socket.connect() == (True, "v2")
    assert await socket.receive_output() == {"type": "websocket.close", "code": code}
    assert (await http(wrapped, user=user))["status"] == code - 4000


async def test_credentials_that_would_do_are_named():
    wrapped = PermissionMiddleware(application, IsAuthenticated())
    challenge = {"channels.challenge": b"Bearer"}
    response = await http(wrapped, user=ANONYMOUS, **challenge)
    assert (b"www-authenticate", b"Bearer") in response["headers"]
    response = await http(PermissionMiddleware(application, IsStaff), user=User(), **challenge)
    assert b"www-authenticate" not in dict(response["headers"])


async def test_what_has_no_client_passes():
    scope = {"type": "channel", "channel": "jobs", "user": ANONYMOUS}
    called = []

    async def worker(scope, receive, send):
        called.append(scope["channel"])

    await PermissionMiddleware(worker, IsAuthenticated())(scope, None, None)
    assert called == ["jobs"]


class Broken(Permission):
    async def has_permission(self, scope, message_type=None):
        raise RuntimeError("broken")


async def test_what_a_permission_raises_lets_nobody_in():
    with pytest.raises(RuntimeError, match="broken"):
        await http(PermissionMiddleware(application, Broken()))


def test_it_wants_a_permission():
    with pytest.raises(InvalidPermission, match="is no permission"):
        PermissionMiddleware(application, "IsStaff")
