import asyncio

from channels.contrib.admin.asking import Asking, pause_after
from channels.live import Query
from channels.live.figures import Process
from channels.live.rates import overview


async def test_all_who_wait_share_one_question(monkeypatch):
    from channels.contrib.admin import asking

    asked = []

    async def aask_connections(query, offset, seconds):
        asked.append((query.text, offset))
        await asyncio.sleep(0)
        return 0, []

    monkeypatch.setattr(asking, "aask_connections", aask_connections)
    ask = Asking()
    same = [ask.connections(Query(text="a"), 0) for _ in range(5)]
    await asyncio.gather(*same, ask.connections(Query(text="a"), 10_000))
    assert sorted(asked) == [("a", 0), ("a", 500)]
    await ask.connections(Query(text="a"), 0)
    assert len(asked) == 3
    assert ask._running == {}


async def test_one_who_leaves_takes_nothing_from_the_others(monkeypatch):
    from channels.contrib.admin import asking

    go_on = asyncio.Event()

    async def aask_connections(query, offset, seconds):
        await go_on.wait()
        return 1, []

    monkeypatch.setattr(asking, "aask_connections", aask_connections)
    ask = Asking()
    leaving, staying = (asyncio.create_task(ask.connections(Query(), 0)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    go_on.set()
    assert await staying == (1, [])


async def test_processes_that_need_more_time_get_it(monkeypatch):
    waits = []

    async def aask(seconds):
        waits.append(seconds)
        return overview([Process(process="p", clock=1.0, consumers={"x.Y": 20_000})])

    ask = Asking()
    monkeypatch.setattr(ask._look, "aask", aask)
    for _ in range(32):
        assert (await ask.overview())[1] == {}
    assert waits == [0.8, 3.2, *([1.6] * 29), 3.2]


def test_many_connections_make_longer_pauses():
    def pause(count):
        process = Process(process="p", clock=1.0, consumers={"x.Y": count})
        return pause_after(overview([process]))

    assert pause_after(overview([])) == pause(10) == 1.0
    assert pause(100_000) == 10.0
