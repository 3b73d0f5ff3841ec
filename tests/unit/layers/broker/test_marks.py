"""Marks that a process sends to itself, and the barriers that are done when they come."""

import logging

from channels.layers.broker import NOTHING
from channels.layers.broker.marks import Marks

from ....asgi import until


async def test_a_barrier_is_done_when_its_mark_comes():
    marks, sent = Marks(), []

    async def echo(mark):
        sent.append(mark)

    first, second = marks.send(echo), marks.send(echo)
    await until(lambda: len(sent) == 2)
    assert sent == [NOTHING + b"1", NOTHING + b"2"]
    assert not first.done()
    assert marks.settle(sent[1])
    assert second.done()
    assert not first.done()
    assert sent[0] in marks
    assert marks.settle(sent[0])
    assert first.done()
    assert len(marks) == 0


async def test_a_mark_comes_once_and_a_strange_one_is_no_mark():
    marks = Marks()
    mark, barrier = marks.new()
    assert not marks.settle(NOTHING + b"77")
    assert marks.settle(mark)
    assert not marks.settle(mark)
    assert barrier.done()


async def test_a_caller_that_gave_up_hinders_nobody():
    marks = Marks()
    mark, barrier = marks.new()
    barrier.cancel()
    assert marks.settle(mark)


async def test_a_mark_that_cannot_be_sent_holds_nobody_up(caplog):
    caplog.set_level(logging.DEBUG)
    marks = Marks()

    async def echo(mark):
        raise ConnectionError("down")

    await marks.send(echo)
    assert "Nothing can be sent to this process: down" in caplog.text
    assert len(marks) == 0


async def test_no_mark_comes_over_a_connection_that_has_broken():
    marks = Marks()
    barriers = [marks.new()[1] for _ in range(3)]
    marks.settle_all()
    assert all(barrier.done() for barrier in barriers)
    assert len(marks) == 0


async def test_what_sends_marks_can_be_cancelled():
    marks, cancelled = Marks(), []

    async def echo(mark):
        try:
            await marks.new()[1]
        finally:
            cancelled.append(mark)

    marks.send(echo)
    await until(lambda: len(marks) == 2)
    marks.cancel()
    await until(lambda: cancelled)
    assert cancelled == [NOTHING + b"1"]
