"""One connection held to limits, through the public ways: a consumer, the setting, a middleware."""

import asyncio
import json

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from channels import signals
from channels._runtime import clock
from channels.consumer import AsyncConsumer
from channels.exceptions import TooManyGroups
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.security.limits import LimitMiddleware, Limits, client_address, statistics
from tests.asgi import Server, until

DENIALS = {"extensions": {"websocket.http.response": {}}}
A, B = {"client": ("192.0.2.1", 1), **DENIALS}, {"client": ("192.0.2.2", 1), **DENIALS}


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data, bytes_data)


class User:
    def __init__(self, pk, is_authenticated=True):
        self.pk, self.is_authenticated = pk, is_authenticated


@pytest.fixture
def told():
    """Every signal of a limit: limit, kind, action."""
    found = []

    def hear(sender, limit, key_kind, action, **arguments):
        found.append((limit, key_kind, action))

    signals.limit_exceeded.connect(hear)
    yield found
    signals.limit_exceeded.disconnect(hear)


@pytest.fixture
def time(monkeypatch):
    class Time:
        now = clock.now()
        real = clock.now

    monkeypatch.setattr("channels._runtime.buckets.clock.now", lambda: Time.now)
    return Time


def limited(base=Echo, **limits):
    return type("Limited", (base,), {"client_limits": Limits(**limits)}).as_asgi()


async def connect(application, scope=A, **more):
    return await Server(application, **{**scope, **more}).connect()


def status(server):
    return server.sent[0].get("status", server.sent[0]["type"])


async def end(*servers):
    for server in servers:
        await server.leave()


async def test_too_many_handshakes_are_refused_until_the_time_has_come(told, time, caplog):
    application = limited(handshakes_per_address="2/m")
    first, second = await connect(application), await connect(application)
    refused = await connect(application)
    assert status(refused) == 429
    assert (b"retry-after", b"30") in refused.sent[0]["headers"]
    assert (
        "more than 2/m handshakes from address 192.0.2.1 (handshakes_per_address of" in caplog.text
    )
    assert told == [("handshakes", "address", "refused")]
    other = await connect(application, B)
    time.now += 31
    later = await connect(application)
    await end(first, second, other, later)
    assert [status(server) for server in (first, second, other, later)] == ["websocket.accept"] * 4
    assert statistics()["handshakes per address: refused"] >= 1
    assert statistics()["not shared"] >= 0


async def test_servers_that_cannot_say_429_say_403():
    application = limited(handshakes_per_consumer="1/m")
    first = await connect(application, {})
    assert (await connect(application, {})).types() == ["websocket.close"]
    await end(first)


async def test_open_connections_are_counted_until_they_end(told):
    application = limited(connections_per_address=2)
    first, second = await connect(application), await connect(application)
    assert status(await connect(application)) == 429
    other = await connect(application, B)
    await first.leave()
    third = await connect(application)
    assert status(third) == "websocket.accept"
    await end(second, third, other)
    assert told == [("connections", "address", "refused")]


async def test_users_are_counted_and_anonymous_ones_are_not():
    application = limited(connections_per_user=1, handshakes_per_user="5/m")
    first = await connect(application, user=User(7))
    assert status(await connect(application, B, user=User(7))) == 429
    others = [
        await connect(application, user=User(8)),
        await connect(application, user=User(None, is_authenticated=False)),
        await connect(application, user=User(None, is_authenticated=False)),
        await connect(application),
    ]
    assert {status(server) for server in others} == {"websocket.accept"}
    await end(first, *others)


@pytest.mark.parametrize("base", [Echo, WebsocketConsumer])
async def test_too_many_messages_close_with_4429(base, told, caplog):
    class Count(base):
        got = []

        def receive(self, text_data=None, bytes_data=None):
            Count.got.append(text_data)
            return asyncio.sleep(0) if base is Echo else None

    server = await connect(limited(Count, messages_per_connection="3/h"))
    for number in range(10):
        server.text(str(number))
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1] == {
        "type": "websocket.close", "code": 4429, "reason": "Too many requests",
    }  # fmt: skip
    await server.leave()
    assert Count.got == ["0", "1", "2"]
    assert told == [("messages", "connection", "closed")]
    assert "closed with 4429: more than 3/h messages (messages_per_connection of" in caplog.text


async def test_disconnect_gets_the_code():
    codes = []

    class Tell(AsyncWebsocketConsumer):
        async def disconnect(self, code):
            codes.append(code)

    server = await connect(limited(Tell, messages_per_connection="1/h"))
    server.text("1")
    server.text("2")
    await until(lambda: "websocket.close" in server.types())
    await server.leave(1005)
    assert codes == [4429]


