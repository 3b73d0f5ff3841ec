"""What clients choose makes neither series nor traces: labels of metrics, and headers of traces."""

import asyncio
from collections import Counter
from itertools import count
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from channels import signals
from channels._runtime import tallies
from channels._runtime.carried import KEY, LARGEST, carried, decode, take
from channels.contrib.opentelemetry.contexts import from_text
from channels.contrib.opentelemetry.tracing import Tracing
from channels.contrib.prometheus.client import CollectorRegistry
from channels.contrib.prometheus.listening import Listener
from channels.contrib.tasks.compat import task_enqueued, task_finished
from channels.generic.websocket import AsyncWebsocketConsumer

from . import fuzz

TEXTS = st.text(st.characters(), max_size=30)
ODD = st.none() | st.integers() | st.binary(max_size=9) | TEXTS | st.booleans() | st.floats()


@pytest.fixture(scope="module")
def listener():
    """Counts into a registry of its own, over all cases of a test and over all tests."""
    before = tallies.counting, tallies.tallies
    tallies.tallies = {}
    listener = Listener(CollectorRegistry())
    listener.connect()
    yield listener
    for name in signals.__all__:
        if name != "emit":
            uid = f"channels.contrib.prometheus {name}"
            getattr(signals, name).disconnect(dispatch_uid=uid)
    for signal in (task_enqueued, task_finished):
        signal.disconnect(dispatch_uid="channels.contrib.prometheus")
    tallies.counting, tallies.tallies = before


_cases = count()

# Cases between two looks at all metrics, which take as long as hundreds of cases.
EVERY = 199


def check_series(listener, most):
    """All that Prometheus would read can be parsed, and no metric has more than ``most`` series."""
    if next(_cases) % EVERY != EVERY - 1:
        return
    listener.mirror.refresh()
    page = generate_latest(listener.metrics.registry).decode("utf-8")
    for family in text_string_to_metric_families(page):
        series = {
            tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
            for sample in family.samples
        }
        assert len(series) <= most, (family.name, len(series))


class Echo(AsyncWebsocketConsumer):
    channel_layer_alias = "none"

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data, bytes_data)


async def talk(scope, frames, code):
    """What a server does for one client, whatever the client says."""
    events = [
        {"type": "websocket.connect"},
        *frames,
        {"type": "websocket.disconnect", "code": code},
    ]

    async def receive():
        return events.pop(0) if events else await asyncio.Event().wait()

    async def send(message):
        pass

    await Echo.as_asgi()(scope, receive, send)


@fuzz
@given(
    path=TEXTS,
    subprotocols=st.lists(TEXTS, max_size=3),
    headers=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=3),
    texts=st.lists(st.text(max_size=30) | st.binary(max_size=20), max_size=3),
    code=st.integers(-(2**40), 2**40),
)
def test_a_hostile_client_makes_no_series(listener, path, subprotocols, headers, texts, code):
    scope = {
        "type": "websocket",
        "path": path,
        "headers": headers,
        "subprotocols": subprotocols,
        "client": ("127.0.0.1", 1),
    }
    frames = [
        {"type": "websocket.receive", "text" if isinstance(text, str) else "bytes": text}
        for text in texts
    ]
    asyncio.run(talk(scope, frames, code))
    check_series(listener, 101 * 11)


@fuzz
@given(
    status=ODD,
    code=ODD,
    limit=ODD,
    kind=ODD,
    reason=ODD,
    broker=ODD,
    protocol=ODD,
    types=st.lists(TEXTS, max_size=5),
)
def test_odd_values_of_signals_make_a_bounded_number_of_series(
    listener, status, code, limit, kind, reason, broker, protocol, types
):  # fmt: skip
    send = SimpleNamespace(
        **{name: getattr(signals, name).send for name in signals.__all__ if name != "emit"}
    )
    send.connection_refused(Echo, scope={"type": protocol}, reason=reason, status=status)
    send.connection_opened(Echo, consumer=None, scope={})
    send.connection_closed(Echo, consumer=None, scope={}, code=code, duration=0.1)
    send.limit_exceeded(Echo, scope={}, consumer=None, limit=limit, key_kind=kind, action=reason)
    send.message_dropped(Echo, layer=None, channel="c", reason=reason, count=1)
    send.broker_lost(Echo, broker=broker, purpose=kind, exception=None)
    send.broker_recovered(Echo, broker=broker, purpose=kind, seconds=1.0)
    send.handshake_finished(Echo, consumer=None, scope={}, outcome=reason, seconds=0.1)
    send.job_finished(Echo, channel=broker, message_type="t", seconds=0.1, outcome=reason)
    tally = tallies.tally_of(Echo())
    for message_type in types:
        tally.latency_of(message_type).observe(0.001)
    check_series(listener, 101 * 11)


