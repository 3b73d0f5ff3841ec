import base64
import datetime
import hashlib
import math
import re
import subprocess
import sys
import uuid

import pytest
from cryptography.fernet import Fernet
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from channels.exceptions import ChannelsError, SerializationError
from channels.layers.serializers import (
    BaseMessageSerializer,
    JSONSerializer,
    MsgPackSerializer,
    SerializerDoesNotExist,
    SerializersRegistry,
    registry,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
json_values = st.recursive(
    scalars,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)
json_messages = st.dictionaries(st.text(), json_values, max_size=5)
msgpack_messages = st.dictionaries(
    st.text() | st.integers(0, 100), json_values | st.binary(), max_size=5
)

OPTIONS = [
    {},
    {"random_prefix_length": 12},
    {"symmetric_encryption_keys": ["secret"]},
    {"symmetric_encryption_keys": [b"a", "b"], "random_prefix_length": 3, "expiry": 60},
]


@pytest.mark.parametrize("options", OPTIONS)
@given(message=json_messages)
def test_json_round_trip(options, message):
    serializer = JSONSerializer(**options)
    assert serializer.deserialize(serializer.serialize(message)) == message


@pytest.mark.parametrize("options", OPTIONS)
@given(message=msgpack_messages)
def test_msgpack_round_trip(options, message):
    serializer = MsgPackSerializer(**options)
    assert serializer.deserialize(serializer.serialize(message)) == message


@pytest.mark.parametrize("serializer", [JSONSerializer(), MsgPackSerializer()])
@pytest.mark.parametrize(
    "message",
    [None, [], "text", {"o": object()}, {"n": 2**70, "o": object()}, {"f": lambda: None}],
)
def test_what_cannot_be_encoded_is_refused(serializer, message):
    with pytest.raises(SerializationError) as caught:
        serializer.serialize(message)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, datetime.datetime(2026, 1, 1)])
def test_json_refuses_what_it_could_not_give_back(value):
    with pytest.raises(SerializationError, match="cannot be encoded"):
        JSONSerializer().serialize({"type": "x", "value": value})


@pytest.mark.parametrize("serializer", [JSONSerializer(), MsgPackSerializer()])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**65, r"message['deep'][1]['x'] is an integer of more than 64 bits; send it as text"),
        (math.nan, r"message['deep'][1]['x'] is nan, which JSON does not have"),
        ("\ud800", r"message['deep'][1]['x'] is no text, but has half a character"),
        (datetime.date(2026, 1, 1), "['x'] is of type date; send its isoformat()"),
        (uuid.UUID(int=1), "['x'] is of type UUID; send str() of it"),
        (gettext_lazy("Yes"), "['x'] is of type __proxy__; send str() of it"),
        ({1}, "['x'] is of type set; send list() of it"),
        (object(), "['x'] is of type object, which is no plain value"),
        ({(1,): 2}, "['x'][(1,)] is under a key of type tuple"),
        ({"k" * 100: object()}, "['x']['kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...] is of type"),
    ],
)
def test_the_error_names_the_value_and_what_to_send_instead(serializer, value, reason):
    with pytest.raises(SerializationError, match=re.escape(reason)):
        serializer.serialize({"type": "x", "deep": [1, {"x": value}]})


def test_what_only_looks_like_something_to_refuse_is_sent():
    """The fast way suspects it, and the second look finds nothing wrong."""
    for serializer in (JSONSerializer(), MsgPackSerializer()):
        for value in ("\U0001f40e", "1" * 30, 10**18, "\\ud800", [1.5, "\u017e"]):
            assert serializer.deserialize(serializer.serialize({"v": value})) == {"v": value}
    data = b"\xcb\x7f\xf8" + bytes(6)
    serializer = MsgPackSerializer()
    assert serializer.deserialize(serializer.serialize({"v": data})) == {"v": data}


def test_a_subclass_that_says_how_to_encode_decides_what_it_carries():
    class Own(JSONSerializer):
        def as_bytes(self, message, *args, **kwargs):
            return super().as_bytes(message, cls=DjangoJSONEncoder)

    own = Own()
    sent = {"type": "x", "at": datetime.date(2026, 1, 1), "n": 2**70, 1: 2}
    received = {"type": "x", "at": "2026-01-01", "n": 2**70, "1": 2}
    assert own.deserialize(own.serialize(sent)) == received


