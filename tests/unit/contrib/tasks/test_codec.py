"""What stores keep is bytes, encrypted if keys are given, and bound to its task."""

import pytest
from cryptography.fernet import Fernet, MultiFernet

from channels.contrib.tasks.codec import Codec
from channels.contrib.tasks.exceptions import UnknownTask
from channels.exceptions import SerializationError


@pytest.fixture(params=["plain", "encrypted"])
def codec(request):
    if request.param == "plain":
        return Codec()
    return Codec(MultiFernet([Fernet(Fernet.generate_key())]))


def test_what_is_encoded_can_be_decoded(codec):
    call = ("module.task", [1, None, "ß"], {"a": {"b": [1.5]}})
    assert codec.decode_call("id", codec.encode_call("id", *call)) == call
    assert codec.decode_value("id", codec.encode_value("id", [1])) == [1]
    errors = [("builtins.ValueError", "trace")]
    assert codec.decode_errors("id", codec.encode_errors("id", errors)) == errors
    assert codec.decode_errors("id", b"") == []


def test_encrypted_bytes_tell_nothing():
    codec = Codec(MultiFernet([Fernet(Fernet.generate_key())]))
    assert b"secret" not in codec.encode_call("id", "module.secret", ["secret"], {})


@pytest.mark.parametrize("value", [2**64, "\ud800", object()])
def test_what_cannot_be_encoded_is_refused(codec, value):
    with pytest.raises(SerializationError, match="The arguments of path cannot be encoded"):
        codec.encode_call("id", "path", [value], {})


def test_what_is_nested_too_deep_is_refused(codec):
    value = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(SerializationError):
        codec.encode_value("id", value)


def test_what_is_anothers_is_refused(codec):
    data = codec.encode_value("id", 1)
    with pytest.raises(UnknownTask, match="is another's"):
        codec.decode_value("other", data)
    with pytest.raises(UnknownTask, match="is another's"):
        codec.decode_call("id", data)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01", b"rubbish"])
def test_rubbish_is_refused(codec, data):
    with pytest.raises(UnknownTask, match="cannot be decoded"):
        codec.decode_call("id", data)


def test_another_key_is_named_as_the_reason():
    keys = [MultiFernet([Fernet(Fernet.generate_key())]) for _ in range(2)]
    data = Codec(keys[0]).encode_value("id", 1)
    with pytest.raises(UnknownTask, match="symmetric_encryption_keys"):
        Codec(keys[1]).decode_value("id", data)


def test_what_is_carried_is_the_tasks_own():
    codec = Codec()
    data = codec.encode_carried("id", "text")
    assert codec.decode_carried("id", data) == "text"
    assert codec.decode_carried("other", data) is None
    assert codec.encode_carried("id", "") == b""
    assert codec.decode_carried("id", b"") is None
    assert codec.decode_carried("id", codec.encode_value("id", 1)) is None
