from typing import Any, get_args

import pytest

from channels._runtime import clock
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.live import looking
from channels.live.asking import Look, _forget, _is_worker, aask_connections, reaches_others
from channels.live.looking import (
    Query,
    SortKey,
    as_figure,
    connections_here,
    local_channels,
    process_here,
)
from tests.asgi import Server, until


class Chat(AsyncWebsocketConsumer):
    groups = ["lobby"]

    async def receive(self, text_data: str) -> None:
        await self.send(text_data)


class Name:
    pk = 7
    is_authenticated = True

    def get_username(self) -> str:
        return "ada\n"


@pytest.fixture
async def servers() -> Any:
    users = ({"user": Name()}, {})
    opened = [
        await Server(Chat.as_asgi(), path=f"/ws/{n}/", client=(f"10.0.0.{n}", 1), **user).connect()
        for n, user in enumerate(users)
    ]
    yield opened
    for server in opened:
        await server.leave()


async def test_a_process_says_how_it_is(servers: list[Server]) -> None:
    process = await process_here("me", "server")
    name = f"{Chat.__module__}.Chat"
    assert process.consumers == {name: 2}
    assert (process.users, process.user_count) == ({"7": 1}, 1)
    assert ("lobby", 2) in [(group.name, group.members) for group in process.groups]
    assert process.layers[0].backend == "InMemoryChannelLayer"
    assert process.threads > 0


async def test_connections_are_found_by_whatever_is_known_of_them(servers: list[Server]) -> None:
    servers[1].text("hello")
    await connections_here(Query())
    servers[1].text("hello")
    await until(lambda: len(servers[1].texts()) == 2)
    found = await connections_here(Query(text="ADA\\N", group="lobby"))
    assert found.found == 1
    assert (found.rows[0].user, found.rows[0].username) == ("7", "ada\\n")
    assert (found.rows[0].address, found.rows[0].groups) == ("10.0.0.0", ["lobby"])
    assert (await connections_here(Query(text="nobody"))).found == 0
    assert (await connections_here(Query(group="none"))).found == 0
    for sort in get_args(SortKey):
        rows = (await connections_here(Query(sort=sort, limit=1))).rows
        assert len(rows) == 1
    busiest = (await connections_here(Query(sort="sent"))).rows
    assert [row.path for row in busiest] == ["/ws/1/", "/ws/0/"]
    quietest = (await connections_here(Query(sort="sent", ascending=True))).rows
    assert [row.path for row in quietest] == ["/ws/0/", "/ws/1/"]


async def test_clients_behind_a_trusted_proxy_have_their_own_address(settings: Any) -> None:
    told = [(b"x-forwarded-for", b"203.0.113.9")]
    server = await Server(Chat.as_asgi(), client=("10.0.0.1", 1), headers=told).connect()

    async def address() -> str:
        return (await connections_here(Query())).rows[0].address

    assert await address() == "10.0.0.1"
    settings.CHANNELS_TRUSTED_PROXIES = ["10.0.0.0/8"]
    assert await address() == "203.0.113.9"
    assert (await connections_here(Query(text="203.0.113"))).found == 1
    settings.CHANNELS_TRUSTED_PROXIES = "no networks"
    assert await address() == "10.0.0.1"
    await server.leave()


async def test_connections_without_a_socket_tell_no_unsent_bytes(servers: list[Server]) -> None:
    assert [row.unsent for row in (await connections_here(Query())).rows] == [None, None]
    assert [as_figure(None), as_figure(7)] == [-1, 7]
    total, rows = await aask_connections(Query(sort="unsent"), seconds=0.1)
    assert total == len(rows) == 2


async def test_a_slow_client_is_told(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_SLOW", 0.0)
    monkeypatch.setattr(looking, "_AT_ONCE", 1)
    process = await process_here("me", "server")
    assert process.slow_count == 2


async def test_layers_of_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        pass

    assert local_channels(Other()) is None
    monkeypatch.setitem(channel_layers.backends, "other", Other())  # type: ignore[arg-type]
    process = await process_here("me", "server")
    assert "Other" in [layer.backend for layer in process.layers]
    layer: Any = InMemoryChannelLayer()
    assert local_channels(layer) is layer


async def test_all_processes_are_asked(servers: list[Server]) -> None:
    found = await Look().aask(0.1)
    assert found.totals["connections"] == 2
    total, rows = await aask_connections(Query(limit=1, sort="groups"), seconds=0.1)
    assert total == 2
    assert len(rows) == 1


async def test_a_query_of_rubbish_has_no_answer() -> None:
    from channels.live.asking import _tell_connections

    assert await _tell_connections("rubbish") is None
    assert await _tell_connections({"sort": "rubbish"}) is None


def test_a_layer_in_memory_reaches_no_other_process() -> None:
    assert not reaches_others()


async def test_a_worker_says_that_it_is_one(servers: list[Server]) -> None:
    _is_worker()
    found = await Look().aask(0.1)
    assert found.processes[0].kind == "worker"
    _forget()


def test_a_child_is_as_old_as_its_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_started", float("-inf"))
    looking._begin()
    assert 0 <= clock.now() - looking._started < 60
