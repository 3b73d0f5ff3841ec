"""Signals reach their listeners and disturb nobody."""

import gc
import logging

import pytest
from django.dispatch import Signal

from channels import signals

NAMES = [name for name in signals.__all__ if name != "emit"]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_signal_and_documented(name):
    assert isinstance(getattr(signals, name), Signal)
    assert f"``{name}``" in signals.__doc__


def test_listeners_get_the_sender_and_the_arguments():
    heard = []

    def hear(sender, **arguments):
        heard.append((sender, arguments["status"], arguments["reason"]))

    signal = Signal()
    signal.connect(hear)
    signals.emit(signal, test_signals := object(), status=1, reason="x")
    assert heard == [(test_signals, 1, "x")]


def test_without_listeners_nothing_is_called():
    calls = []

    class Counting(Signal):
        def send_robust(self, sender, **named):
            calls.append(sender)

    signals.emit(Counting(), None)
    assert calls == []


async def test_a_listener_that_raises_is_logged_and_the_others_are_called(caplog):
    heard = []

    def fail(**kwargs):
        raise ValueError("broken listener")

    def hear(**kwargs):
        heard.append(1)

    signal = Signal()
    signal.connect(fail)
    signal.connect(hear)
    with caplog.at_level(logging.ERROR):
        signals.emit(signal, None)
    assert heard == [1]
    assert "broken listener" in caplog.text


async def test_an_async_receiver_is_logged_and_disturbs_nobody(caplog):
    async def listener(**kwargs):
        raise AssertionError("never called")

    signals.message_dropped.connect(listener)
    try:
        signals.emit(signals.message_dropped, object)
    finally:
        signals.message_dropped.disconnect(listener)
    assert "its receivers must be plain functions" in caplog.text


class Raising(Signal):
    """Such as a project may make."""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self.connect(lambda **kwargs: None, weak=False)

    def send_robust(self, sender, **named):
        raise self.error


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit()])
def test_what_is_no_error_is_logged_and_raised_into_nobody(error, caplog):
    signals.emit(Raising(error), None)
    assert "A receiver of a signal raised what is no error" in caplog.text


def test_ctrl_c_reaches_the_caller():
    with pytest.raises(KeyboardInterrupt):
        signals.emit(Raising(KeyboardInterrupt()), None)


@pytest.mark.parametrize(
    "signal",
    [
        signals.message_received,
        signals.message_sent,
        signals.handler_started,
        signals.handler_finished,
    ],
)
def test_one_look_tells_whether_anybody_listens_to_what_comes_for_every_message(
    signal, nobody_listens
):
    def receiver(**arguments):
        """Hear nothing."""

    other = signals.message_sent
    assert not signals.listened.messages
    signal.connect(receiver)
    other.connect(receiver, dispatch_uid="another")
    assert signals.listened.messages
    assert signal.disconnect(receiver)
    assert signals.listened.messages
    assert other.disconnect(dispatch_uid="another")
    assert not signals.listened.messages


@pytest.fixture
def heard():
    """What strong receivers of a signal of ours have heard."""
    return []


@pytest.fixture
def event(heard):
    signal = type(signals.message_dropped)()
    signal.connect(lambda **kwargs: heard.append("strong"), weak=False, dispatch_uid="strong")
    signals.emit(signal, int)
    assert heard.pop() == "strong"
    return signal


def test_receivers_that_connect_and_disconnect_later_are_heeded(event, heard):
    event.connect(lambda **kwargs: heard.append("later"), weak=False, dispatch_uid="later")
    signals.emit(event, int)
    assert heard == ["strong", "later"]
    assert event.disconnect(dispatch_uid="strong")
    assert not event.disconnect(dispatch_uid="strong")
    signals.emit(event, int)
    assert heard == ["strong", "later", "later"]


def test_receivers_of_one_sender_hear_only_of_it(event, heard):
    event.connect(lambda **kwargs: heard.append("str"), sender=str, weak=False)
    for sender in (int, str, int, None):
        signals.emit(event, sender)
    assert heard == ["strong", "strong", "str", "strong", "strong"]


def test_a_weak_receiver_is_called_while_it_lives(event, heard):
    def weak(**kwargs):
        heard.append("weak")

    event.connect(weak)
    signals.emit(event, int)
    del weak
    gc.collect()
    signals.emit(event, int)
    assert heard == ["strong", "weak", "strong"]


def test_a_replaced_list_of_receivers_is_used(event, heard):
    event.receivers = [*event.receivers, *event.receivers]
    signals.emit(event, int)
    assert heard == ["strong", "strong"]


def test_a_strong_receiver_that_raises_is_logged_and_the_others_are_called(event, heard, caplog):
    event.disconnect(dispatch_uid="strong")

    def fail(**kwargs):
        raise ValueError("broken listener")

    def leave(**kwargs):
        raise SystemExit(1)

    for receiver in (fail, leave, lambda **kwargs: heard.append(1)):
        event.connect(receiver, weak=False)
    for _ in range(2):
        signals.emit(event, int)
    assert heard == [1, 1]
    assert [record.name for record in caplog.records] == ["django.dispatch"] * 4
    assert "broken listener" in caplog.text
    assert "SystemExit(1)" in caplog.text


async def test_an_async_strong_receiver_is_refused(event, caplog):
    async def listener(**kwargs):
        raise AssertionError("never called")

    event.connect(listener, weak=False)
    signals.emit(event, int)
    assert "its receivers must be plain functions" in caplog.text
