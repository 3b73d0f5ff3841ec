import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.close_codes import CloseCode, Sequel, sequel


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1000, "final"),
        (1001, "again"),
        (1002, "refused"),
        (1003, "refused"),
        (1005, "again"),
        (1006, "again"),
        (1007, "refused"),
        (1008, "final"),
        (1009, "refused"),
        (1010, "final"),
        (1011, "again"),
        (1012, "spread"),
        (1013, "spread"),
        (1014, "again"),
        (3000, "again"),
        (4399, "again"),
        (4400, "final"),
        (4419, "again"),
        (4429, "refused"),
        (4499, "final"),
        (4500, "again"),
    ],
)
def test_what_clients_do_after_a_close(code, expected):
    assert sequel(code) == expected


@given(st.integers(1000, 4999))
def test_every_code_has_a_sequel(code):
    assert isinstance(sequel(code), Sequel)


@given(st.sampled_from(CloseCode))
def test_applications_may_give_the_names_instead_of_the_numbers(code):
    assert sequel(code) is sequel(int(code))
    assert f"{code}" == str(int(code)), "as it stands in a log"
