"""Exceptions: their names, and what existing ``except`` clauses rely on."""

import pickle

import pytest

from channels import exceptions


def test_all_are_ours_and_named():
    for name in exceptions.__all__:
        cls = getattr(exceptions, name)
        assert issubclass(cls, exceptions.ChannelsError)
        assert cls.__doc__
    defined = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and value.__module__ == exceptions.__name__
    }
    assert defined == set(exceptions.__all__)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("RequestTimeout", exceptions.RequestAborted),
        ("InvalidChannelLayerError", ValueError),
        ("InvalidNameError", TypeError),
        ("SerializationError", TypeError),
        ("SerializationError", ValueError),
        ("UnknownMessageType", ValueError),
        ("NoRouteFound", ValueError),
    ],
)
def test_old_bases(name, base):
    assert issubclass(getattr(exceptions, name), base)


def test_well_known_names():
    assert set(exceptions.__all__) >= {
        "AcceptConnection",
        "ChannelFull",
        "DenyConnection",
        "InvalidChannelLayerError",
        "MessageTooLarge",
        "RequestAborted",
        "RequestTimeout",
        "StopConsumer",
    }


@pytest.mark.parametrize("name", exceptions.__all__)
def test_they_travel_between_processes(name):
    error = getattr(exceptions, name)("why")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == "why"
    assert str(getattr(exceptions, name)()) == ("refused" if name == "MessageRefused" else "")


def test_a_refused_message_says_why_and_where():
    error = exceptions.MessageRefused("room_full", "At most 10.", [("$.room", "is full")])
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.code, copy.detail, copy.errors) == (error.code, error.detail, error.errors)
    assert str(copy) == "room_full: At most 10."
