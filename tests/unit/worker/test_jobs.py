import asyncio
import logging
import re

import pytest

from channels import signals
from channels.worker import Worker
from channels.worker.jobs import CANCELLED, DONE, FAILED, TIMED_OUT, UNHANDLED, Job, is_heard


@pytest.fixture
def heard():
    """What the signal tells."""
    heard = []

    def receiver(sender, signal, **arguments):
        heard.append((sender, arguments))

    signals.job_finished.connect(receiver)
    yield heard
    signals.job_finished.disconnect(receiver)


@pytest.mark.parametrize("outcome", [DONE, FAILED, UNHANDLED, CANCELLED, TIMED_OUT])
async def test_a_job_is_told_of_in_one_line_and_by_a_signal(outcome, heard, caplog):
    caplog.set_level(logging.DEBUG, "channels.worker")
    job = Job("images", "image.make")
    await asyncio.sleep(0.01)
    job.finished(Worker, outcome)
    ((sender, arguments),) = heard
    assert sender is Worker
    assert arguments.pop("seconds") > 0.009
    assert arguments == {"channel": "images", "message_type": "image.make", "outcome": outcome}
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    text = rf"Message image.make on channel images: {outcome} in \d+\.\d ms"
    assert re.fullmatch(text, record.getMessage())


def test_a_type_cannot_break_the_line(caplog):
    caplog.set_level(logging.DEBUG, "channels.worker")
    Job("images", "line\nbreak" * 100).finished(Worker, DONE)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 300


def test_without_listeners_nothing_is_told(caplog):
    caplog.set_level(logging.INFO, "channels.worker")
    assert not is_heard()
    Job("images", "image.make").finished(Worker, DONE)
    assert caplog.records == []
    caplog.set_level(logging.DEBUG, "channels.worker")
    assert is_heard()


def test_a_receiver_of_the_signal_is_a_listener(caplog, heard):
    caplog.set_level(logging.INFO, "channels.worker")
    assert is_heard()
