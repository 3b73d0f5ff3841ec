import asyncio
import json

import pytest

from channels import signals
from channels._runtime import bodies
from channels.exceptions import ChannelsError, StopConsumer
from channels.generic import http
from channels.generic.http import AsyncHttpConsumer
from channels.layers import get_channel_layer
from channels.testing import HttpCommunicator
from tests.asgi import Server, until


async def test_a_response():
    disconnects = []

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            content = json.dumps({"method": self.scope["method"], "body": body.decode()}).encode()
            await self.send_response(201, content, headers={"Content-Type": "application/json"})

        async def disconnect(self):
            disconnects.append(self)

    communicator = HttpCommunicator(Consumer.as_asgi(), "POST", "/x/?q=1", body=b"hello")
    response = await communicator.get_response()
    assert response["status"] == 201
    assert response["headers"] == [(b"Content-Type", b"application/json")]
    assert json.loads(response["body"]) == {"method": "POST", "body": "hello"}
    assert len(disconnects) == 1


async def test_a_body_in_parts():
    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, body, headers=[(b"x", b"1")])

    server = Server(Consumer.as_asgi(), "http", method="POST")
    server.put("http.request", body=b"one ", more_body=True)
    server.put("http.request", body=b"two ", more_body=True)
    server.put("http.request", body=b"three")
    await server.start().ended()
    assert server.sent == [
        {"type": "http.response.start", "status": 200, "headers": [(b"x", b"1")]},
        {"type": "http.response.body", "body": b"one two three", "more_body": False},
    ]


async def test_a_stream():
    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers(headers=[("Content-Type", "text/event-stream")])
            for number in range(3):
                await self.send_body(b"data: %d\n\n" % number, more_body=True)
            await self.send_body(b"")

    response = await HttpCommunicator(Consumer.as_asgi(), "GET", "/").get_response()
    assert response["body"] == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def test_a_long_poll_is_answered_by_a_layer_message():
    log = []

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.channel_layer.group_add("poll", self.channel_name)
            await self.send_headers()
            await self.send_body(b"", more_body=True)

        async def chat_message(self, event):
            await self.send_body(event["text"].encode())

        async def disconnect(self):
            log.append("disconnect")

    server = Server(Consumer.as_asgi(), "http", method="GET")
    server.put("http.request", body=b"")
    server.start()
    await until(lambda: len(server.sent) == 2)
    assert log == []
    await get_channel_layer().group_send("poll", {"type": "chat.message", "text": "news"})
    await server.ended()
    assert server.sent[-1] == {
        "type": "http.response.body",
        "body": b"news",
        "more_body": False,
    }
    assert log == ["disconnect"]
    assert get_channel_layer().groups == {}


async def test_streaming_on_in_a_task_after_http_request_returned():
    class Consumer(AsyncHttpConsumer):
        async def http_request(self, message):
            self.task = asyncio.create_task(self.stream())

        async def stream(self):
            await self.send_headers()
            await self.send_body(b"later", more_body=True)

        async def disconnect(self):
            self.task.cancel()

    server = Server(Consumer.as_asgi(), "http", method="GET")
    server.put("http.request", body=b"")
    server.start()
    await until(lambda: len(server.sent) == 2)
    assert not server.task.done()
    server.put("http.disconnect")
    await server.ended()


async def test_stop_consumer_in_an_overridden_http_request():
    log = []

    class Consumer(AsyncHttpConsumer):
        async def http_request(self, message):
            await self.send_response(204, b"")
            raise StopConsumer

        async def disconnect(self):
            log.append("disconnect")

    server = Server(Consumer.as_asgi(), "http", method="GET")
    server.put("http.request", body=b"")
    await server.start().ended()
    assert server.sent[0]["status"] == 204
    assert log == ["disconnect"]


async def test_the_client_leaves_before_the_body_is_complete():
    log = []

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            log.append("handle")

        async def disconnect(self):
            log.append("disconnect")

    server = Server(Consumer.as_asgi(), "http", method="POST")
    server.put("http.request", body=b"part", more_body=True)
    server.put("http.disconnect")
    await server.start().ended()
    assert log == ["disconnect"]
    assert server.sent == []


async def test_a_handle_that_raises_disconnects_once():
    log = []

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            raise RuntimeError("boom")

        async def disconnect(self):
            log.append("disconnect")

    with pytest.raises(RuntimeError, match="boom"):
        await HttpCommunicator(Consumer.as_asgi(), "GET", "/").get_response()
    assert log == ["disconnect"]


