"""When a scheduled message is due, and what cannot be asked for."""

import math
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from channels.exceptions import ChannelsError, InvalidScheduleError
from channels.layers.delays import When, require_period, when
from channels.layers.options import LONGEST

AT = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("delay", [0, 0.5, 30, LONGEST])
def test_a_delay_is_from_now(delay):
    assert when(delay, None) == When(delay)
    assert when(delay, None).from_now() == delay
    assert when(delay, None).milliseconds() == delay * 1000


def test_a_time_is_the_same_in_every_zone():
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert when(None, AT) == when(None, elsewhere) == When(AT.timestamp(), since_epoch=True)
    assert when(None, AT).milliseconds() == AT.timestamp() * 1000
    assert when(None, AT).from_now() == pytest.approx(AT.timestamp() - time.time(), abs=5)


def test_what_is_past_is_due():
    assert when(None, AT - timedelta(days=3650)).from_now() < 0
    assert when(None, datetime(1950, 1, 1, tzinfo=UTC)).milliseconds() == 0


@pytest.mark.parametrize(
    ("delay", "at", "text"),
    [
        (None, None, "neither was given"),
        (1, AT, "both were given"),
        (-1, None, "delay must be from 0 seconds"),
        (-0.001, None, "delay must be from 0 seconds"),
        (math.nan, None, "not nan"),
        (math.inf, None, "not inf"),
        (10**400, None, "to 10 years"),
        ("30", None, "delay must be a number of seconds, not '30'"),
        (True, None, "delay must be a number"),
        (timedelta(seconds=30), None, "delay must be a number"),
        (None, datetime(2030, 1, 1), "at must have a time zone"),
        (None, AT.date(), "at must be a datetime"),
        (None, 1_900_000_000, "at must be a datetime"),
        (None, datetime(9999, 1, 1, tzinfo=UTC), "at must be within 10 years"),
    ],
)
def test_what_cannot_be_is_refused(delay, at, text):
    with pytest.raises(InvalidScheduleError, match=text) as caught:
        when(delay, at)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ChannelsError)


@pytest.mark.parametrize("period", [0.1, 1, 86400])
def test_a_period(period):
    assert require_period(period) == period


@pytest.mark.parametrize("period", [0, -1, 0.099, math.nan, math.inf, None, "60", False])
def test_what_is_no_period_is_refused(period):
    with pytest.raises(InvalidScheduleError, match="seconds must be"):
        require_period(period)
