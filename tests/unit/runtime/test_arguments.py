"""What is refused as an argument, and that the error says what to write instead."""

import math
import time
from datetime import UTC, datetime, timedelta

import pytest

from channels._runtime.arguments import (
    as_close_code,
    as_close_reason,
    as_moment,
    as_scope,
    as_seconds,
    as_text,
    shown,
)
from channels.exceptions import ChannelsError, InvalidArgument


@pytest.mark.parametrize("wrong", [0, -1, -0.5, math.nan, math.inf, 10**400, True, "60", None])
def test_durations_that_are_none(wrong):
    with pytest.raises(InvalidArgument, match="lifetime must be a number of seconds above 0"):
        as_seconds("lifetime", wrong)


def test_durations():
    assert (as_seconds("lifetime", 1), as_seconds("lifetime", 0.5)) == (1.0, 0.5)
    with pytest.raises(InvalidArgument, match="write total_seconds"):
        as_seconds("lifetime", timedelta(hours=1))


@pytest.mark.parametrize("wrong", [math.nan, True, "2030-01-01", None, b"1"])
def test_times_that_are_none(wrong):
    with pytest.raises(InvalidArgument, match="expires_at must be in seconds since the epoch"):
        as_moment("expires_at", wrong)


@pytest.mark.parametrize("when", [datetime(2030, 1, 1), datetime(2030, 1, 1, tzinfo=UTC)])
def test_a_datetime_has_a_method_that_tells_its_seconds(when):
    with pytest.raises(InvalidArgument, match=r"write timestamp\(\) of your datetime"):
        as_moment("expires_at", when)


def test_times():
    now = time.time()
    assert [as_moment("expires_at", at) for at in (5, -1, math.inf)] == [5.0, -1.0, math.inf]
    assert as_moment("expires_at", now + 60, is_to_come=True) == now + 60
    with pytest.raises(InvalidArgument, match="is over, since 60 s; it must be a time to come"):
        as_moment("expires_at", now - 60, is_to_come=True)
    with pytest.raises(InvalidArgument, match="milliseconds: divide it by 1000"):
        as_moment("expires_at", now * 1000, is_to_come=True)


@pytest.mark.parametrize(("wrong", "kind"), [("", "empty"), (b"key", "of type bytes"), (5, "int")])
def test_text_that_is_none_is_not_shown(wrong, kind):
    with pytest.raises(ChannelsError, match=rf"such as 'a'; yours is .*{kind}") as caught:
        as_text("key", wrong, "'a'")
    assert repr(wrong) not in str(caught.value).replace("'a'", "")
    assert as_text("key", "a", "") == "a"


def test_a_scope_is_a_dict():
    scope = {}
    assert as_scope(scope) is scope
    with pytest.raises(InvalidArgument, match=r"such as self.scope, not None"):
        as_scope(None)


@pytest.mark.parametrize("wrong", [0, 999, 1005, 1006, 1015, 1016, 2000, 5000, True, "4000", 4e3])
def test_codes_that_nobody_may_send(wrong):
    with pytest.raises(InvalidArgument, match="code must be one that a WebSocket may be closed"):
        as_close_code(wrong)


def test_what_clients_are_told():
    assert [as_close_code(code) for code in (1000, 1012, 3000, 4999)] == [1000, 1012, 3000, 4999]
    assert as_close_reason("é" * 61) == "é" * 61
    with pytest.raises(InvalidArgument, match="123 bytes of UTF-8, and yours has 124"):
        as_close_reason("é" * 62)
    with pytest.raises(InvalidArgument, match="reason must be text, or empty; not None"):
        as_close_reason(None)


def test_values_are_shown_in_part():
    assert (shown("a"), len(shown("a" * 1000))) == ("'a'", 100)
