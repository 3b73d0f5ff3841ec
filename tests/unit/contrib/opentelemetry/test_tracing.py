"""Spans of handshakes, handlers, sends and tasks, made by the real SDK: one trace for all."""

import asyncio

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from channels import signals
from channels.consumer import AsyncConsumer
from channels.contrib.opentelemetry import instrument, uninstrument
from channels.contrib.tasks.compat import task_backends
from channels.contrib.tasks.worker import TaskWorker
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers, get_sync_channel_layer
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.testing import HttpCommunicator, WebsocketCommunicator
from channels.worker import Worker
from tests.asgi import until
from tests.brokers import running
from tests.conformance.tasks import jobs

HEADER = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
CLIENT = 0x0AF7651916CD43DD8448EB211C80319C


class Spans:
    def __init__(self, sampler=ALWAYS_ON):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("project")

    @property
    def names(self):
        return [span.name for span in self.exporter.get_finished_spans()]

    def one(self, name):
        (found,) = (span for span in self.exporter.get_finished_spans() if span.name == name)
        return found


@pytest.fixture
def spans():
    spans = Spans()
    instrument(spans.provider)
    yield spans
    uninstrument()


@pytest.fixture
def layer():
    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", old)


class Chat(AsyncWebsocketConsumer):
    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "crash":
            raise ValueError("of the handler")
        await self.channel_layer.group_send("room", {"type": "chat.message", "text": text_data})

    async def chat_message(self, event):
        assert event.keys() == {"type", "text"}
        self.seen = trace.get_current_span().get_span_context()
        await self.send(event["text"])


class SyncChat(WebsocketConsumer):
    groups = ["room"]

    def chat_message(self, event):
        self.send(f"{trace.get_current_span().get_span_context().trace_id:x}")


def within_a_span(spans, application):
    """The application as the ASGI instrumentation calls it."""

    async def wrapped(scope, receive, send):
        with spans.tracer.start_as_current_span("outer"):
            await application(scope, receive, send)

    return wrapped


async def test_one_trace_from_a_client_to_every_member(layer, spans):
    clients = [WebsocketCommunicator(app.as_asgi(), "/") for app in (Chat, Chat, SyncChat)]
    for client in clients:
        await client.connect()
    await clients[0].send_to(text_data="hello")
    assert [await client.receive_from() for client in clients[:2]] == ["hello", "hello"]
    heard = await clients[2].receive_from()
    for client in clients:
        await client.disconnect()
    begins = spans.one("Chat websocket.receive")
    sent = spans.one("group_send chat.message")
    assert begins.parent is None
    assert begins.kind is SpanKind.SERVER
    assert sent.parent.span_id == begins.context.span_id
    assert sent.kind is SpanKind.PRODUCER
    assert "messaging.destination.name" not in sent.attributes
    handled = [
        span for span in spans.exporter.get_finished_spans() if span.name.endswith("chat.message")
    ]
    received = [span for span in handled if span.kind is SpanKind.CONSUMER]
    assert len(received) == 3
    for span in received:
        assert span.context.trace_id == begins.context.trace_id
        assert span.parent.span_id == sent.context.span_id
        assert span.parent.is_remote
    assert int(heard, 16) == begins.context.trace_id


async def test_a_handshake_goes_on_from_its_client_and_handlers_link_to_it(layer, spans):
    client = WebsocketCommunicator(Chat.as_asgi(), "/ws", headers=[HEADER, (b"cookie", b"secret")])
    await client.connect()
    await client.send_to(text_data="hello")
    await client.receive_from()
    await client.disconnect()
    handshake = spans.one("Chat handshake")
    assert handshake.context.trace_id == CLIENT
    assert handshake.kind is SpanKind.SERVER
    assert handshake.attributes["url.path"] == "/ws"
    assert handshake.attributes["channels.handshake.outcome"] == "accepted"
    assert spans.one("Chat websocket.connect").parent.span_id == handshake.context.span_id
    handled = spans.one("Chat websocket.receive")
    assert handled.context.trace_id != CLIENT
    assert [link.context.span_id for link in handled.links] == [handshake.context.span_id]
    assert "secret" not in "".join(span.to_json() for span in spans.exporter.get_finished_spans())


async def test_a_span_around_the_application_is_not_doubled(layer, spans):
    client = WebsocketCommunicator(within_a_span(spans, Chat.as_asgi()), "/")
    await client.connect()
    await client.send_to(text_data="hello")
    await client.receive_from()
    await client.disconnect()
    assert "Chat handshake" not in spans.names
    outer, connect = spans.one("outer"), spans.one("Chat websocket.connect")
    assert connect.parent.span_id == outer.context.span_id
    (link,) = spans.one("Chat websocket.receive").links
    assert link.context.span_id == outer.context.span_id


