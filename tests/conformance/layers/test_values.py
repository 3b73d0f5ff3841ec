"""Which values arrive as they were sent on which layer, as the documentation's table says."""

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import math
import struct
import threading
import uuid
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from django.contrib.auth.models import Group
from django.db import models
from django.http import QueryDict
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from channels.exceptions import SerializationError
from channels.layers import InMemoryChannelLayer
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

from ...brokers import running

PAGE = Path(__file__).parents[3] / "docs" / "topics" / "channel_layers.md"


class Word(str, enum.Enum):  # noqa: UP042 - as most projects write it
    A = "a"


class Other(str, enum.Enum):  # noqa: UP042
    """Its value is not its text."""

    A = "a", 1

    def __new__(cls, text, number):
        member = str.__new__(cls, text)
        member._value_ = number
        return member


class Plain(enum.StrEnum):
    A = "a"


class Colour(models.TextChoices):
    RED = "r", "Red"


class Size(models.IntegerChoices):
    BIG = 3, "Big"


class Number(enum.IntEnum):
    ONE = 1


class Flag(enum.IntFlag):
    A = 1
    B = 2


class Ratio(float, enum.Enum):
    HALF = 0.5


class Neither(enum.Enum):
    A = "a"


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "something else"


class Data(bytes):
    pass


class Items(list):
    pass


class Mapping(dict):
    pass


@dataclasses.dataclass
class Record:
    number: int = 1


class Struct(msgspec.Struct):
    number: int = 1


class Point(NamedTuple):
    x: int
    y: int


def moved_to_end():
    content = collections.OrderedDict(a=1, b=2)
    content.move_to_end("a")
    return content


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
ELSEWHERE = MOMENT.astimezone(datetime.timezone(datetime.timedelta(hours=2)))

SAME, REFUSED = "as sent", "refused"
EVERYWHERE = (SAME, SAME, SAME)
NOT_IN_JSON = (SAME, SAME, REFUSED)
IN_MEMORY = (SAME, REFUSED, REFUSED)
NOWHERE = (REFUSED, REFUSED, REFUSED)


def everywhere(words):
    return (words, words, words)


def as_sent(*values):
    return [(value, value) for value in values]


#: What stands in the table: what is sent; what becomes of it in memory, over Redis as MessagePack,
#: and as JSON. Then values of that kind, each with what arrives where it is not refused.
ROWS = [
    ("text, `True`, `False`, `None`", EVERYWHERE,
     as_sent("", "text", "\u017elu\u0165ou\u010dk\u00fd \U0001f40e", True, False, None)),
    ("integers of 64 bits, finite floats", EVERYWHERE,
     as_sent(0, -1, 2**53 + 1, -(2**63), 2**64 - 1, 0.1, -0.0, 1e308)),
    ("lists and dicts, at most 256 levels of them", EVERYWHERE,
     as_sent([], {}, [1, [2, {"a": [None, {"b": "c"}]}]], nested(255))),
    ("`bytes`", NOT_IN_JSON, as_sent(b"", b"\xff\x00", b"\xcb\x7f\xf8\0\0\0\0\0\0")),
    ("text of a subclass: `SafeString`, members of `StrEnum` and `TextChoices`",
     everywhere("as `str`"),
     [(mark_safe("<b>"), "<b>"), (Word.A, "a"), (Other.A, "a"), (Plain.A, "a"), (Colour.RED, "r"),
      (Text("x"), "x"), ([Plain.A, {"a": (Plain.A,)}], ["a", {"a": ["a"]}])]),
    ("numbers of a subclass: members of `IntEnum`, `IntFlag` and `IntegerChoices`",
     everywhere("as `int` or `float`"),
     [(Number.ONE, 1), (Flag.A | Flag.B, 3), (Size.BIG, 3), (Ratio.HALF, 0.5)]),
    ("tuples, named tuples, lists of a subclass", everywhere("as `list`"),
     [((1, 2), [1, 2]), (Point(1, 2), [1, 2]), (Items([1, (2,)]), [1, [2]]),
      ({"a": ()}, {"a": []})]),
    ("`OrderedDict`, `defaultdict` and other subclasses", everywhere("as `dict`"),
     [(moved_to_end(), {"b": 2, "a": 1}), (collections.Counter("aab"), {"a": 2, "b": 1}),
      (Mapping(a=Mapping(b=1)), {"a": {"b": 1}})]),
    ("`QueryDict`", everywhere("as `dict`, of each key the last value"),
     [(QueryDict("a=1&a=2&b=3"), {"a": "2", "b": "3"})]),
    ("`bytearray`, `memoryview`, subclasses of `bytes`", ("as `bytes`", "as `bytes`", REFUSED),
     [(bytearray(b"xy"), b"xy"), (memoryview(b"xyz")[::2], b"xz"), (Data(b"x"), b"x")]),
    ("keys of a subclass of `str`", everywhere("as `str`"),
     [({mark_safe("a"): 1}, {"a": 1}), ({Plain.A: 1}, {"a": 1}), ({Colour.RED: 1}, {"r": 1})]),
    ("keys that are numbers, booleans, `None` or `bytes`", NOT_IN_JSON,
     [*as_sent({1: "a"}, {1.5: "a"}, {True: "a"}, {None: "a"}, {b"a": "a"}),
      ({Number.ONE: "a"}, {1: "a"})]),
    ("keys that are anything else", IN_MEMORY,
     as_sent({(1, 2): "a"}, {MOMENT.date(): "a"}, {uuid.UUID(int=1): "a"})),
    ("dates, times, `timedelta`, `Decimal`, `UUID`", IN_MEMORY,
     as_sent(MOMENT, ELSEWHERE, MOMENT.replace(tzinfo=None), MOMENT.date(), MOMENT.time(),
             datetime.timedelta(1), decimal.Decimal("1.10"), uuid.UUID(int=1))),
    ("sets, dataclasses, other enumerations, lazy translations, model instances, other objects",
     IN_MEMORY,
     as_sent({1}, frozenset({1}), Record(), Struct(), Neither.A, gettext_lazy("Yes"),
             collections.deque([1]), range(3), Group(name="editors"), [{"a": {1}}])),
    ("`NaN`, infinite floats, larger integers, half characters (lone surrogates)", NOWHERE,
     as_sent(float("nan"), float("inf"), -float("inf"), 2**64, -(2**63) - 1, 10**400, "\ud800",
             "\U0001f40e \udc00", {"\ud800": 1}, {float("nan"): 1}, {2**64: 1},
             [1, {"a": [math.nan]}], [0.5, 2**64], ["a", "\udfff"],
             struct.unpack("d", b"\xff" * 8)[0])),
    ("more than 256 levels of lists and dicts, with the message itself", NOWHERE,
     as_sent(nested(256), nested(100_000))),
    ("objects that cannot be copied: locks, generators, files", NOWHERE,
     as_sent(threading.Lock(), (number for number in ()))),
]  # fmt: skip

