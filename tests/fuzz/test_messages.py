"""No JSON that a client can send reaches a handler but as an object of the declared shape."""

import dataclasses
import json

import msgspec
import pydantic
from asgiref.sync import async_to_sync
from hypothesis import given
from hypothesis import strategies as st

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.messages import accepts

from . import fuzz


class Struct(msgspec.Struct):
    number: int
    names: list[str] = []


@dataclasses.dataclass
class Data:
    number: int
    names: list[str] = dataclasses.field(default_factory=list)


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    number: int
    names: list[str] = []


class Chat(AsyncJsonWebsocketConsumer):
    max_refused_messages = None

    def __init__(self):
        super().__init__()
        self.scope = {"type": "websocket", "path": "/"}
        self.handled = []
        self.sent = []

        async def keep(message):
            self.sent.append(message["text"])

        self.base_send = keep

    @accepts("struct")
    async def on_struct(self, message: Struct):
        self.handled.append((Struct, message))

    @accepts("data")
    async def on_data(self, message: Data):
        self.handled.append((Data, message))

    @accepts("model")
    async def on_model(self, message: Model):
        self.handled.append((Model, message))

    async def hidden(self, message):
        raise AssertionError("no client may call it")


names = st.text(max_size=8) | st.sampled_from(["number", "names"])
names = st.text(max_size=8) | st.sampled_from(["number", "names"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["struct", "data", "model", "hidden", "on_struct"]) | values},
    optional={"number": values, "names": values, "ref": values},
)
texts = (
    st.text()
    | values.map(json.dumps)
    | messages.map(json.dumps)
    | st.tuples(messages.map(json.dumps), st.integers(0, 60)).map(lambda it: it[0][: it[1]])
)


@given(texts)
@fuzz
def test_a_message_is_handled_or_answered(text):
    consumer = Chat()
    async_to_sync(consumer.receive)(text_data=text)
    assert len(consumer.handled) + len(consumer.sent) == 1
    for schema, message in consumer.handled:
        assert type(message) is schema
        assert type(message.number) is int
        assert all(type(name) is str for name in message.names)
    for reply in consumer.sent:
        assert len(reply) < 3000
        assert json.loads(reply)["type"] == "error"