def test_messages_that_contain_themselves_are_refused():
    message = {}
    message["self"] = message
    for serializer in (JSONSerializer(), MsgPackSerializer()):
        with pytest.raises(SerializationError, match="cannot be encoded"):
            serializer.serialize(message)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("serializer_class", [JSONSerializer, MsgPackSerializer])
@given(data=st.binary(max_size=200))
def test_rubbish_is_refused_with_one_kind_of_error(options, serializer_class, data):
    try:
        message = serializer_class(**options).deserialize(data)
    except SerializationError:
        return
    assert isinstance(message, dict)


def test_keys_rotate():
    old = MsgPackSerializer(symmetric_encryption_keys=["old"])
    new = MsgPackSerializer(symmetric_encryption_keys=["new", "old"])
    message = {"type": "x"}
    assert new.deserialize(old.serialize(message)) == message
    with pytest.raises(SerializationError, match="No key decrypts the message"):
        old.deserialize(new.serialize(message))


def test_encrypted_messages_hide_their_content():
    data = MsgPackSerializer(symmetric_encryption_keys=["k"]).serialize({"secret": "swordfish"})
    assert b"swordfish" not in data


def test_an_old_encrypted_message_is_refused():
    serializer = MsgPackSerializer(expiry=60, symmetric_encryption_keys=["k"])
    data = serializer.crypter.encrypt_at_time(serializer.as_bytes({"type": "x"}), 1)
    with pytest.raises(SerializationError, match="too old"):
        serializer.deserialize(data)


def test_the_key_is_the_sha_256_of_the_string():
    """So that processes can be moved from the well-known package one after the other."""
    serializer = MsgPackSerializer(symmetric_encryption_keys=["k"])
    key = base64.urlsafe_b64encode(hashlib.sha256(b"k").digest())
    assert serializer.deserialize(Fernet(key).encrypt(serializer.as_bytes({"a": 1}))) == {"a": 1}


def test_one_string_is_no_list_of_keys():
    with pytest.raises(ValueError, match="must be a list of possible keys"):
        MsgPackSerializer(symmetric_encryption_keys="secret")


@pytest.mark.usefixtures("measured_processes")
def test_a_missing_cryptography_is_named():
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from channels.layers.serializers import MsgPackSerializer\n"
        "MsgPackSerializer().serialize({})\n"
        "MsgPackSerializer(symmetric_encryption_keys=['k'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "channels[encryption]"' in done.stderr


def test_the_registry():
    assert isinstance(registry.get_serializer("json"), JSONSerializer)
    serializer = registry.get_serializer("msgpack", expiry=5, random_prefix_length=2)
    assert (serializer.expiry, serializer.random_prefix_length) == (5, 2)
    with pytest.raises(SerializerDoesNotExist, match="known formats: json, msgpack") as caught:
        registry.get_serializer("xml")
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, ChannelsError)
    with pytest.raises(TypeError, match="is no serializer"):
        registry.register_serializer("broken", object)


def test_a_projects_own_serializer():
    class Shout(BaseMessageSerializer):
        def as_bytes(self, message, *args, **kwargs):
            return message["type"].upper().encode()

        def from_bytes(self, message, *args, **kwargs):
            return {"type": message.decode().lower()}

    own = SerializersRegistry()
    own.register_serializer("shout", Shout)
    serializer = own.get_serializer("shout", symmetric_encryption_keys=["k"])
    assert serializer.deserialize(serializer.serialize({"type": "hey"})) == {"type": "hey"}


def test_the_base_class_has_no_format():
    base = BaseMessageSerializer()
    with pytest.raises(NotImplementedError):
        base.serialize({"type": "x"})
    with pytest.raises(NotImplementedError):
        base.from_bytes(b"")


def test_no_keys_are_no_encryption():
    serializer = MsgPackSerializer(symmetric_encryption_keys=[])
    assert serializer.crypter is None
    assert serializer.serialize({"type": "x"}) == MsgPackSerializer().as_bytes({"type": "x"})
