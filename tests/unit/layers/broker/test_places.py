"""What one event loop holds, whatever becomes of its calls; how servers count is tested with them.

The ledger here answers as a broker does, when it is told to, and in the order of the calls.
"""

import asyncio
import random

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import places as module
from channels.layers.broker.places import Places
from channels.layers.broker.transport import Held


class Ledger:
    """Numbers by place and holder, and what is to go wrong with the calls."""

    def __init__(self):
        self.numbers = {}
        self.known = set()
        self.calls = []
        self.failure = None
        self.forgets = False
        self.apart = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def hold(self, holder, numbers, *, lease, keep, former):
        self.calls.append(dict(numbers))
        first = holder not in self.known
        answer = self.answer(holder, numbers, former if first else None)
        for _ in range(random.randint(0, 3)):
            await asyncio.sleep(0)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return answer

    def answer(self, holder, numbers, former):
        if self.forgets:
            self.known.discard(holder)
            return Held(known=False, full=None, changed=())
        self.known.add(holder)
        self.known.discard(former)
        full = None
        for name, (number, most) in numbers.items():
            others = {h: n for h, n in self.numbers.get(name, {}).items() if h != holder}
            total = sum(n for h, n in others.items() if h in self.known) + number
            if most is not None and total > most:
                full = name
        changed = [name for name in numbers if full is None or (self.apart and name != full)]
        for name in changed:
            self.numbers.setdefault(name, {})[holder] = numbers[name][0]
        return Held(known=True, full=full, changed=changed)

    def total(self, name):
        return sum(n for h, n in self.numbers.get(name, {}).items() if h in self.known)


async def settled(*those):
    for places in those:
        if places._task is not None:
            await asyncio.wait((places._task,))


@pytest.fixture
async def ledger():
    return Ledger()


@pytest.fixture
async def make(ledger):
    made = []

    def make():
        made.append(Places(ledger.hold, 60.0))
        return made[-1]

    yield make
    ledger.gate.set()
    for places in made:
        await places.aclose()


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("seed", range(20))
async def test_the_broker_knows_what_is_held_whatever_crosses_what(ledger, make, apart, seed):
    random.seed(seed)
    ledger.apart = apart
    those, held, tasks = [make() for _ in range(3)], [], []
    most = {"a": 3, "b": 5, "c": 1000}

    async def come_and_go(places):
        names = random.sample(sorted(most), random.randint(1, 3))
        if await places.take({name: most[name] for name in names}) is None:
            held.append((places, names))

    for _ in range(60):
        task = asyncio.ensure_future(come_and_go(random.choice(those)))
        tasks.append(task)
        if random.random() < 0.2:
            random.choice(tasks).cancel()
        if held and random.random() < 0.5:
            places, names = held.pop(random.randrange(len(held)))
            places.give(names)
        if random.random() < 0.5:
            await asyncio.sleep(0)
        for name, number in most.items():
            assert sum(name in names for _, names in held) <= number
    await asyncio.wait(tasks)
    await settled(*those)
    for name in most:
        assert ledger.total(name) == sum(name in names for _, names in held)
    for places, names in held:
        places.give(names)
    await settled(*those)
    assert [ledger.total(name) for name in most] == [0, 0, 0]
    assert not any(places._asked or places._crossed or places._numbers for places in those)


async def test_what_ends_in_one_turn_is_told_at_once(ledger, make):
    places = make()
    for number in range(700):
        assert await places.take({str(number): 1, "all": 700}) is None
    ledger.calls.clear()
    for number in range(700):
        places.give([str(number), "all"])
    await settled(places)
    assert [len(call) for call in ledger.calls] == [500, 201]


async def test_what_could_not_be_told_is_told_with_the_next_renewal(ledger, make, caplog):
    places = make()
    assert await places.take({"a": 5}) is None
    ledger.failure = BrokerUnavailable("gone")
    with pytest.raises(BrokerUnavailable):
        await places.take({"a": 5})
    places.give(["a"])
    await settled(places)
    assert not caplog.text, "the connection has told it"
    ledger.failure = BrokerError("refused")
    places._renew()
    await settled(places)
    assert (
        "The broker could not be told what this process has open: BrokerError: ref" in caplog.text
    )
    ledger.failure = None
    places._renew()
    await settled(places)
    assert ledger.total("a") == 0


async def test_a_renewal_is_one_call_without_any_place(ledger, make):
    places = make()
    for name in "abc":
        assert await places.take({name: 1}) is None
    ledger.calls.clear()
    places._renew()
    await settled(places)
    assert ledger.calls == [{}]


async def test_a_renewal_waits_for_one_that_has_not_been_answered(ledger, make):
    places = make()
    assert await places.take({"a": 1}) is None
    ledger.gate.clear()
    places._renew()
    await asyncio.sleep(0)
    places._renew()
    places._renew()
    await asyncio.sleep(0)
    calls = len(ledger.calls)
    ledger.gate.set()
    await settled(places)
    assert len(ledger.calls) == calls + 1


async def test_a_broker_that_forgets_always_is_not_told_for_ever(ledger, make, caplog):
    places = make()
    assert await places.take({"a": 5}) is None
    ledger.forgets = True
    ledger.calls.clear()
    with pytest.raises(BrokerError, match="forgets at once"):
        await places.take({"a": 5})
    await settled(places)
    assert len(ledger.calls) < 10
    assert (
        "The broker has forgotten what this process has open, and is told of 1 lim" in caplog.text
    )
    ledger.forgets = False
    places._renew()
    await settled(places)
    assert ledger.total("a") == 1


async def test_calls_under_way_when_the_broker_forgets_count_once(ledger, make):
    places = make()
    assert await places.take({"a": 100}) is None
    ledger.known.clear()
    real, ledger.forgets = ledger.answer, True

    def answer(*arguments):
        if len(ledger.calls) > 5:
            ledger.forgets = False
        return real(*arguments)

    ledger.answer = answer
    assert set(await asyncio.gather(*(places.take({"a": 100}) for _ in range(3)))) == {None}
    await settled(places)
    assert ledger.total("a") == 4


async def test_who_holds_nothing_is_forgotten(ledger, make):
    places = make()
    assert await places.take({"a": 1}) is None
    places.give(["a"])
    await settled(places)
    holder = places._holder
    places._renew()
    assert places._timer is None
    assert await places.take({"a": 1}) is None
    assert places._holder != holder


async def test_what_is_held_for_long_is_told_again(ledger, make, monkeypatch):
    places = make()
    assert await places.take({"old": 1}) is None
    monkeypatch.setattr(module, "_KEPT", 0.0)
    places._note_told(["old", "never"])
    ledger.calls.clear()
    places._renew()
    await settled(places)
    assert {"old": (1, None)} in ledger.calls
    monkeypatch.setattr(module, "_KEPT", 600.0)
    ledger.calls.clear()
    places._renew()
    await settled(places)
    assert ledger.calls == [{}]


async def test_the_end_does_not_wait_for_a_broker_that_does_not_answer(ledger, make, monkeypatch):
    monkeypatch.setattr(module, "_CLOSING_PATIENCE", 0.05)
    places = make()
    await places.aclose()
    assert await places.take({"a": 1}) is None
    ledger.gate.clear()
    await places.aclose()
    assert not places._task.done()
    ledger.gate.set()
    await settled(places)
    assert ledger.total("a") == 0
