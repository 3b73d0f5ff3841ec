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
from channels.layers.rabbitmq.frames import ACK as METHOD_ACK
from channels.layers.rabbitmq.frames import BODY, FRAME, HEADER, METHOD
from channels.layers.rabbitmq.wire import Wire

from ....asgi import until

TAKEN, OTHER = 1, 2

#: Frames that are taken out.
ACK = frame.marshal(commands.Basic.Ack(5), TAKEN)
CONTENT = frame.marshal(ContentHeader(0, 4), TAKEN) + frame.marshal(ContentBody(b"news"), TAKEN)

LEFT = b"".join(
    (
        frame.marshal(commands.Connection.Tune(2047, 131072, 10), 0),
        Heartbeat().marshal(),
        frame.marshal(commands.Queue.DeclareOk("queue", 0, 0), TAKEN),
        frame.marshal(commands.Basic.Ack(5), OTHER),
        frame.marshal(ContentHeader(0, 4), OTHER),
        frame.marshal(ContentBody(b"more"), OTHER),
        frame.marshal(commands.Channel.Close(404, "NOT_FOUND", 60, 40), TAKEN),
    )
)
BLOCKED = frame.marshal(commands.Connection.Blocked("low on memory"), 0)
UNBLOCKED = frame.marshal(commands.Connection.Unblocked(), 0)


def make():
    """A wire that takes acknowledgements, headers and bodies out, and what it has taken."""
    wire, taken = Wire(), []

    def take(kind, content):
        if kind == METHOD and not content.startswith(METHOD_ACK):
            return False
        taken.append((kind, content))
        return True

    wire.attach(TAKEN, take, lambda: taken.append("all"))
    return wire, taken


@given(cuts=st.lists(st.integers(0, 500)))
def test_what_concerns_messages_is_taken_out_wherever_it_is_cut(cuts):
    wire, taken = make()
    data = ACK + LEFT + CONTENT
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    left = b"".join(
        wire.sift(data[start:end]) for start, end in zip([0, *ends], ends, strict=False)
    )
    assert left == LEFT
    assert taken.count("all") == len(ends)
    assert taken[-1] == "all"
    assert [each for each in taken if each != "all"] == [
        (METHOD, ACK[FRAME.size : -1]),
        (HEADER, ContentHeader(0, 4).marshal()),
        (BODY, b"news"),
    ]


def test_all_is_left_until_something_is_attached():
    wire = Wire()
    assert wire.sift(ACK + LEFT) == ACK + LEFT
    wire.attach(TAKEN, lambda kind, content: True)
    assert wire.sift(ACK + CONTENT) == b""


def test_what_is_no_frame_is_left_as_it_is():
    wire, taken = make()
    assert wire.sift(ACK + LEFT + b"HTTP/1.1 400") == LEFT + b"HTTP/1.1 400"
    assert wire.sift(ACK) == ACK
    assert taken == [(METHOD, ACK[FRAME.size : -1]), "all"]


def test_a_frame_with_a_wrong_end_is_left():
    wire, taken = make()
    assert wire.sift(ACK[:-1] + b"!") == ACK[:-1] + b"!"
    assert taken == ["all"]


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
    wire.attach(channel.number, lambda kind, content: False)
    assert (await channel.queue_declare("", exclusive=True)).queue
    proxy.cut()
    await until(lambda: wire.lost)
    wire.write(b"too late")
    await until(lambda: connection.is_closed)


async def test_nonsense_ends_the_connection_and_aiormq_is_told_why(proxy):
    wire = Wire()
    wire.abort()  # there is none yet
    connection = await aiormq.connect(proxy.url, transport_factory=wire)
    channel = await connection.channel()
    closing = channel.closing

    def take(kind, content):
        raise ConnectionError("this makes no sense")

    wire.attach(channel.number, take)
    calling = asyncio.ensure_future(channel.basic_qos(prefetch_count=1))
    await asyncio.wait((calling, closing), timeout=10, return_when=asyncio.ALL_COMPLETED)
    assert "this makes no sense" in repr(closing.exception())
    assert wire.lost
    assert calling.cancelled() or calling.exception()


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
