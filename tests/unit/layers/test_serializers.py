import base64
import datetime
import hashlib
import subprocess
import sys

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from channels.exceptions import ChannelsError, SerializationError
from channels.layers.serializers import (
    BaseMessageSerializer,
    JSONSerializer,
    MsgPackSerializer,
    SerializerDoesNotExist,
    registry,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
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


def test_msgpack_refuses_integers_it_cannot_hold():
    with pytest.raises(SerializationError, match="cannot be encoded"):
        MsgPackSerializer().serialize({"n": 2**65})


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

    registry.register_serializer("shout", Shout)
    try:
        serializer = registry.get_serializer("shout", symmetric_encryption_keys=["k"])
        assert serializer.deserialize(serializer.serialize({"type": "hey"})) == {"type": "hey"}
    finally:
        del registry._registry["shout"]
