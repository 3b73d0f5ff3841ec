"""Values that belong to one event loop each."""

import asyncio

from channels._runtime.per_loop import PerLoop


class Value:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.abandoned = 0
        self.closed_on = None

    async def aclose(self):
        self.closed_on = asyncio.get_running_loop()

    def abandon(self):
        self.abandoned += 1


async def get(values):
    return values.get()


async def test_a_loop_keeps_its_value():
    values = PerLoop(Value)
    assert values.peek() is None
    value = values.get()
    assert value.loop is asyncio.get_running_loop()
    assert values.get() is value
    assert values.peek() is value
    assert values.all() == [(value.loop, value)]


def test_each_loop_has_its_own():
    values = PerLoop(Value)
    assert asyncio.run(get(values)) is not asyncio.run(get(values))


async def test_pop_forgets_it():
    values = PerLoop(Value)
    value = values.get()
    assert values.pop() is value
    assert values.pop() is None
    assert values.get() is not value


async def test_aclose_closes_it_and_forgets_it():
    values = PerLoop(Value)
    value = values.get()
    await values.aclose()
    assert value.closed_on is value.loop
    assert values.peek() is None
    await values.aclose()


async def test_aclose_leaves_values_that_cannot_be_closed():
    values = PerLoop(dict)
    values.get()
    await values.aclose()
    assert values.peek() is None


def test_values_of_closed_loops_are_abandoned_once_and_do_not_pile_up():
    values = PerLoop(Value)
    made = [asyncio.run(get(values)) for _ in range(20)]
    assert [value.abandoned for value in made] == [1] * 19 + [0]
    assert [value for _, value in values.all()] == made[-1:]


def test_a_value_that_cannot_be_abandoned_is_just_forgotten():
    values = PerLoop(dict)
    for _ in range(3):
        asyncio.run(get(values))
    assert len(values.all()) <= 1


async def test_loops_that_are_open_keep_theirs():
    values = PerLoop(Value)
    value = values.get()
    await asyncio.to_thread(asyncio.run, get(values))
    await asyncio.to_thread(asyncio.run, get(values))
    assert value.abandoned == 0
    assert values.peek() is value


async def test_the_latest_is_that_of_the_loop_that_asked_last():
    values = PerLoop(Value)
    assert values.latest == (None, None)
    value = values.get()
    assert values.latest == (asyncio.get_running_loop(), value)
    values.pop()
    assert values.latest == (None, None)


def test_the_latest_of_a_loop_that_has_ended_is_forgotten():
    values = PerLoop(Value)
    value = asyncio.run(get(values))
    assert values.latest == (value.loop, value)
    assert values.forget()
    assert values.latest == (None, None)
    assert value.abandoned == 1


def test_a_value_that_cannot_be_abandoned_is_forgotten_with_its_loop():
    values, loop = PerLoop(dict), asyncio.new_event_loop()
    loop.run_until_complete(get(values))
    assert values.forget()
    assert not values.forget()
    loop.close()
