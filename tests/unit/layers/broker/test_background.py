import asyncio

import pytest

from channels.layers.broker.background import Background

from ....asgi import until


@pytest.fixture
def background():
    return Background()


async def test_callbacks_are_called_and_coroutine_functions_awaited(background):
    called = []

    async def coroutine_function():
        await asyncio.sleep(0)
        called.append("awaited")

    background.call(lambda: called.append("called"))
    background.call(None)
    background.call(coroutine_function)
    assert called == ["called"]
    await until(lambda: called == ["called", "awaited"])


async def test_errors_are_logged(background, caplog):
    async def fail():
        raise ValueError("later")

    background.call(lambda: 1 / 0)
    background.call(fail)
    await until(lambda: len(caplog.records) == 2)
    assert "failed" in caplog.records[0].message
    assert str(caplog.records[1].exc_info[1]) == "later"


async def test_a_callback_that_is_cancelled_is_not_logged(background, caplog):
    ended = asyncio.Event()

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    background.start(wait())
    await asyncio.sleep(0)
    background.cancel()
    await asyncio.wait_for(ended.wait(), 5)
    assert caplog.records == []
