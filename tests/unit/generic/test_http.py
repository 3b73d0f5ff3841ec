import asyncio
import json

import pytest

from channels.exceptions import ChannelsError, StopConsumer
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
