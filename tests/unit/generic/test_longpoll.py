"""The application of a class. Real servers are in tests/conformance/servers/test_polls.py."""

import asyncio
import json

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore

from channels._runtime.scopes import CREDENTIAL
from channels.exceptions import ChannelFull, DenyConnection
from channels.generic._bridge import make_token
from channels.generic._polls import is_owner, owner_of
from channels.generic.longpoll import AsyncLongPollConsumer, LongPollConsumer
from channels.layers import get_channel_layer
from tests.asgi import DEADLINE, Server, until


class AsyncNews(AsyncLongPollConsumer):
    groups = ["news"]
    poll_timeout = 0.05

    async def connect(self):
        if self.scope["path"] == "/denied/":
            raise DenyConnection
        if self.scope["path"] == "/crash/":
            raise RuntimeError("in connect")
        await self.accept()
        if self.scope["path"] == "/welcome/":
            await self.send_json("welcome")

    async def receive_json(self, content, **kwargs):
        if content == "close":
            await self.close(4001)
        else:
            await self.send_json({"echo": content})

    async def news_item(self, message):
        await self.send_json(message["content"])

    async def news_text(self, message):
        await self.send(text_data=message["text"])

    async def news_bytes(self, message):
        await self.send(bytes_data=b"x")

    async def disconnect(self, code):
        self.scope["log"].append(code)


class SyncNews(LongPollConsumer):
    groups = ["news"]
    poll_timeout = 0.05

    def connect(self):
        if self.scope["path"] == "/denied/":
            raise DenyConnection
        if self.scope["path"] == "/crash/":
            raise RuntimeError("in connect")
        self.accept()
        if self.scope["path"] == "/welcome/":
            self.send_json("welcome")

    def receive_json(self, content, **kwargs):
        if content == "close":
            self.close(4001)
        else:
            self.send_json({"echo": content})

    def news_item(self, message):
        self.send_json(message["content"])

    def news_text(self, message):
        self.send(text_data=message["text"])

    def news_bytes(self, message):
        self.send(bytes_data=b"x")

    def disconnect(self, code):
        self.scope["log"].append(code)


class Client:
    """Polls an application."""

    def __init__(self, consumer, path="/"):
        self.application, self.path = consumer.as_asgi(), path
        self.cursor, self.log = "", []
        self.scope = {}

    def ask(self, method="GET", body=b"", cursor=None, headers=(), leave=False):
        cursor = self.cursor if cursor is None else cursor
        server = Server(
            self.application,
            "http",
            method=method,
            path=self.path,
            query_string=f"cursor={cursor}".encode(),
            headers=list(headers),
            log=self.log,
            **self.scope,
        )
        server.put("http.request", body=body)
        return server.start()

    async def answer(self, method="GET", **request):
        """The status of an answer, and its content."""
        server = self.ask(method, **request)
        await server.ended()
        body = server.sent[-1]["body"]
        status = server.sent[0]["status"]
        return status, json.loads(body) if status == 200 else body

    async def poll(self):
        status, content = await self.answer()
        assert status in {200, 204}
        if status == 204:
            return []
        self.cursor = content["cursor"]
        return content["messages"]

    async def content(self):
        """What the next answer says that says something."""
        async with asyncio.timeout(DEADLINE):
            while True:
                status, content = await self.answer()
                assert status in {200, 204}
                if status == 200:
                    return content

    async def finish(self):
        """Let the consumer close, and wait until nothing of it is left."""
        await self.answer("POST", body=b'"close"')
        async with asyncio.timeout(DEADLINE):
            while True:
                status, content = await self.answer()
                if status == 410 or (status == 200 and "closed" in content):
                    break
                if status == 200:
                    self.cursor = content["cursor"]
        await until(lambda: self.log and not get_channel_layer().channels)

    async def polled(self, count):
        messages = []
        async with asyncio.timeout(DEADLINE):
            while len(messages) < count:
                messages += await self.poll()
        return messages


@pytest.fixture(autouse=True)
def soon_expired(settings):
    """An answer that comes too late for its request expires before ``finish`` gives up."""
    layer = settings.CHANNEL_LAYERS["default"] | {"CONFIG": {"expiry": DEADLINE / 6}}
    settings.CHANNEL_LAYERS = {"default": layer}


@pytest.fixture(params=[AsyncNews, SyncNews])
def news(request):
    """A class of its own for each test, which may change it."""
    return type(request.param.__name__, (request.param,), {"session_timeout": 5.0})


@pytest.fixture
async def client(news):
    client = Client(news)
    assert await client.poll() == []
    yield client
    await client.finish()


async def tell(kind="item", **message):
    await get_channel_layer().group_send("news", {"type": f"news.{kind}", **message})


async def test_what_is_told_comes_with_the_next_poll_once(client):
    for number in range(3):
        await tell(content={"n": number})
    assert await client.polled(3) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert await client.poll() == []


