import asyncio

import pytest

from channels import signals
from channels.exceptions import AcceptConnection, DenyConnection
from channels.generic.sse import AsyncSseConsumer, SseConsumer
from channels.layers import get_channel_layer
from tests.asgi import Server, until

COMMENT = b":\n\n"


class AsyncNews(AsyncSseConsumer):
    groups = ["news"]

    async def connect(self):
        if self.scope["path"] == "/denied/":
            raise DenyConnection
        if self.scope["path"] == "/no-content/":
            return await self.close(204)
        if self.scope["path"] == "/undecided/":
            return None
        await self.accept(headers={"x-version": "1"})
        if self.last_event_id is not None:
            await self.send_event(f"after {self.last_event_id}")
        return None

    async def news_item(self, message):
        await self.send_json(message["content"], event="item", id=message.get("id"))

    async def news_text(self, message):
        await self.send_event(message["text"])

    async def news_nothing(self, message):
        await self.send_json(float("nan"))

    async def news_over(self, message):
        await self.close()
        await self.send_event("too late")

    async def disconnect(self):
        self.scope["log"].append("disconnect")


class SyncNews(SseConsumer):
    groups = ["news"]

    def connect(self):
        if self.scope["path"] == "/denied/":
            raise DenyConnection
        if self.scope["path"] == "/no-content/":
            return self.close(204)
        if self.scope["path"] == "/undecided/":
            return None
        self.accept(headers={"x-version": "1"})
        if self.last_event_id is not None:
            self.send_event(f"after {self.last_event_id}")
        return None

    def news_item(self, message):
        self.send_json(message["content"], event="item", id=message.get("id"))

    def news_text(self, message):
        self.send_event(message["text"])

    def news_nothing(self, message):
        self.send_json(float("nan"))

    def news_over(self, message):
        self.close()
        self.send_event("too late")

    def disconnect(self):
        self.scope["log"].append("disconnect")


@pytest.fixture(params=[AsyncNews, SyncNews])
def news(request):
    """A class of its own for each test, which may change it."""
    return type(request.param.__name__, (request.param,), {})


def raise_it(consumer, error):
    """A ``connect()`` of the right kind that raises."""
    if issubclass(consumer, SseConsumer):

        def connect(self):
            raise error

        return connect

    async def aconnect(self):
        raise error

    return aconnect


def serve(consumer, path="/", method="GET", headers=(), **scope):
    server = Server(
        consumer.as_asgi(), "http", method=method, path=path, headers=list(headers), log=[], **scope
    )
    server.put("http.request", body=b"")
    return server.start()


async def begun(server, count=2):
    await until(lambda: len(server.sent) >= count or server.task.done())
    return server


def bodies(server):
    return [m["body"] for m in server.sent if m["type"] == "http.response.body"]


async def tell(**message):
    await get_channel_layer().group_send("news", message)


async def test_messages_of_a_group_become_events(news):
    server = await begun(serve(news))
    start = server.sent[0]
    assert start["status"] == 200
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"text/event-stream"
    assert b"no-cache" in headers[b"cache-control"]
    assert headers[b"x-accel-buffering"] == b"no"
    assert headers[b"x-version"] == b"1"
    assert bodies(server) == [COMMENT], "the browser learns at once that it is connected"
    await tell(type="news.item", content={"n": 1}, id="7")
    await tell(type="news.text", text="two\nlines\r\nor\rfour")
    await begun(server, 4)
    assert bodies(server)[1:] == [
        b'event: item\nid: 7\ndata: {"n": 1}\n\n',
        b"data: two\ndata: lines\ndata: or\ndata: four\n\n",
    ]
    server.put("http.disconnect")
    await server.ended()
    assert server.scope["log"] == ["disconnect"]
    assert get_channel_layer().groups == {}


async def test_a_browser_that_comes_back_says_where_it_was(news):
    server = await begun(serve(news, headers=[(b"last-event-id", "é7".encode())]), 3)
    assert bodies(server)[1] == "data: after é7\n\n".encode()
    server.put("http.disconnect")
    await server.ended()


async def test_a_retry_is_told_first(news):
    news.retry = 2500
    server = await begun(serve(news))
    assert bodies(server) == [b"retry: 2500\n\n"]
    server.put("http.disconnect")
    await server.ended()


@pytest.mark.parametrize(("path", "status"), [("/denied/", 403), ("/no-content/", 204)])
async def test_a_client_that_is_refused(news, path, status):
    server = serve(news, path)
    await server.ended()
    assert [m.get("status") for m in server.sent] == [status, None]
    assert server.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert server.scope["log"] == ["disconnect"]
    assert get_channel_layer().groups == {}


async def test_a_consumer_may_accept_by_an_exception(news):
    news.connect = raise_it(news, AcceptConnection)
    server = await begun(serve(news))
    assert server.sent[0]["status"] == 200
    server.put("http.disconnect")
    await server.ended()


@pytest.mark.parametrize("consumer", [AsyncSseConsumer, SseConsumer])
async def test_without_a_connect_of_its_own_a_consumer_accepts(consumer):
    server = await begun(serve(consumer))
    assert server.sent[0]["status"] == 200
    server.put("http.disconnect")
    await server.ended()