CASES = [
    pytest.param(outcomes, sent, arrives, id=f"{label[:20]}-{number}")
    for label, outcomes, samples in ROWS
    for number, (sent, arrives) in enumerate(samples)
]


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as started:
        yield started


@pytest.fixture
async def layers(broker):
    made = [(0, InMemoryChannelLayer())]
    for layer_class in (RedisChannelLayer, RedisPubSubChannelLayer):
        for column, serializer in ((1, "msgpack"), (2, "json")):
            layer = layer_class(
                hosts=[broker.address], prefix=uuid.uuid4().hex, serializer_format=serializer
            )
            made.append((column, layer))
    yield made
    for _, layer in made:
        await layer.aclose()


def is_exactly(value, other):
    """Whether both are equal, and of the same types through and through."""
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        pairs = zip(value.items(), other.items(), strict=False)
        return len(value) == len(other) and all(is_exactly(*pair) for pair in pairs)
    if isinstance(value, list | tuple):
        return len(value) == len(other) and all(map(is_exactly, value, other))
    return repr(value) == repr(other)


@pytest.mark.parametrize(("outcomes", "sent", "arrives"), CASES)
async def test_a_value_arrives_as_the_table_says_or_is_refused(layers, outcomes, sent, arrives):
    message = {"type": "test.value", "value": sent}
    for column, layer in layers:
        member = await layer.new_channel()
        await layer.group_add("group", member)
        for send, name, channel in [
            (layer.send, "named", "named"),
            (layer.send, member, member),
            (layer.group_send, "group", member),
        ]:
            if outcomes[column] == REFUSED:
                with pytest.raises(SerializationError) as caught:
                    await send(name, message)
                told = str(caught.value)
                assert "message['value']" in told or "cannot be copied" in told
                assert len(told) < 350
                continue
            await send(name, message)
            async with asyncio.timeout(30):
                received = await layer.receive(channel)
            assert is_exactly(received, {"type": "test.value", "value": arrives}), layer


async def test_a_message_may_itself_be_of_a_subclass(layers):
    for _, layer in layers:
        for message in (collections.OrderedDict(type="x"), QueryDict("type=a&type=x")):
            await layer.send("named", message)
            async with asyncio.timeout(30):
                assert is_exactly(await layer.receive("named"), {"type": "x"})
        await layer.send("named", {mark_safe("type"): Plain.A})
        async with asyncio.timeout(30):
            assert is_exactly(await layer.receive("named"), {"type": "a"})


async def test_a_value_that_is_not_ready_is_refused_by_name(layers):
    user = SimpleLazyObject(lambda: "anna")
    for _, layer in layers[1:]:
        with pytest.raises(SerializationError, match=r"\['value'\] is of type SimpleLazyObject"):
            await layer.send("named", {"type": "x", "value": user})


def test_the_table_of_the_documentation_is_this_one():
    page = PAGE.read_text(encoding="utf-8")
    rows = [f"| {label} | {' | '.join(outcomes)} |" for label, outcomes, _ in ROWS]
    assert "\n".join(rows) + "\n" in page
