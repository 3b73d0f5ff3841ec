"""Handlers of commands: several for one, sync and async, and what they raise."""

import logging

import pytest

from channels.control import register
from channels.control.handlers import call

pytestmark = pytest.mark.usefixtures("calls")


async def test_the_answers_of_all_handlers_of_a_command():
    async def add(a, b):
        return a + b

    def nothing(a, b):
        return None

    for _ in range(2):
        register("compute", add)
    register("compute", nothing)
    register("compute", lambda a, b: a * b)
    assert await call("compute", {"a": 3, "b": 4}) == [7, 12]


async def test_nobody_handles_an_unknown_command():
    assert await call("unknown", {}) == []


async def test_one_that_raises_is_logged_and_disturbs_no_other(caplog):
    def fail():
        raise ValueError("out of order")

    register("try", fail)
    register("try", lambda: "well")
    with caplog.at_level(logging.ERROR, "channels.control"):
        assert await call("try", {}) == ["well"]
    assert "A handler of the command try failed: out of order" in caplog.text
    assert caplog.records[0].exc_info