# Headers of traces

HEX = st.text("0123456789abcdefABCDEF", max_size=34)
NEARLY = st.builds("-".join, st.tuples(HEX, HEX, HEX, HEX))
VALID = st.builds(
    "00-{:032x}-{:016x}-{:02x}".format,
    st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255),
)  # fmt: skip
PAIRS = st.lists(st.builds("{}={}".format, TEXTS, TEXTS), max_size=4).map(",".join)
PARENTS = VALID | NEARLY | TEXTS
TRACING = {"traceparent": PARENTS, "tracestate": PAIRS | TEXTS, "baggage": PAIRS | TEXTS}


@pytest.fixture(scope="module")
def tracing():
    """Makes every span, and what it has made."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider, destination_names=False), exporter


def believed(texts):
    """The span that the SDK itself takes from the headers of a request."""
    return trace.get_current_span(propagate.extract(texts, context=Context())).get_span_context()


@fuzz
@given(
    texts=st.fixed_dictionaries({}, optional=TRACING), kind=st.sampled_from(["http", "websocket"])
)
def test_headers_are_believed_no_more_than_the_sdk_believes_them(tracing, texts, kind):
    tracer, exporter = tracing
    exporter.clear()
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in texts.items()]
    scope = {"type": kind, "path": "/", "headers": headers}
    first = "http.request" if kind == "http" else "websocket.connect"
    begun = tracer.begin(SimpleNamespace(scope=scope), first, "client")
    if begun is not None:
        tracer.end(begun, None)
    above = believed({name.decode(): value.decode("latin-1") for name, value in headers})
    spans = exporter.get_finished_spans()
    if above.is_valid and not above.trace_flags.sampled:
        assert spans == ()
        return
    (span,) = spans
    if above.is_valid:
        assert span.context.trace_id == above.trace_id
    elif kind == "http":
        assert span.parent is None
    assert not context.get_current()


@fuzz
@given(
    text=st.dictionaries(st.sampled_from(list(TRACING)) | TEXTS, PARENTS | PAIRS, max_size=4)
    | TEXTS | st.binary(max_size=40) | st.integers() | st.just("x" * (LARGEST + 1)),
    source=st.sampled_from(["layer", "client"]),
)  # fmt: skip
def test_rubbish_beside_layer_messages_is_ignored(tracing, text, source):
    tracer, exporter = tracing
    exporter.clear()
    if isinstance(text, dict):
        try:
            text = msgspec.json.encode(text).decode()
        except UnicodeEncodeError:
            text = repr(text)
    message = {"type": "chat.message", KEY: text}
    take(message)
    try:
        assert message == {"type": "chat.message"}
        found = decode(carried.get())
        assert all(type(name) is type(value) is str for name, value in found.items())
        parent = from_text(carried.get()) if carried.get() is not None else None
        consumer = SimpleNamespace(scope={"type": "websocket", "path": "/", "headers": []})
        begun = tracer.begin(consumer, "chat.message", source)
        if begun is not None:
            tracer.end(begun, None)
        above = believed({name: value for name, value in found.items() if name in TRACING})
        assert len(exporter.get_finished_spans()) == (
            not above.is_valid or above.trace_flags.sampled
        )
        if parent is not None:
            counts = Counter(map(type, baggage.get_all(parent).values()))
            assert set(counts) <= {str}
    finally:
        carried.set(None)
    assert not context.get_current()
