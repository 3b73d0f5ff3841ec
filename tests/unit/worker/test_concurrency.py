import pytest

from channels.exceptions import ChannelsError, InvalidWorkerOption
from channels.worker.concurrency import per_channel


def test_one_number_is_for_all_channels():
    assert per_channel(["a", "b", "a"], 3) == {"a": 3, "b": 3}
    assert per_channel([], 3) == {}


def test_channels_that_a_mapping_does_not_name_have_one():
    assert per_channel(["a", "b"], {"a": 4}) == {"a": 4, "b": 1}


@pytest.mark.parametrize("number", [0, -1, 1.5, "4", None, True])
def test_what_is_no_number_from_1_is_refused(number):
    with pytest.raises(InvalidWorkerOption, match="concurrency must be a whole number from 1"):
        per_channel(["a"], number)
    with pytest.raises(InvalidWorkerOption, match="The concurrency of a must be a whole number"):
        per_channel(["a"], {"a": number})


def test_a_channel_that_is_not_listened_to_is_refused():
    with pytest.raises(InvalidWorkerOption, match="names 'c', which the worker does not listen"):
        per_channel(["a", "b"], {"a": 2, "c": 2})
    assert issubclass(InvalidWorkerOption, ChannelsError)