async def test_a_handle_that_forgets_to_respond():
    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            pass

    with pytest.raises(ChannelsError, match="returned without starting a response"):
        await HttpCommunicator(Consumer.as_asgi(), "GET", "/").get_response()


async def test_handle_must_be_overridden():
    with pytest.raises(NotImplementedError, match="must provide a handle"):
        await HttpCommunicator(AsyncHttpConsumer.as_asgi(), "GET", "/").get_response()


async def test_a_body_must_be_bytes():
    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, "text")

    with pytest.raises(TypeError, match="Body is not bytes but str"):
        await HttpCommunicator(Consumer.as_asgi(), "GET", "/").get_response()


# Bodies that are too large


class Upload(AsyncHttpConsumer):
    max_body_size = 100

    async def handle(self, body):
        await self.send_response(200, str(len(body)).encode())


@pytest.fixture
def brief(monkeypatch):
    """Clients that go on sending are soon cut off."""
    monkeypatch.setattr(bodies, "LINGER", 0.05)
    monkeypatch.setattr(http, "LINGER", 0.05)


def post(consumer, *parts, end=True, headers=()):
    scope = {"method": "POST", "http_version": "1.1", "headers": list(headers)}
    server = Server(consumer.as_asgi(), "http", **scope)
    for part in parts:
        server.put("http.request", body=part, more_body=True)
    if end:
        server.put("http.request", body=b"")
    return server.start()


async def answer(consumer, *parts, **options):
    server = post(consumer, *parts, **options)
    await server.ended()
    return server


@pytest.mark.parametrize("size", [99, 100])
async def test_a_body_up_to_the_limit_is_taken(size):
    server = await answer(Upload, b"a" * 50, b"b" * (size - 50))
    assert server.sent[-1]["body"] == str(size).encode()


async def test_a_body_beyond_the_limit_is_refused():
    made = []

    class Consumer(Upload):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

        async def disconnect(self):
            made.append("disconnect")

    server = await answer(Consumer, b"a" * 60, b"b" * 60, b"c" * 1000)
    assert [message.get("status") for message in server.sent] == [413, None, None]
    assert (b"connection", b"close") in server.sent[0]["headers"]
    assert [message.get("more_body", False) for message in server.sent[1:]] == [True, False]
    consumer, disconnected = made
    assert consumer.body == []
    assert disconnected == "disconnect"


async def test_a_body_that_is_announced_to_be_too_large_is_refused_at_once(brief):
    """Nothing of it has come, and no consumer begins its work."""
    refused = []

    def hear(sender, reason, status, **kwargs):
        refused.append((sender, status, reason))

    signals.connection_refused.connect(hear)
    try:
        server = await answer(Upload, end=False, headers=[(b"content-length", b"101")])
    finally:
        signals.connection_refused.disconnect(hear)
    assert server.sent[0]["status"] == 413
    ((sender, status, reason),) = refused
    assert (sender, status) == (Upload, 413)
    assert "DATA_UPLOAD_MAX_MEMORY_SIZE" in reason
    assert "max_body_size of Upload" in reason


@pytest.mark.parametrize("length", [b"100", b"", b"rubbish", b"-5", b"9" * 5000])
async def test_what_a_client_announces_otherwise_changes_nothing(length):
    server = await answer(Upload, b"a", headers=[(b"content-length", length)])
    assert server.sent[0]["status"] == 200


async def test_a_client_that_never_ends_its_request_is_cut_off(brief):
    server = post(Upload, b"a" * 101, end=False)
    await until(lambda: len(server.sent) == 3)
    server.put("http.disconnect")
    await server.ended()
    assert server.sent[0]["status"] == 413
    assert server.sent[-1] == bodies.last_word(413)


async def test_what_comes_after_the_refusal_is_not_kept():
    kept = []

    class Consumer(Upload):
        async def http_request(self, message):
            await super().http_request(message)
            kept.append(sum(map(len, self.body)))

    await answer(Consumer, *[b"a" * 60] * 50)
    assert max(kept) == 60


async def test_the_limit_is_the_setting_unless_the_class_has_its_own(settings):
    class Consumer(AsyncHttpConsumer):
        handle = Upload.handle

    class Unlimited(Consumer):
        max_body_size = None

    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    body = b"a" * 11
    assert (await HttpCommunicator(Consumer, "POST", "/", body).get_response())["status"] == 413
    assert (await HttpCommunicator(Unlimited, "POST", "/", body).get_response())["status"] == 200
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
    assert (await HttpCommunicator(Consumer, "POST", "/", body).get_response())["status"] == 200


