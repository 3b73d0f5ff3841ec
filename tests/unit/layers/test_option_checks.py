"""What checks find in the options of a layer, and what they do not show."""

import pytest

from channels.layers.option_checks import Options, check_signature, check_values, without_secrets


class Layer:
    def __init__(self, hosts=None, capacity=100, channel_capacity=None):
        if hosts == "bad":
            raise ValueError(f"cannot use {hosts}")
        self.capacity = capacity


def options(**config):
    return Options("chat", "TEST_CONFIG", config)


def test_options_say_where_they_are():
    assert str(options()) == "TEST_CONFIG of channel layer 'chat'"


def test_a_refusal_shows_no_secret():
    refusal = options(password="hidden-secret").refuse("hidden-secret is wrong", "a hint")
    assert refusal.id == "channels.E005"
    assert refusal.msg == (
        "TEST_CONFIG of channel layer 'chat' does not fit its backend: *** is wrong"
    )
    assert refusal.hint == "a hint"


def test_options_that_fit():
    assert check_signature(Layer, options(capacity=1)) == []
    assert check_values(Layer, options(capacity=1), ["capacity"]) == []


@pytest.mark.parametrize(
    ("config", "reason", "hint"),
    [
        ({"host": []}, "'host'", "host perhaps means hosts. The backend takes: hosts, capacity"),
        ({"zzz": []}, "'zzz'", "The backend takes: hosts, capacity, channel_capacity."),
    ],
)
def test_an_option_that_the_backend_does_not_take(config, reason, hint):
    [told] = check_signature(Layer, options(**config))
    assert told.id == "channels.E005"
    assert reason in told.msg
    assert told.hint.startswith(hint)


def test_a_backend_without_options():
    [told] = check_signature(lambda: None, options(a=1))
    assert told.hint == "The backend takes: nothing."


def test_what_the_layer_refuses_is_told_in_its_words():
    [told] = check_values(Layer, options(hosts="bad"), [])
    assert told.id == "channels.E005"
    assert "cannot use bad" in told.msg


def test_limits_have_to_be_more_than_nothing():
    config = {"capacity": 0, "channel_capacity": {"jobs.*": -1, "other": 1}}
    [told] = check_values(Layer, options(**config), ["capacity", "no_such_limit"])
    assert told.id == "channels.W008"
    assert told.msg == (
        "Channel layer 'chat' carries no message with capacity = 0, "
        "channel_capacity for 'jobs.*' = -1 in TEST_CONFIG."
    )


@pytest.mark.parametrize(
    "config",
    [
        {"password": "hidden"},
        {"hosts": [{"PASSWORD": "hidden"}]},
        {"symmetric_encryption_keys": (b"hidden",)},
        {"nested": {"api_token": {"value": ["hidden"]}}},
        {"hosts": ["redis://user:hidden@host"]},
        {"hosts": ["redis://:hid%64en@host"]},
    ],
)
def test_secrets_are_hidden_wherever_they_are(config):
    assert without_secrets("cannot connect with hidden", config) == "cannot connect with ***"


def test_a_short_secret_is_hidden_only_where_it_stands_alone():
    assert without_secrets("key: encryption_keys", {"password": "key"}) == "***: encryption_keys"
    assert without_secrets("nothing to hide", {"password": ""}) == "nothing to hide"
