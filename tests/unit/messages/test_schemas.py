"""Every kind of shape: what it takes, and how it says what is wrong."""

import dataclasses
import datetime
import enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from channels.exceptions import InvalidDeclaration, MessageRefused
from channels.messages.schemas import literal_type, reader


class Struct(msgspec.Struct):
    number: int
    day: datetime.date | None = None


@dataclasses.dataclass
class Data:
    number: int
    day: datetime.date | None = None


class Dict(TypedDict):
    number: int


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    number: int
    day: datetime.date | None = None


@pydantic.dataclasses.dataclass
class ModelData:
    number: int


SHAPES = [Struct, Data, Dict, Model, ModelData]
ENVELOPE = {"type": "n", "ref": 1}


def read(schema, **content):
    return reader(schema, "Chat.handle()")({**ENVELOPE, **content})


@pytest.mark.parametrize("schema", SHAPES)
class TestEachKind:
    def test_it_reads_what_fits(self, schema):
        content = {**ENVELOPE, "number": 5, "more": [1]}
        found = reader(schema, "")(content)
        number = found["number"] if schema is Dict else found.number
        assert number == 5
        assert isinstance(found, dict if schema is Dict else schema)
        assert content == {**ENVELOPE, "number": 5, "more": [1]}

    @pytest.mark.parametrize("content", [{}, {"number": "five"}, {"number": [5]}, {"number": None}])
    def test_it_says_what_does_not(self, schema, content):
        with pytest.raises(MessageRefused) as caught:
            read(schema, **content)
        assert caught.value.code == "invalid"
        ((path, message),) = caught.value.errors
        assert path in {"$", "$.number"}
        assert "five" not in message


@pytest.mark.parametrize("schema", [Struct, Data, Model])
def test_texts_are_read_as_what_json_has_no_type_for(schema):
    assert read(schema, number=1, day="2026-11-28").day == datetime.date(2026, 11, 28)


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    number: int


class ClosedModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    number: int


@pytest.mark.parametrize("schema", [Closed, ClosedModel])
def test_a_shape_may_forbid_other_fields_but_those_of_the_envelope(schema):
    assert read(schema, number=5).number == 5
    with pytest.raises(MessageRefused):
        read(schema, number=5, more=1)


class Referred(msgspec.Struct):
    ref: str


class ReferredModel(pydantic.BaseModel):
    reference: str = pydantic.Field(alias="ref")


def test_a_field_may_have_a_name_of_the_envelope():
    assert read(Referred, ref="a").ref == "a"
    assert read(ReferredModel, ref="a").reference == "a"


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    ref: int


def test_a_shape_may_have_the_whole_envelope():
    assert read(Whole) == Whole("n", 1)


class Colour(enum.Enum):
    RED = "red"


class Painted(msgspec.Struct):
    colour: Colour


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


class Owner(pydantic.BaseModel):
    pets: list[Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]]


def test_no_value_of_the_client_is_repeated():
    for schema, content in (
        (Painted, {"colour": "x-secret"}),
        (Owner, {"pets": [{"kind": "x-secret"}]}),
    ):
        with pytest.raises(MessageRefused) as caught:
            read(schema, **content)
        assert "x-secret" not in str(caught.value.errors)


def test_places_are_told():
    class Deep(msgspec.Struct):
        items: list[Struct]

    class DeepModel(pydantic.BaseModel):
        items: list[Model]

    for schema in (Deep, DeepModel):
        with pytest.raises(MessageRefused) as caught:
            read(schema, items=[{"number": 1}, {"number": "x"}])
        assert [path for path, _ in caught.value.errors] == ["$.items[1].number"]


class Tagged(msgspec.Struct, tag="chat.send"):
    text: str


class Numbered(msgspec.Struct, tag=5):
    text: str


class OtherTag(msgspec.Struct, tag="chat.send", tag_field="kind"):
    text: str


class Literals(msgspec.Struct):
    type: Literal["chat.send"]


class Several(msgspec.Struct):
    type: Literal["chat.send", "chat.say"]


class LiteralModel(pydantic.BaseModel):
    type: Literal["chat.send"]


class TextModel(pydantic.BaseModel):
    type: str


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Tagged, "chat.send"),
        (Numbered, None),
        (OtherTag, None),
        (Literals, "chat.send"),
        (Several, None),
        (Struct, None),
        (LiteralModel, "chat.send"),
        (TextModel, None),
        (Model, None),
    ],
)
def test_a_shape_may_know_its_type(schema, expected):
    assert literal_type(schema) == expected


def test_the_type_stays_where_the_shape_knows_it():
    assert reader(Tagged, "")({"type": "chat.send", "text": "a"}).text == "a"
    assert reader(Literals, "")({"type": "chat.send"}).type == "chat.send"
    assert reader(LiteralModel, "")({"type": "chat.send"}).type == "chat.send"


class Custom:
    pass


class Holding(msgspec.Struct):
    inner: list[Custom]


class HoldingModel(msgspec.Struct):
    inner: Model


class Row(msgspec.Struct, array_like=True):
    number: int


class Tree(msgspec.Struct):
    children: "list[Tree]"
    data: dict[str, Any]


@pytest.mark.parametrize(
    "schema", [int, str, dict, list[int], Custom, Holding, HoldingModel, Row, Struct | Closed, 5]
)
def test_what_no_message_can_be_is_told_when_it_is_declared(schema):
    with pytest.raises(InvalidDeclaration, match=r"Chat\.handle\(\)"):
        reader(schema, "Chat.handle()")


def test_a_shape_may_contain_itself():
    assert read(Tree, children=[{"children": [], "data": {}}], data={"a": 1}).children[0].data == {}