async def test_a_handler_that_raises(layer, spans):
    client = WebsocketCommunicator(Chat.as_asgi(), "/")
    await client.connect()
    await client.send_to(text_data="crash")
    with pytest.raises(ValueError, match="of the handler"):
        await client.wait()
    span = spans.one("Chat websocket.receive")
    assert span.status.status_code is StatusCode.ERROR
    assert span.events[0].name == "exception"


async def test_requests_over_http(layer, spans):
    class Page(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_response(200, b"ok")

    await HttpCommunicator(Page.as_asgi(), "GET", "/", headers=[HEADER]).get_response()
    name = "test_requests_over_http.<locals>.Page http.request"
    assert spans.one(name).context.trace_id == CLIENT
    spans.exporter.clear()
    await HttpCommunicator(within_a_span(spans, Page.as_asgi()), "GET", "/").get_response()
    assert spans.one(name).parent.span_id == spans.one("outer").context.span_id


def test_views_without_an_event_loop(layer, spans):
    with spans.tracer.start_as_current_span("view") as view:
        get_sync_channel_layer().send("jobs", {"type": "job"})
        get_sync_channel_layer().send("some!channel", {"type": "job"})
    sent = [span for span in spans.exporter.get_finished_spans() if span.name == "send job"]
    assert {span.parent.span_id for span in sent} == {view.get_span_context().span_id}
    assert [span.attributes.get("messaging.destination.name") for span in sent] == ["jobs", None]


@pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])
async def test_over_a_broker_to_members_and_workers(kind, spans):
    instrument(spans.provider, destination_names=True)
    with running("valkey") as broker:
        sender, receiver = (kind(hosts=[broker.address], prefix="traces") for _ in range(2))
        old = channel_layers.set("default", receiver)

        class Jobs(AsyncConsumer):
            async def job(self, message):
                assert message == {"type": "job"}
                self.handled = True

        client = WebsocketCommunicator(Chat.as_asgi(), "/")
        await client.connect()
        worker = Worker(Jobs.as_asgi(), ["jobs"], receiver)
        working = asyncio.ensure_future(worker.arun())
        with spans.tracer.start_as_current_span("view") as view:
            await sender.group_send("room", {"type": "chat.message", "text": "hello"})
            await sender.send("jobs", {"type": "job"})
            await sender.group_send_later(
                "room", {"type": "chat.message", "text": "later"}, delay=0
            )
        assert [await client.receive_from(5) for _ in range(2)] == ["hello", "later"]
        await until(lambda: any(name.endswith("Jobs job") for name in spans.names))
        worker.stop()
        await working
        await client.disconnect()
        channel_layers.set("default", old)
        await sender.aclose()
        await receiver.aclose()
    handled = [
        span for span in spans.exporter.get_finished_spans() if span.kind is SpanKind.CONSUMER
    ]
    assert len(handled) == 3
    assert {span.context.trace_id for span in handled} == {view.get_span_context().trace_id}
    (job,) = (span for span in handled if span.name.endswith("Jobs job"))
    assert job.attributes["messaging.destination.name"] == "jobs"
    assert spans.one("group_send chat.message").attributes["messaging.destination.name"] == "room"


async def test_background_tasks(settings, spans):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.TASKS = {
        "default": {
            "BACKEND": "channels.contrib.tasks.ChannelsBackend",
            "OPTIONS": {"autostart": False, "max_attempts": 1},
        }
    }
    with spans.tracer.start_as_current_span("view") as view:
        for job in (jobs.add, jobs.aadd):
            await job.aenqueue(1, 2)
        await jobs.fail.aenqueue()
    worker = TaskWorker(task_backends["default"])
    working = asyncio.ensure_future(worker.arun())
    await until(lambda: sum(name.startswith("task ") for name in spans.names) == 3)
    worker.stop()
    await working
    ran = [span for span in spans.exporter.get_finished_spans() if span.name.startswith("task ")]
    assert {span.context.trace_id for span in ran} == {view.get_span_context().trace_id}
    failed = [span.name for span in ran if not span.status.is_ok]
    assert failed == [f"task {jobs.__name__}.fail"]


async def test_a_message_that_carries_nothing_begins_a_trace(spans, layer):
    client = WebsocketCommunicator(Chat.as_asgi(), "/")
    await client.connect()
    message = {"type": "chat.message", "text": "tick"}
    await layer.group_send_every(0.1, "room", message, name="clock")
    await client.receive_from()
    await layer.cancel_every("clock")
    await client.disconnect()
    [span] = [one for one in spans.exporter.get_finished_spans() if one.kind is SpanKind.CONSUMER]
    assert span.parent is None


