import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.security.limits.options import INHERIT, Limits, limits_from
from channels.security.limits.rates import Rate


def test_what_is_left_out_is_inherited_and_none_is_no_limit():
    own = Limits(messages_per_connection="20/s", message_size=None)
    assert own.given() == {"messages_per_connection": Rate(20), "message_size": None}
    project = Limits(message_size=10, groups_per_connection=3, over_limit="wait")
    both = own.over(project)
    assert both.value("message_size") is None
    assert both.value("groups_per_connection") == 3
    assert both.value("connections_per_user") is None
    assert repr(Limits().shared) == repr(INHERIT) == "INHERIT"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"messages_per_connection": "fast"}, "messages_per_connection: 'fast' is no rate"),
        ({"message_size": 0}, "message_size must be a whole number of 1 or more"),
        ({"message_size": "1"}, "message_size must be"),
        ({"connections_per_user": True}, "connections_per_user must be"),
        ({"over_limit": "drop"}, 'over_limit must be "close" or "wait"'),
        ({"over_limit": None}, "over_limit must be"),
        ({"handshake_timeout": 0}, "handshake_timeout must be seconds"),
        ({"handshake_timeout": "5"}, "handshake_timeout must be seconds"),
        ({"shared": ""}, "shared must be the alias"),
        ({"shared": 1}, "shared must be the alias"),
    ],
)
def test_values_that_are_no_limits(wrong, said):
    with pytest.raises(ImproperlyConfigured, match=said):
        Limits(**wrong)


def test_values_that_are():
    limits = Limits(shared="default", handshake_timeout=5, bytes_per_user="1kB/s")
    assert limits.handshake_timeout == 5.0
    assert limits.bytes_per_user == Rate(1000)
    assert Limits(shared=None).value("shared") is None


def test_a_setting_has_its_keys_in_upper_case():
    found = limits_from({"MESSAGE_SIZE": 5}, "CHANNELS_LIMITS", upper=True)
    assert found.message_size == 5
    assert limits_from({"message_size": 5}, "client_limits of C") == found
    assert limits_from(None, "x") == Limits()
    assert limits_from(found, "x") is found


@pytest.mark.parametrize(
    ("value", "upper", "said"),
    [
        ({"message_size": 5}, True, "CHANNELS_LIMITS has 'message_size', which is no limit. There"),
        ({"MESSAGE_SIZE": 5}, False, "has 'MESSAGE_SIZE', which is no limit"),
        ({3: 5}, False, "has 3, which is no limit"),
        ("20/s", True, "must be limits such as .*MESSAGES_PER_CONNECTION"),
        (20, False, "must be limits such as Limits"),
        ({"MESSAGE_SIZE": -1}, True, "CHANNELS_LIMITS: message_size must be"),
    ],
)
def test_a_setting_that_is_none_is_told_what_to_write(value, upper, said):
    with pytest.raises(ImproperlyConfigured, match=said):
        limits_from(value, "CHANNELS_LIMITS", upper=upper)