async def test_probes_count_as_messages(told):
    server = await connect(limited(messages_per_connection="3/h"))
    for _ in range(10):
        server.text('{"type":"channels.ping"}')
    await until(lambda: "websocket.close" in server.types())
    await server.leave()
    assert told == [("messages", "connection", "closed")]


@pytest.mark.parametrize("event", [{"text": "ä" * 50}, {"bytes": b"x" * 100}])
async def test_bytes_are_counted(event, told):
    server = await connect(limited(bytes_per_connection="250 B/h"))
    for _ in range(3):
        server.put("websocket.receive", **event)
    await until(lambda: "websocket.close" in server.types())
    await server.leave()
    assert len([m for m in server.sent if m["type"] == "websocket.send"]) == 2
    assert told == [("bytes", "connection", "closed")]


async def test_a_message_that_is_too_large_closes_with_1009(told):
    server = await connect(limited(message_size=10))
    server.text("x" * 10)
    server.put("websocket.receive", bytes=b"")
    server.text("x" * 11)
    await until(lambda: "websocket.close" in server.types())
    assert (server.sent[-1]["code"], server.sent[-1]["reason"]) == (1009, "Message too big")
    await server.leave()
    assert told == [("message_size", "connection", "closed")]


async def test_messages_of_all_connections_of_an_address_or_a_user_count_together(told):
    for kind, scope in (("address", {}), ("user", {"user": User(1)})):
        application = limited(**{f"messages_per_{kind}": "3/h"})
        first, second = [await connect(application, **scope) for _ in range(2)]
        first.text("1")
        first.text("2")
        await until(lambda server=first: server.texts() == ["1", "2"])
        second.text("3")
        await until(lambda server=second: server.texts() == ["3"])
        second.text("4")
        await until(lambda server=second: "websocket.close" in server.types())
        await end(first, second)
        assert told.pop() == ("messages", kind, "closed")


async def test_a_client_may_be_read_more_slowly_instead(told, caplog):
    caplog.set_level("INFO", "channels.consumer")
    held = []
    server = Server(limited(messages_per_connection="40/s", over_limit="wait"), **A)
    await server.connect()
    for number in range(44):
        server.text(str(number))
    await until(lambda: len(server.texts()) == 44)
    assert server.texts() == [str(number) for number in range(44)], "none is lost"
    assert set(told) == {("messages", "connection", "waited")}
    assert caplog.text.count("the client is read more slowly: more than 40/s messages") == 1
    await server.leave()
    assert not held


