"""A client's mistakes are marked as such."""

import json

import pytest

from channels._runtime.faults import blame_client, client_close_code


def test_the_mark_leaves_the_error_what_it_was():
    def decode():
        try:
            json.loads("{")
        except ValueError as error:
            blame_client(error, 1007)
            raise

    with pytest.raises(json.JSONDecodeError) as caught:
        decode()
    assert client_close_code(caught.value) == 1007
    assert str(caught.value).startswith("Expecting property name")


def test_it_returns_the_very_error():
    error = ValueError("x")
    assert blame_client(error, 1003) is error


@pytest.mark.parametrize("error", [ValueError(), KeyError("x"), KeyboardInterrupt(), Exception()])
def test_other_errors_are_not_the_clients(error):
    assert client_close_code(error) is None


def test_what_is_raised_because_of_it_is_not_the_clients():
    error = RuntimeError()
    error.__cause__ = error.__context__ = blame_client(ValueError(), 1007)
    assert client_close_code(error) is None
