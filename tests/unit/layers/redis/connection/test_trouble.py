import logging

import pytest
from redis import exceptions as redis_errors

from channels.layers.redis.connection import trouble as trouble_module
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.trouble import Trouble

GONE = redis_errors.ConnectionError("nobody there")
REFUSED = redis_errors.NoPermissionError("no permissions to run the 'xread' command")


@pytest.fixture
def trouble(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "channels.layers")
    (server,), _ = parse_hosts([("redis.example", 6380)], "asgi")
    return Trouble(server, "receiving")


@pytest.fixture
def clock(monkeypatch):
    time = [100.0]
    monkeypatch.setattr(trouble_module, "now", lambda: time[0])
    return time


def lines(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_hiccup_is_not_worth_a_line(trouble, caplog):
    trouble.failed(GONE)
    trouble.failed(GONE)
    trouble.over()
    trouble.failed(GONE)
    assert lines(caplog) == []


def test_the_third_attempt_is_and_then_once_a_minute(trouble, caplog, clock):
    for _ in range(100):
        trouble.failed(GONE)
    text = "Redis at redis.example:6380: receiving does not work (nobody there); still trying, "
    assert lines(caplog) == [("WARNING", text + "attempt 3")]
    clock[0] += 61
    trouble.failed(GONE)
    trouble.failed(GONE)
    assert lines(caplog)[1:] == [("WARNING", text + "attempt 101")]
    trouble.over()
    trouble.over()
    assert lines(caplog)[2:] == [
        ("INFO", "Redis at redis.example:6380 answers again: receiving works")
    ]
    assert trouble.attempts == 0


def test_what_will_hardly_pass_is_told_at_once_without_a_traceback(trouble, caplog, clock):
    for _ in range(10):
        trouble.failed(REFUSED)
    [(level, text)] = lines(caplog)
    assert level == "ERROR"
    assert "xread" in text
    assert not caplog.records[0].exc_info


def test_trouble_that_comes_and_goes_fills_no_log(trouble, caplog, clock):
    for _ in range(100):
        trouble.failed(REFUSED)
        trouble.over()
        clock[0] += 1
    assert len([level for level, _ in lines(caplog) if level == "ERROR"]) == 10


def test_an_error_without_a_text_is_named(trouble, caplog):
    for _ in range(3):
        trouble.failed(TimeoutError())
    assert "(TimeoutError)" in caplog.text