@pytest.mark.parametrize("method", ["connect", "disconnect"])
async def test_a_plain_method_of_an_async_consumer_is_named(method, caplog):
    consumer = type("Plain", (AsyncNews,), {method: lambda self: None})
    server = await begun(serve(consumer))
    server.put("http.disconnect")
    await server.ended()
    assert f"Plain.{method}" in caplog.text
    assert "async def" in caplog.text


async def test_what_is_no_json_is_refused_where_it_is_sent(news, caplog):
    server = await begun(serve(news))
    await tell(type="news.nothing")
    await server.ended()
    assert "news_nothing" in caplog.text


@pytest.mark.parametrize("method", ["connect", "disconnect"])
async def test_a_type_error_of_a_methods_own_stays_as_it_is(method, caplog):
    async def mistaken(self):
        raise TypeError("my own")

    consumer = type("Mistaken", (AsyncNews,), {method: mistaken})
    server = await begun(serve(consumer))
    server.put("http.disconnect")
    await server.ended()
    assert "TypeError: my own" in caplog.text


async def test_no_comment_comes_before_the_consumer_has_accepted():
    class Slow(AsyncNews):
        keep_alive = 0.01

        async def connect(self):
            await asyncio.sleep(0.05)
            await self.accept()

    server = await begun(serve(Slow), 3)
    assert server.sent[0]["type"] == "http.response.start"
    server.put("http.disconnect")
    await server.ended()


async def test_a_consumer_that_decides_nothing_is_told_so(news, caplog):
    server = serve(news, "/undecided/")
    await server.ended()
    assert server.sent[0]["status"] == 500
    assert "connect() has neither accepted the client" in caplog.text


async def test_an_event_before_accept_is_refused(news, caplog):
    if news._sync:
        news.connect = lambda self: self.send_event("early")
    else:

        async def connect(self):
            await self.send_event("early")

        news.connect = connect
    server = serve(news)
    await server.ended()
    assert server.sent[0]["status"] == 500
    assert "before it has called accept()" in caplog.text


async def test_closing_ends_the_stream_and_what_is_sent_afterwards_is_dropped(news):
    dropped = []

    def listen(**details):
        dropped.append(details["message_type"])

    signals.send_dropped.connect(listen)
    server = await begun(serve(news))
    await tell(type="news.over")
    await server.ended()
    assert server.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert dropped == ["http.response.body"]
    assert server.scope["log"] == ["disconnect"]


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS"])
async def test_other_methods_are_refused(news, method):
    server = serve(news, method=method)
    await server.ended()
    assert server.sent[0]["status"] == 405
    assert (b"allow", b"GET") in server.sent[0]["headers"]


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ([], True),
        ([(b"sec-fetch-site", b"same-origin")], True),
        ([(b"sec-fetch-site", b"same-site")], True),
        ([(b"sec-fetch-site", b"cross-site")], False),
        ([(b"origin", b"https://good.example")], True),
        ([(b"origin", b"https://good.example"), (b"sec-fetch-site", b"cross-site")], True),
        ([(b"origin", b"https://bad.example")], False),
        ([(b"origin", b"null")], False),
    ],
)
@pytest.mark.parametrize("by", ["setting", "attribute"])
async def test_pages_of_other_origins(news, settings, headers, allowed, by):
    if by == "setting":
        settings.ALLOWED_HOSTS = ["good.example"]
    else:
        news.allowed_origins = ["https://good.example"]
    server = await begun(serve(news, headers=headers))
    assert server.sent[0]["status"] == (200 if allowed else 403)
    answer = dict(server.sent[0]["headers"])
    if allowed and any(name == b"origin" for name, _ in headers):
        assert answer[b"access-control-allow-origin"] == b"https://good.example"
        assert answer[b"access-control-allow-credentials"] == b"true"
        assert answer[b"vary"] == b"Origin"
    else:
        assert b"access-control-allow-origin" not in answer
    server.put("http.disconnect")
    await server.ended()


async def test_a_silent_stream_is_kept_alive_by_comments(news):
    news.keep_alive = 0.02
    server = await begun(serve(news), 5)
    assert set(bodies(server)) == {COMMENT}
    server.put("http.disconnect")
    await server.ended()
    count = len(server.sent)
    await asyncio.sleep(0.1)
    assert len(server.sent) == count


async def test_a_body_is_ignored(news):
    server = Server(news.as_asgi(), "http", method="GET", log=[])
    server.put("http.request", body=b"x", more_body=True)
    server.put("http.request", body=b"y")
    server.start()
    await begun(server)
    await tell(type="news.text", text="once")
    await begun(server, 3)
    server.put("http.disconnect")
    await server.ended()
    assert bodies(server) == [COMMENT, b"data: once\n\n"]


async def test_without_a_layer(news, settings):
    settings.CHANNEL_LAYERS = {}
    news.groups = None
    server = await begun(serve(news))
    assert server.sent[0]["status"] == 200
    server.put("http.disconnect")
    await server.ended()