async def test_an_instance_may_have_a_limit_of_its_own():
    class Consumer(Upload):
        def __init__(self, limit):
            super().__init__()
            self.max_body_size = limit

    for limit, status in ((10, 413), (11, 200)):
        application = Consumer.as_asgi(limit=limit)
        response = await HttpCommunicator(application, "POST", "/", b"a" * 11).get_response()
        assert response["status"] == status


async def test_a_consumer_that_takes_the_parts_itself_has_no_limit():
    class Consumer(Upload):
        size = 0

        async def http_request(self, message):
            self.size += len(message["body"])
            if not message.get("more_body"):
                await self.handle(b"a" * self.size)

    headers = [(b"content-length", b"5000")]
    server = await answer(Consumer, *[b"a" * 50] * 100, headers=headers)
    assert server.sent[-1]["body"] == b"5000"


async def test_a_consumer_that_takes_away_what_was_collected_has_no_limit():
    class Consumer(Upload):
        size = 0

        async def http_request(self, message):
            await super().http_request(message)
            self.size += sum(map(len, self.body))
            self.body.clear()
            if not message.get("more_body"):
                await self.send_body(str(self.size).encode())

        async def handle(self, body):
            await self.send_headers()

    server = await answer(Consumer, *[b"a" * 50] * 100)
    assert server.sent[-1]["body"] == b"5000"


@pytest.mark.parametrize("size", [0, 1, 2, 3])
async def test_many_tiny_parts_occupy_no_more_than_few(size):
    """200,000 objects of two bytes would occupy 8 MB."""
    parts = []
    expected = b"".join(bytes([number % 251]) * size for number in range(50_000))
    for number in range(50_000):
        bodies.collect(parts, bytes([number % 251]) * size)
    assert b"".join(parts) == expected
    assert len(parts) < 100


async def test_a_refusal_by_hand_is_complete_if_the_client_leaves_meanwhile(brief):
    server = post(Upload, b"a" * 101, end=False)
    await until(lambda: len(server.sent) == 2)
    server.put("http.disconnect")
    await server.ended()


async def test_a_type_error_in_disconnect_is_logged_as_it_is(caplog):
    error = TypeError("a mistake of the project")

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, b"")

        async def disconnect(self):
            raise error

    communicator = HttpCommunicator(Consumer.as_asgi(), "GET", "/")
    assert (await communicator.get_response())["status"] == 200
    await communicator.wait()
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


# Slow bodies


def upload(consumer, *parts, **more):
    server = Server(consumer.as_asgi(), "http", method="POST")
    server.scope["headers"] = [(b"transfer-encoding", b"chunked")]
    for part in parts:
        server.put("http.request", body=part, more_body=True)
    return server.start()


@pytest.mark.parametrize("parts", [(), (b"a",), (b"a", b"b")])
async def test_a_body_that_does_not_come_is_refused_with_408(parts, caplog, monkeypatch):
    class Slow(Upload):
        body_timeout = 0.02

    monkeypatch.setattr("channels.generic.http.LINGER", 0.01)
    server = upload(Slow, *parts)
    await until(lambda: len(server.sent) == 3)
    assert server.sent[0]["status"] == 408
    assert server.sent[-1] == bodies.last_word(408)
    assert "the body has not come within 0.02 s" in caplog.text
    assert "a higher body_timeout of" in caplog.text
    server.put("http.disconnect")
    await server.ended()


async def test_a_large_body_has_more_time():
    class Slow(Upload):
        body_timeout = 0.02
        max_body_size = None

    server = upload(Slow, b"a" * 50_000)  # a hundred seconds
    await asyncio.sleep(0.1)
    assert not server.sent
    server.put("http.request", body=b"", more_body=False)
    await until(lambda: len(server.sent) == 2)
    assert server.sent[0]["status"] == 200
    server.put("http.disconnect")
    await server.ended()


async def test_it_may_take_as_long_as_it_likes():
    class Patient(Upload):
        body_timeout = None

    server = upload(Patient, b"a")
    server.put("http.request", body=b"", more_body=False)
    await until(lambda: len(server.sent) == 2)
    assert server.sent[0]["status"] == 200
    server.put("http.disconnect")
    await server.ended()


async def test_a_test_may_take_its_time_with_the_body():
    class Quick(Upload):
        body_timeout = 0.001

    body = b"x" * 10
    headers = [(b"content-length", b"10")]
    communicator = HttpCommunicator(Quick.as_asgi(), "POST", "/", body=body, headers=headers)
    assert (await communicator.get_response())["status"] == 200
