"""What reports may say, and what is left out or refused."""

from decimal import Decimal

import pytest

from channels.contrib.progress.values import MAX_SIZE, number_of, plain, short


def test_previews_are_copies_of_json():
    parts = [1, {"a": None}]
    copy = plain({"parts": parts})
    parts.append(2)
    assert copy == {"parts": [1, {"a": None}]}
    for value in (None, "text", "ä", 1.5, True):
        assert plain(value) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x" * (MAX_SIZE + 1), "65537 bytes"),
        (["x" * MAX_SIZE], "are the most"),
        ({1, 2}, "no JSON"),
        (float("nan"), "no JSON"),
        (2**70, "no JSON"),
        ("\ud800", "no JSON"),
        (b"bytes", "no JSON"),
    ],
)
def test_previews_that_are_left_out(value, reason):
    with pytest.raises(ValueError, match=reason):
        plain(value)


def test_texts_are_shortened_and_can_be_carried():
    assert short("x" * 1000) == "x" * 1000
    assert short("x" * 1001) == "x" * 999 + "…"
    assert short("a\ud800ä") == "a?ä"
    assert short(7) == "7"


@pytest.mark.parametrize("number", [None, 0, -3, 2**53, 1.5])
def test_numbers_stay_as_they_are(number):
    assert number_of("total", number) is number


def test_other_numbers_are_floats():
    assert number_of("total", Decimal("1.5")) == 1.5
    assert number_of("total", True) == 1
    assert type(number_of("total", 2**60)) is float
    for number in (float("nan"), float("inf"), Decimal("NaN")):
        with pytest.raises(ValueError, match="total must be a number"):
            number_of("total", number)
