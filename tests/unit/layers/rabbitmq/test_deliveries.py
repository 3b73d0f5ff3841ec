"""Messages are put together from frames, wherever these are cut."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from channels.layers.rabbitmq.deliveries import Deliveries, Delivery
from channels.layers.rabbitmq.wire import Wire

CHANNEL, OTHER = 1, 2

# Bytes that one frame carries here, at most: few, so that many messages have several.
LIMIT = 8


def method(tag=1, key="key", consumer="inbox", exchange="channels.asgi", channel=CHANNEL):
    return frame.marshal(commands.Basic.Deliver(consumer, tag, False, exchange, key), channel)


def header(size, kind=None, channel=CHANNEL):
    chosen = commands.Basic.Properties(delivery_mode=1, message_type=kind)
    return frame.marshal(ContentHeader(0, size, chosen), channel)


def body(part, channel=CHANNEL):
    return frame.marshal(ContentBody(part), channel)


def message(delivery, **options):
    """The frames of a message."""
    channel = options.get("channel", CHANNEL)
    content = delivery.body
    parts = [
        body(content[at : at + LIMIT], channel=channel) for at in range(0, len(content), LIMIT)
    ]
    head = header(len(content), delivery.kind, channel=channel)
    return b"".join((method(delivery.tag, delivery.key, **options), head, *parts))


# What is left to aiormq, besides.
OTHERS = [
    frame.marshal(commands.Queue.BindOk(), CHANNEL),
    frame.marshal(commands.Connection.Blocked("low on memory"), 0),
    frame.marshal(commands.Basic.Cancel("inbox"), CHANNEL),
    frame.marshal(commands.Basic.Ack(1), OTHER),
    Heartbeat().marshal(),
    message(Delivery(1, "key", None, b"somebody else's"), consumer="inbox2"),
    message(Delivery(1, "key", None, b""), consumer="expired"),
    message(Delivery(1, "key", None, b"on another channel"), channel=OTHER),
]


class Deliverer:
    """Deliveries over a wire that a test writes to, and what they hand on."""

    def __init__(self):
        self.wire, self.handed_on, self.written = Wire(), [], []
        self.wire.write = self.written.append
        self.link = SimpleNamespace(channel=SimpleNamespace(number=CHANNEL), is_open=True)
        self.deliveries = Deliveries(self.link, self.wire, "inbox", self.handed_on.append)

    def come(self, *data):
        return b"".join(self.wire.sift(each) for each in data)

    @property
    def messages(self):
        return [each for batch in self.handed_on for each in batch]


@pytest.fixture
def deliverer():
    return Deliverer()


MESSAGES = st.builds(
    Delivery,
    tag=st.integers(1, 2**63 - 1),
    key=st.text(max_size=60),
    kind=st.none() | st.text(min_size=1, max_size=20),
    body=st.binary(max_size=5 * LIMIT),
)


@given(
    coming=st.lists(MESSAGES | st.sampled_from(OTHERS), max_size=8),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
)
def test_all_that_comes_is_taken_or_left_wherever_it_is_cut(coming, cuts):
    deliverer = Deliverer()
    frames = [message(each) if isinstance(each, Delivery) else each for each in coming]
    data = b"".join(frames)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    left = deliverer.come(*(data[start:end] for start, end in zip([0, *ends], ends, strict=False)))
    assert left == b"".join(each for each in coming if isinstance(each, bytes))
    assert deliverer.messages == [each for each in coming if isinstance(each, Delivery)]
    assert all(deliverer.handed_on)
    assert len(deliverer.handed_on) <= len(ends)


def test_messages_may_be_cut_at_every_byte(deliverer):
    coming = [Delivery(n, "g.room", None, b"x" * n) for n in range(2 * LIMIT + 1)]
    data = b"".join(map(message, coming))
    assert not deliverer.come(*(data[at : at + 1] for at in range(len(data))))
    assert deliverer.messages == coming


def test_what_comes_at_once_is_handed_on_together(deliverer):
    coming = [Delivery(n, "g.room", None, b"news") for n in range(3)]
    deliverer.come(b"".join(map(message, coming)))
    assert deliverer.handed_on == [coming]


def test_a_key_that_is_no_text_is_replaced(deliverer):
    """Somebody may publish with any key, and name others in the header "CC"."""
    deliverer.come(method(key="g.xx").replace(b"g.xx", b"g.\xff\xff"), header(0))
    assert deliverer.messages == [Delivery(1, "g.\ufffd\ufffd", None, b"")]


@pytest.mark.parametrize(
    "nonsense",
    [
        [method(), method()],
        [method(), header(1), method()],
        [method(), header(1), header(1)],
        [method(), header(0), header(0)],
        [method(), body(b"x")],
        [method(), header(0), body(b"x")],
        [method(), header(3), body(b"four")],
        [method(), header(3), body(b"")],
        [method(), b"\x02\0\x01\0\0\0\x01x\xce"],
        [b"\x01\0\x01\0\0\0\x0a\0\x3c\0\x3c\x05inbox\xce"],
        [method(key="key").replace(b"\x03key", b"\x04key")],
        [method(exchange="ex", key="").replace(b"\x02ex", b"\x03ex")],
    ],
)
def test_what_is_no_message_ends_the_connection(deliverer, nonsense):
    with pytest.raises(ConnectionError, match="RabbitMQ sent frames that make no message"):
        deliverer.come(*nonsense)


def test_what_is_said_in_the_middle_of_others_messages_is_left(deliverer):
    """What aiormq gets, it judges."""
    data = method(consumer="other") + method(consumer="other") + body(b"x")
    assert deliverer.come(data) == data


def test_all_up_to_a_message_are_acknowledged_while_the_connection_is_open(deliverer):
    deliverer.deliveries.acknowledge(7)
    acknowledged = [frame.marshal(commands.Basic.Ack(7, multiple=True), CHANNEL)]
    assert deliverer.written == acknowledged
    deliverer.link.is_open = False
    deliverer.deliveries.acknowledge(8)
    assert deliverer.written == acknowledged


def test_nothing_is_handed_on_after_the_end(deliverer):
    news = message(Delivery(1, "g.room", None, b"news"))
    deliverer.come(news[:-3])
    deliverer.deliveries.stop()
    assert deliverer.come(news[-3:], news) == b""
    assert not deliverer.handed_on
