import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.security.limits.rates import Rate, as_rate


@pytest.mark.parametrize(
    ("text", "amount", "seconds"),
    [
        ("20/s", 20, 1),
        ("100/m", 100, 60),
        (" 1000 / h ", 1000, 3600),
        ("5/d", 5, 86400),
        ("0.5/s", 0.5, 1),
        ("64 KiB/s", 65536, 1),
        ("64kB/s", 64000, 1),
        ("1MiB/m", 2**20, 60),
        ("100 b/s", 100, 1),
    ],
)
def test_rates_as_people_write_them(text, amount, seconds):
    assert as_rate(text) == Rate(amount, seconds)


def test_a_burst_is_the_amount_unless_it_is_said():
    assert Rate(20).capacity == 20
    assert Rate(0.1).capacity == 1, "one message has to fit"
    assert Rate(20, burst=40).capacity == 40
    assert Rate(20, 60).interval == 3
    given = Rate(3, 2, burst=5)
    assert as_rate(given) is given


@pytest.mark.parametrize(
    ("rate", "said"),
    [("20/s", "20/s"), ("100/m", "100/m"), (Rate(3, 10), "3 in 10 s"), ("5/h", "5/h")],
)
def test_how_the_log_writes_them(rate, said):
    assert str(as_rate(rate)) == said


@pytest.mark.parametrize(
    "value", ["", "20", "20/", "/s", "20/w", "-1/s", "0/s", "20/s/s", 20, None, b"20/s", "1 TB/s"]
)
def test_what_is_no_rate_is_refused_with_what_to_write(value):
    with pytest.raises(ImproperlyConfigured, match="is no rate: write"):
        as_rate(value)


@pytest.mark.parametrize("arguments", [(0,), (-1,), ("5",), (1, 0), (True,), (float("inf"),)])
def test_amount_and_seconds_are_numbers_above_zero(arguments):
    with pytest.raises(ImproperlyConfigured, match="must be a number above 0"):
        Rate(*arguments)


@pytest.mark.parametrize("burst", [0, 0.5, "3", float("inf")])
def test_a_burst_holds_one_at_least(burst):
    with pytest.raises(ImproperlyConfigured, match="burst of a Rate must be"):
        Rate(1, burst=burst)