async def test_a_poll_waits_for_what_is_told(client, news):
    news.poll_timeout = 5.0
    polling = client.ask()
    await asyncio.sleep(0.02)
    await tell(content="now")
    await polling.ended()
    assert json.loads(polling.sent[-1]["body"])["messages"] == ["now"]


async def test_an_answer_is_kept_until_the_client_shows_that_it_has_it(client):
    await tell(content="once")
    first = await client.content()
    assert (await client.content())["messages"] == first["messages"] == ["once"]
    client.cursor = first["cursor"]
    assert await client.poll() == []


async def test_a_cursor_from_before_an_acknowledged_one_is_gone(client):
    old = client.cursor
    await tell(content="once")
    assert await client.polled(1) == ["once"]
    assert await client.poll() == []
    assert (await client.answer(cursor=old))[0] == 410


async def test_a_client_that_asks_again_before_it_was_answered_gets_the_answer_there(client, news):
    news.poll_timeout = 5.0
    given_up = client.ask()
    await asyncio.sleep(0.02)
    polling = client.ask()
    await asyncio.sleep(0.02)
    await tell(content="x")
    await polling.ended()
    assert json.loads(polling.sent[-1]["body"])["messages"] == ["x"]
    given_up.put("http.disconnect")
    await given_up.ended()


async def test_an_application_that_returns_without_closing_ends_the_poll_that_waits(news):
    leave = asyncio.Event()

    class Leaving(AsyncNews):
        poll_timeout = session_timeout = 5.0

        async def __call__(self, scope, receive, send):
            await send({"type": "websocket.accept"})
            await leave.wait()

    client = Client(Leaving)
    await client.poll()
    polling = client.ask()
    await asyncio.sleep(0.02)
    leave.set()
    await polling.ended()
    assert polling.sent[0]["status"] == 410
    assert (await client.answer())[0] == 410


async def test_a_gap_does_not_end_a_poll(client, news):
    news.poll_timeout = 5.0
    layer = get_channel_layer()
    before = set(layer.channels)
    polling = client.ask()
    (channel,) = await until(lambda: set(layer.channels) - before)
    await layer.send(channel, {"type": "layer.gap"})
    await tell(content="x")
    await polling.ended()
    assert json.loads(polling.sent[-1]["body"])["messages"] == ["x"]


async def test_a_client_that_leaves_while_its_request_is_read(news):
    server = Server(news.as_asgi(), "http", method="GET", log=[])
    server.put("http.disconnect")
    server.start()
    await server.ended()
    assert server.sent == []


async def test_tasks_of_a_consumer_wait_together_for_a_client_that_does_not_poll():
    class Many(AsyncNews):
        session_timeout = 5.0

        async def news_many(self, message):
            await asyncio.gather(*(self.send_json(number) for number in range(105)))

    client = Client(Many)
    await client.poll()
    await tell("many")
    assert sorted(await client.polled(105)) == list(range(105))
    await client.finish()


async def test_a_poll_whose_client_leaves_is_forgotten(client, news):
    news.poll_timeout = 5.0
    leaving = client.ask()
    await asyncio.sleep(0.02)
    leaving.put("http.request", body=b"")
    leaving.put("http.disconnect")
    await leaving.ended()
    await tell(content="later")
    assert await client.polled(1) == ["later"]


async def test_a_client_sends(client):
    assert await client.answer("POST", body=b'{"n": 1}') == (204, b"")
    assert await client.polled(1) == [{"echo": {"n": 1}}]


async def test_what_is_no_json_comes_as_a_string(client):
    await tell("text", text="no {json}")
    assert await client.polled(1) == ["no {json}"]


async def test_bytes_cannot_be_polled_for(news, caplog):
    client = Client(news)
    await client.poll()
    await tell("bytes")
    assert (await client.content())["closed"] == {"code": 1011, "reason": ""}
    assert "gets JSON, and no bytes" in caplog.text


async def test_what_is_sent_in_connect_is_in_the_first_answers(news):
    client = Client(news, "/welcome/")
    assert await client.polled(1) == ["welcome"]
    await client.finish()


async def test_the_consumer_closes(news):
    client = Client(news)
    await client.poll()
    await client.answer("POST", body=b'"close"')
    await until(lambda: client.log)
    status, content = await client.answer()
    assert (status, content["closed"]) == (200, {"code": 4001, "reason": ""})
    await until(lambda: not get_channel_layer().channels)
    assert (await client.answer())[0] == 410
    assert client.log == [4001]


async def test_a_client_that_does_not_come_back_is_disconnected(news):
    news.session_timeout = 0.02
    client = Client(news)
    await client.poll()
    await until(lambda: client.log)
    assert client.log == [1006]
    assert (await client.answer())[0] == 410
    assert (await client.answer("POST", body=b"1"))[0] == 410
    await until(lambda: not get_channel_layer().channels)