async def test_a_wait_ends_with_the_process_or_the_consumer():
    class Quit(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(4000)

    server = await connect(limited(Quit, messages_per_connection="1/h", over_limit="wait"))
    server.text("1")
    server.text("2")
    await until(lambda: "websocket.close" in server.types())
    server.task.cancel()
    await asyncio.wait((server.task,), timeout=5)
    assert server.task.done()


async def test_a_message_larger_than_the_burst_waits_for_a_full_bucket_and_delays_the_next(told):
    server = await connect(limited(bytes_per_connection="1000 B/s", over_limit="wait"))
    server.text("x" * 1050)
    server.text("y")
    await until(lambda: len(server.texts()) == 2)
    assert set(told) == {("bytes", "connection", "waited")}
    await server.leave()


async def test_the_setting_counts_for_all_consumers_together():
    class Other(Echo):
        pass

    with override_settings(CHANNELS_LIMITS={"HANDSHAKES_PER_ADDRESS": "2/m"}):
        first, second = await connect(Echo.as_asgi()), await connect(Other.as_asgi())
        assert status(await connect(Echo.as_asgi())) == 429
        free = limited(handshakes_per_address=None)
        third = await connect(free)
        assert status(third) == "websocket.accept", "the class lifts the limit"
        own = limited(handshakes_per_address="1/m", message_size=5)
        fourth = await connect(own)
        assert status(fourth) == "websocket.accept", "the class has another one"
        assert status(await connect(own)) == 429
        await end(first, second, third, fourth)
    free = await connect(Echo.as_asgi())
    assert status(free) == "websocket.accept"
    await free.leave()


async def test_what_follows_is_the_projects_to_say_for_limits_of_classes():
    with override_settings(CHANNELS_LIMITS={"OVER_LIMIT": "wait"}):
        server = await connect(limited(messages_per_connection="20/s"))
        for number in range(21):
            server.text(str(number))
        await until(lambda: len(server.texts()) == 21)
        await server.leave()


async def test_requests_of_http_consumers_are_refused_with_429():
    class Answer(AsyncHttpConsumer):
        client_limits = {"handshakes_per_address": "1/m"}

        async def handle(self, body):
            await self.send_response(200, body)

    application = Answer.as_asgi()

    async def request(*headers):
        server = Server(application, "http", method="POST", client=("192.0.2.9", 1))
        server.scope["headers"] = list(headers)
        server.put("http.request", body=b"1", more_body=False)
        server.start()
        await until(lambda: any(not m.get("more_body", 1) or "body" in m for m in server.sent))
        await until(lambda: server.task.done() or server.sent[-1]["type"].endswith("body"))
        server.put("http.disconnect")
        await server.ended()
        return server.sent

    assert (await request())[0]["status"] == 200
    for headers in ([], [(b"content-length", b"1")], [(b"transfer-encoding", b"chunked")]):
        sent = await request(*headers)
        assert sent[0]["status"] == 429
        assert any(name == b"retry-after" for name, _ in sent[0]["headers"])
        assert b"".join(m.get("body", b"") for m in sent) == b"Too Many Requests"


@pytest.fixture
def layer():
    layer = InMemoryChannelLayer()
    before = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", before)


async def test_a_connection_joins_so_many_groups_and_no_more(layer, told, caplog):
    errors = []

    class Rooms(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            try:
                await self.channel_layer.group_add(text_data, self.channel_name)
            except TooManyGroups as error:
                errors.append(str(error))
                raise
            await self.send(text_data)

    server = await connect(limited(Rooms, groups_per_connection=2))
    for room in ("a", "b", "a", "b"):
        server.text(room)
    await until(lambda: len(server.texts()) == 4)
    server.text("c")
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1]["code"] == 4429
    assert server.sent[-1]["reason"] == "Too many requests"
    assert errors == ["This connection is in 2 groups already, which is its groups_per_connection"]
    assert "closed with 4429: TooManyGroups" in caplog.text
    assert told == [("groups", "connection", "refused")]
    await server.leave()
    await layer.group_add("c", "a.named.channel")  # nobody's limit


async def test_groups_over_the_limit_refuse_a_handshake_with_429(layer, told):
    class Rooms(AsyncWebsocketConsumer):
        async def connect(self):
            for name in self.scope["path"].strip("/").split("/"):
                await self.channel_layer.group_add(name, self.channel_name)
            await self.accept()

    server = await connect(limited(Rooms, groups_per_connection=2), path="/a/b/c/")
    await until(lambda: server.sent)
    assert status(server) == 429
    await server.leave()


# The middleware


async def test_a_middleware_refuses_before_anything_else_runs(told):
    ran = []

    async def application(scope, receive, send):
        ran.append(scope)
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    limits = LimitMiddleware(application, connections_per_address=1)
    first = await connect(limits)
    assert status(await connect(limits)) == 429
    assert len(ran) == 1
    await first.leave()
    again = await connect(limits)
    assert status(again) == "websocket.accept"
    await again.leave()
    assert told == [("connections", "address", "refused")]


async def test_its_limits_of_messages_are_the_consumers_to_keep(told):
    limits = LimitMiddleware(
        LimitMiddleware(Echo.as_asgi(), Limits(messages_per_connection="2/h"), name="inner"),
        handshakes_per_address="1/m",
        message_size=5,
    )
    server = await connect(limits)
    server.text("1")
    server.text("2")
    server.text("3")
    await until(lambda: "websocket.close" in server.types())
    assert server.sent[-1]["code"] == 4429
    await server.leave()
    assert told == [("messages", "connection", "closed")]


async def test_other_scopes_and_tests_pass_through():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)

    limits = LimitMiddleware(application, handshakes_per_consumer="1/d")
    for scope in ({"type": "http", "asgi": {}}, {"type": "websocket"}, {"type": "lifespan"}) * 2:
        await limits(scope, None, None)
    assert len(seen) == 6
    both = LimitMiddleware(application, handshakes_per_consumer="1/d", protocols=("http",))
    await both({"type": "http", "asgi": {}, "path": "/"}, None, None)
    assert len(seen) == 7


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((), {"protocols": "websocket"}, "protocols of LimitMiddleware must be some of"),
        ((), {"protocols": None}, "protocols of LimitMiddleware must be some of"),
        ((), {"name": ""}, "name must be text"),
        (({"message_size": 5},), {}, r"must be Limits\(...\), or be left out and written one by"),
        ((), {"protocols": ["ws"]}, "protocols of LimitMiddleware must be some of"),
        ((Limits(),), {"message_size": 5}, "not both"),
        ((), {"size": 5}, "has no limit called size"),
        ((), {"message_size": -5}, "message_size must be"),
        ((), {"handshake_timeout": 5}, "LimitMiddleware has no handshake_timeout"),
    ],
)
def test_a_middleware_is_checked_when_it_is_made(arguments, options, said):
    with pytest.raises(ImproperlyConfigured, match=said):
        LimitMiddleware(Echo.as_asgi(), *arguments, **options)


