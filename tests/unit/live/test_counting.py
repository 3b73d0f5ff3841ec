import asyncio
from typing import Any

import pytest

from channels import signals
from channels._runtime import lag
from channels.live import counting
from channels.live.counting import Counters
from tests.asgi import until


class Consumer:
    pass


@pytest.fixture
def counters() -> Any:
    counting.counters.stop()  # its receivers go by the same name
    counters = Counters()
    yield counters
    counters.stop()


async def test_nothing_listens_until_somebody_looks(counters: Counters) -> None:
    assert not counters.since
    signals.emit(signals.message_received, Consumer, consumer=Consumer(), size=3)
    counters.look()
    assert counters.totals == {}


async def test_what_happens_is_counted(counters: Counters) -> None:
    consumer = Consumer()
    assert counters.look() is None
    for signal, arguments in (
        (signals.message_received, {"consumer": consumer, "size": 3}),
        (signals.message_sent, {"consumer": consumer, "size": 4}),
        (signals.handshake_finished, {}),
        (signals.layer_message_sent, {}),
        (signals.layer_gap, {}),
        (signals.job_finished, {}),
        (signals.connection_refused, {}),
        (signals.client_stalled, {}),
        (signals.limit_exceeded, {"limit": "messages"}),
    ):
        signals.emit(signal, Consumer, **arguments)
    assert counters.messages(consumer) == (1, 1)
    assert counters.messages(Consumer()) == (0, 0)
    assert counters.totals == dict.fromkeys(
        ("received", "sent", "handshakes", "layer", "gaps", "jobs", "refused", "stalled"), 1
    ) | {"received_bytes": 3, "sent_bytes": 4}
    assert counters.limits == {"messages": 1}
    counters.look()
    assert counters.totals["sent"] == 1


async def test_rates_are_those_since_the_look_before(
    counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(counting.clock, "now", lambda: now)
    consumer = Consumer()
    counters.look()
    assert counters.rates(consumer) == (0.0, 0.0)
    for _ in range(6):
        signals.emit(signals.message_received, Consumer, consumer=consumer, size=1)
    signals.emit(signals.message_sent, Consumer, consumer=consumer, size=1)
    now += 0.5
    assert counters.rates(consumer) == (0.0, 0.0)  # too soon to tell
    now += 1.5
    assert counters.rates(consumer) == (3.0, 0.5)
    now += 0.5
    assert counters.rates(consumer) == (3.0, 0.5)
    now += 1.0
    assert counters.rates(consumer) == (0.0, 0.0)
    assert counters.messages(consumer) == (6, 1)


async def test_counting_ends_when_nobody_looks_any_more(
    counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "IDLE", 0.05)
    monkeypatch.setattr(lag, "INTERVAL", 0.01)
    counters.look()
    first = counters._timer
    counters._look_again()  # too early
    assert counters.since
    assert counters._timer is not first
    assert signals.message_sent.receivers
    await until(lambda: not counters.since)
    counters.look()
    await until(lambda: counters.look() is not None)
    ticking = counters._lag.get()
    await until(lambda: ticking._timer._timer is None)
    await ticking.aclose()
    ticking.ask()
    await ticking.aclose()
    assert ticking._timer._timer is None


def test_an_event_loop_that_was_closed_is_not_waited_for(counters: Counters) -> None:
    async def look() -> None:
        counters.look()

    asyncio.run(look())
    asyncio.run(look())
    assert counters.since
