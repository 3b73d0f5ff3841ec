import asyncio

import pytest
from asgiref.sync import sync_to_async

from channels.exceptions import BrokerError
from channels.generic.websocket import AsyncWebsocketConsumer
from tests.asgi import Server, until

EVIL = '<img src=x onerror="alert(1)">'


class Chat(AsyncWebsocketConsumer):
    groups = ["room"]


@pytest.fixture
def soon(monkeypatch):
    """Rights are looked at, and patience ends, as soon as may be."""
    from channels.contrib.admin import consumers

    monkeypatch.setattr(consumers, "_RIGHTS", 0.05)


@pytest.mark.parametrize("name", [None, "plain", "staff"])
async def test_others_are_refused(connect, name):
    socket = await connect(name)
    assert socket.server.types() == ["websocket.close"]


async def test_pages_of_other_sites_are_refused(connect):
    socket = await connect("root", origin="https://evil.example")
    assert socket.server.types() == ["websocket.close"]


@pytest.mark.parametrize("name", ["viewer", "operator", "root"])
async def test_the_page_gets_figures_for_as_long_as_it_shows_them(connect, people, name):
    scope = {"user": people["plain"], "path": f"/ws/{EVIL}/", "query_string": b"token=secret"}
    other = await Server(Chat.as_asgi(), **scope).connect()
    socket = await connect(name)
    assert socket.server.types() == ["websocket.accept"]
    socket.watch(text="evil" if name == "root" else "", group="room")
    first = await socket.next("figures")
    assert first["totals"]["connections"] == 2
    assert first["pause"] == 1.0
    assert [str(people["plain"].pk), "plain", 1] in first["users"]
    assert ["default", "room", 1] in first["groups"]
    shown = first["connections"]
    if name == "root":
        assert shown["total"] == 0
    else:
        assert (shown["total"], shown["rows"][0]["path"]) == (1, f"/ws/{EVIL}/")
        assert shown["rows"][0]["username"] == "plain"
    assert "secret" not in "".join(socket.server.texts())
    socket.send("seen")
    await socket.next("figures", after=1)
    await other.leave()


async def test_a_page_that_nobody_looks_at_gets_nothing(connect, soon):
    socket = await connect("viewer")
    socket.watch(paused=True)
    socket.send("nonsense")
    await socket.next("error")
    assert socket.all("figures") == []
    socket.watch()
    await socket.next("figures")


async def test_a_page_of_somebody_else_is_refused(connect, people):
    from channels.contrib.admin.rights import admit

    socket = await connect("viewer")
    socket.page = admit(people["root"], disconnect=True)
    socket.watch()
    assert await socket.closed() == 4403


async def test_a_page_that_is_too_old_has_to_be_loaded_again(connect, monkeypatch):
    from channels.contrib.admin import rights

    monkeypatch.setattr(rights, "PAGE_AGE", -1)
    socket = await connect("viewer")
    socket.watch()
    assert await socket.closed() == 4410


@pytest.mark.parametrize("change", ["is_staff", "is_active", "permission"])
async def test_who_loses_the_right_is_shut_out(connect, people, soon, change):
    socket = await connect("viewer")
    socket.watch(paused=True)
    user = people["viewer"]
    if change == "permission":
        await sync_to_async(user.user_permissions.clear)()
    else:
        await type(user).objects.filter(pk=user.pk).aupdate(**{change: False})
    assert await socket.closed() in {4401, 4403}


async def test_who_signs_out_is_shut_out(connect, people, soon):
    from django.contrib.sessions.models import Session

    socket = await connect("viewer")
    socket.watch(paused=True)
    await Session.objects.all().adelete()
    assert await socket.closed() in {4401, 4403}


@pytest.mark.parametrize(("watches", "code"), [(False, 4408), (True, 1013)])
async def test_a_page_that_does_not_answer_is_dropped(connect, monkeypatch, watches, code):
    from channels.contrib.admin import consumers

    if not watches:
        monkeypatch.setattr(consumers, "_PATIENCE", 0.05)
    socket = await connect("viewer")
    if watches:
        socket.watch()
        await socket.next("figures")
        monkeypatch.setattr(consumers, "_PATIENCE", 0.05)
        socket.send("seen")
    assert await socket.closed() == code


async def test_one_with_the_right_disconnects(connect, people):
    other = await Server(Chat.as_asgi(), user=people["plain"]).connect()
    socket = await connect("operator")
    socket.watch()
    await socket.next("figures")
    socket.send("disconnect", by="user", value=str(people["plain"].pk))
    assert (await socket.next("disconnected"))["value"] == str(people["plain"].pk)
    await until(lambda: other.types()[-1] == "websocket.close")
    await other.leave()


@pytest.mark.parametrize("name", ["viewer", "operator", "lost"])
async def test_nobody_else_disconnects(connect, people, name):
    other = await Server(Chat.as_asgi(), user=people["plain"]).connect()
    # An operator whose page has no buttons: its admin has not granted them.
    socket = await connect(
        "viewer" if name == "viewer" else "operator", disconnect=name != "operator"
    )
    socket.watch()
    await socket.next("figures")
    if name == "lost":
        await sync_to_async(people["operator"].user_permissions.clear)()
    socket.send("disconnect", by="user", value=str(people["plain"].pk))
    assert (await socket.next("error"))["code"] == "forbidden"
    assert other.types() == ["websocket.accept"]
    await other.leave()


async def test_what_cannot_be_disconnected_is_told(connect, caplog):
    socket = await connect("operator")
    socket.watch()
    socket.send("disconnect", by="group", value="room", layer="nowhere")
    assert (await socket.next("error"))["code"] == "failed"
    assert "could not disconnect group room" in caplog.text


async def test_a_broker_that_is_away_is_told(connect, monkeypatch, caplog):
    from channels.contrib.admin.asking import Asking

    async def fails(self):
        raise BrokerError("away")

    monkeypatch.setattr(Asking, "overview", fails)
    socket = await connect("viewer")
    socket.watch()
    await socket.next("unreachable")
    assert "cannot ask the processes: away" in caplog.text
    monkeypatch.undo()
    socket.send("seen")
    await socket.next("figures")


async def test_who_keeps_the_right_goes_on(connect, soon):
    from channels.contrib.admin import consumers

    socket = await connect("viewer")
    socket.watch()
    for count in range(3):
        await socket.next("figures", after=count)
        await asyncio.sleep(consumers._RIGHTS)
        socket.send("seen")
        socket.watch()  # at once
    assert socket.server.types().count("websocket.close") == 0
