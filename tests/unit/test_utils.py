import asyncio
import functools

import pytest

from channels.utils import await_many_dispatch, name_that_thing


class Thing:
    def method(self): ...

    @classmethod
    def make(cls): ...

    def __call__(self): ...


def function(): ...


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (function, f"{__name__}.function"),
        (Thing, f"{__name__}.Thing"),
        (Thing(), f"{__name__}.Thing"),
        (Thing().method, f"{__name__}.Thing.method"),
        (Thing.make, f"{__name__}.Thing.make"),
        (functools.partial(function), "functools.partial"),
        (len, "builtins.len"),
        (3, "builtins.int"),
    ],
)
def test_name_that_thing(thing, name):
    assert name_that_thing(thing) == name


class Source:
    """A queue whose tasks can be told from others."""

    def __init__(self, *items):
        self.queue = asyncio.Queue()
        self.asked = self.cancelled = False
        for item in items:
            self.queue.put_nowait(item)

    async def __call__(self):
        self.asked = True
        try:
            return await self.queue.get()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class Enough(Exception):
    pass


async def test_results_are_dispatched_in_the_order_of_each_source():
    numbers, letters = Source(1, 2, 3), Source("a", "b", "c")
    seen = []

    async def dispatch(result):
        seen.append(result)
        if len(seen) == 6:
            raise Enough

    with pytest.raises(Enough):
        await asyncio.wait_for(await_many_dispatch([numbers, letters], dispatch), 5)
    assert [item for item in seen if isinstance(item, int)] == [1, 2, 3]
    assert [item for item in seen if isinstance(item, str)] == ["a", "b", "c"]


async def test_a_busy_source_does_not_starve_the_others():
    async def busy():
        return "busy"

    seen = []

    async def dispatch(result):
        seen.append(result)
        if result == "quiet":
            raise Enough

    with pytest.raises(Enough):
        await asyncio.wait_for(await_many_dispatch([busy, Source("quiet")], dispatch), 5)
    assert len(seen) < 5


async def test_cancellation_leaves_no_source_running():
    sources = [Source(), Source()]

    async def dispatch(result):
        raise AssertionError(result)

    task = asyncio.create_task(await_many_dispatch(sources, dispatch))
    while not all(source.asked for source in sources):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(source.cancelled for source in sources)


async def test_what_a_source_raises_ends_the_wait():
    async def broken():
        raise Enough

    idle = Source()

    async def dispatch(result):
        raise AssertionError(result)

    with pytest.raises(Enough):
        await asyncio.wait_for(await_many_dispatch([idle, broken], dispatch), 5)
    assert idle.cancelled