async def test_a_session_whose_process_has_gone(news, monkeypatch):
    """Nothing answers for its channel."""
    monkeypatch.setattr("channels.generic._polls._PATIENCE", 0.02)
    layer = get_channel_layer()
    channels = [await layer.new_channel() for _ in range(2)]
    cursor = f"0:{make_token('another process', *channels, '')}"
    assert (await Client(news).answer(cursor=cursor))[0] == 410
    await layer.flush()


async def test_a_consumer_whose_client_does_not_poll_waits(news):
    client = Client(news)
    await client.poll()
    for number in range(150):
        await tell(content=number)
        await asyncio.sleep(0)
    assert len(await client.polled(100)) >= 100
    await client.finish()


async def test_a_waiting_consumer_ends_when_the_client_does_not_come_back(news):
    news.session_timeout = 0.1
    client = Client(news)
    await client.poll()
    for number in range(120):
        await tell(content=number)
        await asyncio.sleep(0)
    await until(lambda: client.log)
    await until(lambda: not get_channel_layer().channels)


@pytest.mark.parametrize(
    ("path", "status", "code"), [("/denied/", 403, 1006), ("/crash/", 500, 1011)]
)
async def test_a_client_that_is_refused(news, path, status, code):
    client = Client(news, path)
    assert (await client.answer())[0] == status
    await until(lambda: not get_channel_layer().channels)
    assert client.log == [code]


@pytest.mark.parametrize("cursor", ["x", "1", "1:", "1:x", "-1:x", "²:x", "9" * 19 + ":x"])
async def test_what_is_no_cursor(news, cursor):
    assert (await Client(news).answer(cursor=cursor))[0] == 400
    assert (await Client(news).answer("POST", cursor=cursor))[0] == 400


async def test_a_post_without_a_cursor(news):
    assert (await Client(news).answer("POST", body=b"1"))[0] == 400


async def test_a_body_that_is_no_utf8(client):
    assert (await client.answer("POST", body=b"\xff"))[0] == 400


async def test_a_body_that_is_too_large(client, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    assert (await client.answer("POST", body=b"x" * 11))[0] == 413


@pytest.mark.parametrize("method", ["PUT", "HEAD", "OPTIONS"])
async def test_other_methods_are_refused(news, method):
    server = Client(news).ask(method)
    await server.ended()
    assert server.sent[0]["status"] == 405
    assert (b"allow", b"GET, POST") in server.sent[0]["headers"]


async def test_a_page_of_another_origin(news, settings):
    settings.ALLOWED_HOSTS = ["good.example"]
    assert (await Client(news).answer(headers=[(b"origin", b"https://bad.example")]))[0] == 403
    client = Client(news)
    server = client.ask(headers=[(b"origin", b"https://good.example")])
    await server.ended()
    headers = dict(server.sent[0]["headers"])
    assert headers[b"access-control-allow-origin"] == b"https://good.example"
    assert headers[b"cache-control"] == b"no-store"
    client.cursor = json.loads(server.sent[-1]["body"])["cursor"]
    await client.answer("POST", body=b'"close"')
    await until(lambda: client.log)


async def test_sessions_are_bounded_because_they_cost_their_clients_nothing(client, news):
    news.max_sessions = 1
    server = Client(news).ask()
    await server.ended()
    assert server.sent[0]["status"] == 503
    assert (b"retry-after", b"5") in server.sent[0]["headers"]
    assert (await client.answer())[0] == 204, "those that are there go on"


async def test_a_layer_that_is_full_says_come_back(client, monkeypatch):
    async def full(channel, message):
        raise ChannelFull

    monkeypatch.setattr(get_channel_layer(), "send", full)
    server = client.ask()
    await server.ended()
    assert server.sent[0]["status"] == 503
    assert (b"retry-after", b"1") in server.sent[0]["headers"]
    monkeypatch.undo()


def test_the_application_tells_what_it_runs(news):
    application = news.as_asgi(x=1)
    assert application.consumer_class is news
    assert application.consumer_initkwargs == {"x": 1}


class User:
    is_authenticated = True

    def __init__(self, pk):
        self.pk = pk


def signed_in(pk, **scope):
    session = SessionStore()
    session[SESSION_KEY] = str(pk)
    return {"session": session, "user": User(pk), **scope}


async def test_a_cursor_from_a_log_is_of_no_use_to_others(news, caplog):
    client = Client(news)
    client.scope = signed_in(7)
    await client.poll()
    for other in ({}, {"user": AnonymousUser()}, signed_in(8)):
        client.scope = other
        assert (await client.answer())[0] == 410
        assert (await client.answer("POST", body=b'"close"'))[0] == 410
    assert "its cursor belongs to another user" in caplog.text
    client.scope = signed_in(7)
    await client.finish()


@pytest.mark.parametrize("first", [{}, {"user": User(7)}, signed_in(7, **{CREDENTIAL: object()})])
async def test_what_came_with_the_first_request_only_is_not_asked_for_again(first):
    assert is_owner({}, owner_of(first))
    assert is_owner({"user": User(7)}, owner_of(first))
    assert is_owner({"user": User(8)}, owner_of(first)) is not bool(first)
