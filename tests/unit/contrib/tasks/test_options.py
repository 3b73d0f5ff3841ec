"""The options of a backend are read, and wrong ones are refused with the reason."""

import pytest

from channels.contrib.tasks.exceptions import InvalidTaskOptions
from channels.contrib.tasks.options import TaskOptions, parse_options


def test_without_options_there_are_defaults():
    assert parse_options("default", {}) == TaskOptions()


def test_options_are_read():
    options = parse_options(
        "default",
        {
            "layer": "jobs", "capacity": 5, "result_ttl": 0, "max_attempts": 1, "backoff": [0, 2],
            "lease": 3, "timeout": 1, "max_bytes": 10, "dead_letters": 0, "concurrency": 2,
            "autostart": False,
        },
    )  # fmt: skip
    assert options == TaskOptions("jobs", 5, 0.0, 1, (0.0, 2.0), 3.0, 1.0, 10, 0, 2, False)
    assert parse_options("default", {"timeout": None}).timeout is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "must be a dict, not a NoneType"),
        ([], "must be a dict, not a list"),
        ({"max_attemps": 3}, "no option 'max_attemps'; did you mean 'max_attempts'"),
        ({"qqq": 3}, "no option 'qqq'; there are layer, capacity"),
        ({"capacity": "5"}, "capacity must be a whole number from 1, not '5'"),
        ({"capacity": 0}, "capacity must be a whole number from 1, not 0"),
        ({"dead_letters": -1}, "dead_letters must be a whole number from 0"),
        ({"concurrency": True}, "concurrency must be a whole number"),
        ({"lease": 0}, "lease must be a number of seconds, not 0"),
        ({"lease": "15"}, "lease must be a number of seconds"),
        ({"timeout": float("nan")}, "timeout must be a number of seconds"),
        ({"timeout": 0}, "timeout must be a number of seconds, not 0"),
        ({"result_ttl": -1}, "result_ttl must be a number of seconds"),
        ({"backoff": 3}, "backoff must be two numbers of seconds"),
        ({"backoff": (1, 2, 3)}, "backoff must be two numbers of seconds"),
        ({"backoff": (1, None)}, "backoff must be a number of seconds"),
        ({"layer": None}, "layer must be an alias"),
        ({"autostart": "False"}, "autostart must be True or False"),
    ],
)
def test_wrong_options_are_refused(given, reason):
    with pytest.raises(InvalidTaskOptions, match=r"TASKS\['mail'\]\['OPTIONS'\]") as caught:
        parse_options("mail", given)
    assert reason in str(caught.value)