def test_a_consumer_is_checked_when_its_application_is_made():
    class Wrong(Echo):
        client_limits = {"message_size": "5"}

    with pytest.raises(ImproperlyConfigured, match=r"client_limits of .*Wrong: message_size must"):
        Wrong.as_asgi()


# Addresses


@override_settings(CHANNELS_TRUSTED_PROXIES=["10.0.0.0/8"])
async def test_behind_a_proxy_each_client_counts():
    application = limited(handshakes_per_address="1/m")

    def via_proxy(address):
        headers = [(b"x-forwarded-for", address)]
        return connect(application, A | {"client": ("10.0.0.1", 1)}, headers=headers)

    first, second = await via_proxy(b"198.51.100.1"), await via_proxy(b"198.51.100.2")
    assert status(await via_proxy(b"1.1.1.1, 198.51.100.2")) == 429
    await end(first, second)
    assert client_address(first.scope) == "198.51.100.1"
    assert client_address({"client": None}) is None


async def test_the_log_says_when_a_proxy_is_not_trusted(caplog):
    application = limited(handshakes_per_address="1/m")
    headers = [(b"x-forwarded-for", b"198.51.100.1")]
    scope = A | {"client": ("10.0.0.1", 1)}
    first = await connect(application, scope)
    await connect(application, scope)
    assert "seems to be a proxy" not in caplog.text
    await connect(application, scope, headers=headers)
    assert "10.0.0.1 seems to be a proxy: if it is yours, add it to CHANNELS_TRUSTED" in caplog.text
    await end(first)
    caplog.clear()
    scope = A | {"client": ("8.8.8.8", 1)}
    first = await connect(application, scope)
    await connect(application, scope, headers=headers)
    assert "seems to be a proxy" not in caplog.text
    await end(first)


async def test_without_an_address_there_is_no_limit_for_it():
    application = limited(handshakes_per_address="1/m")
    servers = [await connect(application, DENIALS, client=None) for _ in range(3)]
    assert {status(server) for server in servers} == {"websocket.accept"}
    await end(*servers)


def test_the_time_of_a_handshake_is_a_limit_too():
    assert AsyncConsumer.handshake_timeout == 30.0
    with override_settings(CHANNELS_LIMITS={"HANDSHAKE_TIMEOUT": 5}):
        assert Echo.handshake_timeout == 5.0

        class Own(Echo):
            client_limits = Limits(handshake_timeout=None)

        class Said(Echo):
            handshake_timeout = 7.0

        assert Own.handshake_timeout is None
        assert Said().handshake_timeout == 7.0


# Shared


async def test_processes_share_through_a_layer(layer):
    application = limited(handshakes_per_address="2/m", messages_per_user="20/h", shared="default")
    first = await connect(application, user=User(1))
    # Another process has taken what was left.
    name = next(iter(layer._buckets._full_at))
    assert await layer.take_tokens(name, rate=2 / 60, burst=2) == (1, 0)
    assert status(await connect(application)) == 429
    assert "192.0.2.1" not in json.dumps(list(layer._buckets._full_at)), "no address is stored"
    for number in range(21):
        first.text(str(number))
    await until(lambda: "websocket.close" in first.types())
    assert len(first.texts()) == 20
    await first.leave()


@pytest.mark.parametrize("how", ["raises", "hangs", "missing", "unable"])
async def test_without_the_broker_each_process_counts_by_itself(layer, how, caplog, monkeypatch):
    monkeypatch.setattr("channels.security.limits.shared._PATIENCE", 0.05)
    calls = []

    async def take_tokens(*arguments, **options):
        calls.append(arguments)
        if how == "raises":
            raise ConnectionError("refused")
        await asyncio.sleep(60)

    if how == "missing":
        alias = "elsewhere"
    else:
        alias = "default"
        if how == "unable":
            monkeypatch.delattr("channels.layers.memory.InMemoryChannelLayer.take_tokens")
        else:
            layer.take_tokens = take_tokens
    before = statistics()["not shared"]
    application = limited(handshakes_per_address="2/m", shared=alias)
    first, second = await connect(application), await connect(application)
    assert status(await connect(application)) == 429
    assert len(calls) <= 1, "it is not asked each time"
    assert statistics()["not shared"] == before + 3
    assert "Limits are counted in each process by itself for 5 s, because" in caplog.text
    await end(first, second)
