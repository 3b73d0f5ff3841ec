"""Which options a layer takes."""

import re

import pytest

from channels.exceptions import InvalidChannelLayerError
from channels.layers import InMemoryChannelLayer
from channels.layers.options import require_count, require_duration, require_flag
from channels_redis.core import RedisChannelLayer


def refusal_of(require, value):
    """The error that this option with this value is refused with, or None."""
    try:
        require("option", value)
    except InvalidChannelLayerError as error:
        return error
    return None


@pytest.mark.parametrize("value", [-1, 0, 1, 10**9])
def test_integers_are_counts(value):
    assert refusal_of(require_count, value) is None


@pytest.mark.parametrize("value", ["100", 1.5, None, True, [1]])
def test_no_counts(value):
    with pytest.raises(InvalidChannelLayerError, match=re.escape(f"not {value!r}")):
        require_count("capacity", value)


@pytest.mark.parametrize("value", [1, 5, 10])
def test_counts_within_limits(value):
    assert require_count("heartbeat", value, 1, 10) is None
    assert require_count("heartbeat", value, 1) is None


@pytest.mark.parametrize(
    ("value", "most", "expected"),
    [
        (0, None, "from 1, not 0"),
        (-1, 10, "from 1 to 10, not -1"),
        (11, 10, "from 1 to 10, not 11"),
    ],
)
def test_counts_beyond_limits(value, most, expected):
    with pytest.raises(
        InvalidChannelLayerError, match=f"^heartbeat must be a whole number {expected}$"
    ):
        require_count("heartbeat", value, 1, most)


@pytest.mark.parametrize("value", [0, -1, 0.0, "60", float("nan")])
def test_durations_that_have_to_be_positive(value):
    require_duration("lease", 0.1, positive=True)
    expected = re.escape(f"lease must be a number of seconds above 0, not {value!r}")
    with pytest.raises(InvalidChannelLayerError, match=f"^{expected}$"):
        require_duration("lease", value, positive=True)


@pytest.mark.parametrize("value", [-1, 0, 0.5, 60, float("inf")])
def test_numbers_are_durations(value):
    assert refusal_of(require_duration, value) is None


@pytest.mark.parametrize("value", ["60", None, False, float("nan")])
def test_no_durations(value):
    with pytest.raises(InvalidChannelLayerError, match=re.escape(f"not {value!r}")):
        require_duration("expiry", value)


@pytest.mark.parametrize("value", [True, False, None])
def test_booleans_and_none_are_flags(value):
    assert refusal_of(require_flag, value) is None


@pytest.mark.parametrize("value", ["False", 0, 1, ""])
def test_no_flags(value):
    with pytest.raises(InvalidChannelLayerError, match=re.escape(f"not {value!r}")):
        require_flag("sharded", value)


@pytest.mark.parametrize("layer_class", [InMemoryChannelLayer, RedisChannelLayer])
@pytest.mark.parametrize("name", ["expiry", "group_expiry", "capacity"])
def test_layers_refuse_the_text_of_environment_variables(layer_class, name):
    with pytest.raises(InvalidChannelLayerError, match=f"^{name} must be a .*, not '10'$"):
        layer_class(**{name: "10"})


@pytest.mark.parametrize("name", ["lease", "inbox_capacity"])
def test_options_of_the_redis_layer_must_be_numbers(name):
    with pytest.raises(InvalidChannelLayerError, match=f"^{name} must be"):
        RedisChannelLayer(**{name: "10"})


def test_capacities_of_channels():
    with pytest.raises(InvalidChannelLayerError, match=r"^channel_capacity\['a\*'\] must be"):
        InMemoryChannelLayer(channel_capacity={"a*": "x"})
