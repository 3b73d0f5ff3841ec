"""What is taken out of what RabbitMQ says, before aiormq reads the rest."""

import asyncio
import ssl

import aiormq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from channels.layers.rabbitmq import wire as module
from channels.layers.rabbitmq.wire import Wire

from ....asgi import until

PUBLISHING, OTHER = 1, 2

ACK = frame.marshal(commands.Basic.Ack(5), PUBLISHING)
ACKS = frame.marshal(commands.Basic.Ack(6, multiple=True), PUBLISHING)
NACK = frame.marshal(commands.Basic.Nack(7), PUBLISHING)
RETURNED = b"".join(
    frame.marshal(part, PUBLISHING)
    for part in (
        commands.Basic.Return(312, "NO_ROUTE", "", "key"),
        ContentHeader(0, 4, commands.Basic.Properties(message_id="8")),
        ContentBody(b"news"),
    )
)
LEFT = b"".join(
    (
        frame.marshal(commands.Connection.Tune(2047, 131072, 10), 0),
        Heartbeat().marshal(),
        frame.marshal(commands.Queue.DeclareOk("queue", 0, 0), PUBLISHING),
        frame.marshal(commands.Basic.Ack(5), OTHER),
        frame.marshal(ContentHeader(0, 4), OTHER),
        frame.marshal(ContentBody(b"more"), OTHER),
        frame.marshal(commands.Channel.Close(404, "NOT_FOUND", 60, 40), PUBLISHING),
    )
)
BLOCKED = frame.marshal(commands.Connection.Blocked("low on memory"), 0)
UNBLOCKED = frame.marshal(commands.Connection.Unblocked(), 0)


def make():
    """A wire that notes what it is told."""
    wire, told = Wire(), []
    wire.channel = PUBLISHING
    wire.confirmed = lambda *what: told.append(what)
    wire.returned = told.append
    return wire, told


@given(cuts=st.lists(st.integers(0, 500)))
def test_what_concerns_messages_is_taken_out_wherever_it_is_cut(cuts):
    wire, told = make()
    data = ACK + LEFT + ACKS + RETURNED + NACK
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    left = b"".join(
        wire.sift(data[start:end]) for start, end in zip([0, *ends], ends, strict=False)
    )
    assert left == LEFT
    assert told == [(5, False, True), (6, True, True), 8, (7, False, False)]


def test_all_is_left_until_something_is_published():
    wire = Wire()
    assert wire.sift(ACK + LEFT) == ACK + LEFT
    wire.channel = PUBLISHING
    assert wire.sift(ACK + RETURNED) == b"", "nobody asks for it yet"


def test_what_is_no_frame_is_left_as_it_is():
    wire, told = make()
    assert wire.sift(LEFT + b"HTTP/1.1 400") == LEFT + b"HTTP/1.1 400"
    assert wire.sift(ACK) == ACK
    assert not told


def test_signs_of_life_take_the_place_of_what_was_taken_out(monkeypatch):
    time = 100.0
    monkeypatch.setattr(module, "now", lambda: time)
    wire, _ = make()
    assert wire.sift(ACK) == b""
    time = 100.6
    assert wire.sift(ACK) == Heartbeat().marshal()
    assert wire.sift(ACK) == b""
    time = 101.0
    assert wire.sift(LEFT) == LEFT
    time = 101.4
    assert wire.sift(ACK) == b""


def test_messages_flow_unless_rabbitmq_or_the_network_takes_none():
    wire, _ = make()
    assert wire.flowing.is_set()
    assert wire.sift(BLOCKED) == BLOCKED
    wire.congest(True)
    assert not wire.flowing.is_set()
    assert wire.sift(UNBLOCKED) == UNBLOCKED
    assert not wire.flowing.is_set()
    wire.congest(False)
    assert wire.flowing.is_set()
    wire.congest(True)
    wire.lose()
    assert wire.flowing.is_set(), "those that wait are to see that it is lost"
    assert wire.lost


async def test_a_connection_is_made_for_aiormq(proxy):
    wire = Wire()
    wire.write(b"too early")
    connection = await aiormq.connect(proxy.url, transport_factory=wire)
    channel = await connection.channel()
    wire.channel = channel.number
    assert (await channel.queue_declare("", exclusive=True)).queue
    proxy.cut()
    await until(lambda: wire.lost)
    wire.write(b"too late")
    await until(lambda: connection.is_closed)


async def test_a_slow_network_stops_the_flow(proxy):
    wire = Wire()
    connection = await aiormq.connect(proxy.url, transport_factory=wire)
    proxy.stall()
    heartbeat = Heartbeat().marshal() * 1000
    while wire.flowing.is_set():
        wire.write(heartbeat)
    proxy.flow()
    async with asyncio.timeout(10):
        assert await wire.flowing.wait()
    await connection.close()


async def test_a_connection_with_tls_is_made_with_aiormqs_certificates(rabbitmq):
    url = rabbitmq.url.replace("amqp:", "amqps:")
    with pytest.raises(ssl.SSLError):
        await aiormq.connect(url, transport_factory=Wire())
