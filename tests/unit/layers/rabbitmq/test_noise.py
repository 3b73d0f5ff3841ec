"""aiormq's own lines in the log."""

import logging

import pytest

from channels._runtime import clock, lograte
from channels.layers.rabbitmq.noise import bound_noise

logger = logging.getLogger("aiormq.connection")


@pytest.fixture
def time(monkeypatch):
    """The clock, which stands still until a test moves it."""
    time = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: time[0])
    lograte.reset()
    yield time
    lograte.reset()


def test_a_flood_is_counted(caplog, time):
    caplog.set_level(logging.DEBUG, logger.name)
    for number in range(25):
        logger.error("error when creating transport: %r", number)
        logger.debug("Connecting")
    logger.warning("was unblocked")
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == [
        *(f"error when creating transport: {number}" for number in range(lograte.AT_ONCE)),
        "was unblocked",
    ]
    assert sum(record.levelno == logging.DEBUG for record in caplog.records) == 25
    time[0] += lograte.INTERVAL
    logger.error("error when creating transport: %r", "x")
    assert caplog.records[-1].getMessage() == (
        "error when creating transport: 'x' (one of 16 such lines; the others were left out)"
    )


def test_the_rest_of_a_flood_is_told_later(caplog, time):
    told = []
    kept = lograte.pace.admit
    lograte.pace.admit = lambda kind, later, count=1: told.append(later) or kept(kind, later, count)
    try:
        for number in range(20):
            logger.error("error when creating transport: %r", number)
        told[19](10)
    finally:
        lograte.pace.admit = kept
    assert caplog.records[-1].getMessage() == (
        "error when creating transport: 19 (one of 10 such lines; the others were left out)"
    )


def test_it_is_bound_once():
    filters = list(logger.filters)
    bound_noise()
    assert logger.filters == filters
    assert filters