# Sampling


async def test_what_an_outer_span_leaves_out_has_none(layer):
    outer = Spans(TraceIdRatioBased(0.0))
    spans = Spans(ParentBased(ALWAYS_ON))
    instrument(spans.provider)
    try:
        client = WebsocketCommunicator(within_a_span(outer, Chat.as_asgi()), "/")
        await client.connect()
        await client.disconnect()
    finally:
        uninstrument()
    assert "Chat websocket.connect" not in spans.names


async def test_tasks_that_are_not_sampled_have_no_span(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.TASKS = {
        "default": {
            "BACKEND": "channels.contrib.tasks.ChannelsBackend",
            "OPTIONS": {"autostart": False, "max_attempts": 1},
        }
    }
    spans = Spans(ParentBased(TraceIdRatioBased(0.0)))
    instrument(spans.provider)
    try:
        with spans.tracer.start_as_current_span("view"):
            result = await jobs.aadd.aenqueue(1, 2)
        worker = TaskWorker(task_backends["default"])
        working = asyncio.ensure_future(worker.arun())
        async with asyncio.timeout(10):
            while not result.is_finished:
                await asyncio.sleep(0.01)
                await result.arefresh()
        worker.stop()
        await working
    finally:
        uninstrument()
    assert result.return_value == 3
    assert spans.names == []


async def test_what_is_not_sampled_costs_no_span_and_stays_so(layer):
    spans = Spans(ParentBased(TraceIdRatioBased(0.0)))
    instrument(spans.provider)
    try:
        client = WebsocketCommunicator(Chat.as_asgi(), "/")
        await client.connect()
        await client.send_to(text_data="hello")
        await client.receive_from()
        await layer.group_send("room", {"type": "chat.message", "text": "root"})
        await client.receive_from()
        token = context.attach(baggage.set_baggage("k", "v"))
        await layer.group_send("room", {"type": "chat.message", "text": "baggage"})
        context.detach(token)
        await client.receive_from()
        await client.disconnect()
    finally:
        uninstrument()
    assert spans.names == []


async def test_a_share_of_the_traces_is_kept_whole(layer):
    spans = Spans(ParentBased(TraceIdRatioBased(0.5)))
    instrument(spans.provider)
    try:
        client = WebsocketCommunicator(Chat.as_asgi(), "/")
        await client.connect()
        for _ in range(200):
            await client.send_to(text_data="hello")
            await client.receive_from()
        await client.disconnect()
    finally:
        uninstrument()
    counts = {}
    for span in spans.exporter.get_finished_spans():
        counts.setdefault(span.context.trace_id, []).append(span.name)
    whole = [names for names in counts.values() if len(names) == 3]
    assert 40 < len(whole) < 160
    assert all(len(names) == 3 for names in counts.values() if "Chat websocket.receive" in names)


async def test_a_client_whose_trace_is_not_sampled(layer, spans):
    unsampled = (HEADER[0], HEADER[1][:-2] + b"00")
    instrument(Spans(ParentBased(ALWAYS_ON)).provider)
    client = WebsocketCommunicator(Chat.as_asgi(), "/", headers=[unsampled])
    await client.connect()
    await client.disconnect()
    assert "Chat handshake" not in spans.names


async def test_nothing_is_traced_any_more(layer, spans):
    client = WebsocketCommunicator(Chat.as_asgi(), "/")
    await client.connect()
    uninstrument()
    uninstrument()
    spans.exporter.clear()
    await layer.group_send("room", {"type": "chat.message", "text": "hello"})
    assert await client.receive_from() == "hello"
    await client.disconnect()
    assert spans.names == []


async def test_a_handler_that_began_before_anybody_listened_has_no_span(layer):
    begun, go_on, heard = asyncio.Event(), asyncio.Event(), []

    class Waits(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            begun.set()
            await go_on.wait()
            await self.send("done")

    def receiver(message_type, **others):
        heard.append(message_type)

    signals.handler_finished.connect(receiver)
    spans = Spans()
    try:
        socket = WebsocketCommunicator(Waits.as_asgi(), "/")
        await socket.connect()
        await socket.send_to(text_data="x")
        await begun.wait()
        instrument(spans.provider)
        go_on.set()
        assert await socket.receive_from() == "done"
        await until(lambda: heard[-1] == "websocket.receive")
        assert spans.names == []
        await socket.disconnect()
    finally:
        signals.handler_finished.disconnect(receiver)
        uninstrument()


async def test_a_task_that_began_before_anybody_listened_has_no_span(spans):
    signals.task_attempt_finished.send(None, task_result=None, exception=None)
    assert spans.names == []
