"""Calls over a connection that breaks: their order, what is repeated, what callers are told."""

import asyncio

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable, ChannelFull, Unconfirmed
from channels.layers.broker import Link, reconnecting


class Refused(Exception):
    """The broker will not answer otherwise in a moment."""


class Connection:
    def __init__(self):
        self.open = True


class MemoryLink(Link[Connection]):
    def __init__(self):
        super().__init__(lambda error: not isinstance(error, Refused), self.explain)
        self.made, self.refusals = [], []

    @staticmethod
    def explain(error):
        return BrokerError(f"It refused: {error!r}")

    async def connect(self):
        if self.refusals:
            raise self.refusals.pop()
        self.made.append(Connection())
        return self.made[-1]

    def is_open(self, connection):
        return connection.open

    def close(self, connection):
        connection.open = False


def failing(*errors, result="done"):
    """Something to do that fails so often."""
    left = list(errors)

    async def work(connection):
        if left:
            raise left.pop(0)
        return result

    return work


class TestLink:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        monkeypatch.setattr(reconnecting, "_BACKOFF_FIRST", 0.001)

    @pytest.fixture
    async def link(self):
        link = MemoryLink()
        yield link
        await link.aclose()

    async def test_calls_share_a_connection(self, link):
        found = [await link.call(failing(result=n)) for n in range(3)]
        assert (found, len(link.made)) == ([0, 1, 2], 1)

    async def test_calls_keep_their_order_while_one_is_repeated(self, link):
        done = []

        def noting(number, work):
            async def note(connection):
                await work(connection)
                done.append(number)

            return note

        broken = failing(ConnectionError("gone"), Exception("gone again"))
        await asyncio.gather(link.call(noting(1, broken)), link.call(noting(2, failing())))
        assert (done, len(link.made)) == ([1, 2], 3)
        assert [connection.open for connection in link.made] == [False, False, True]

    async def test_what_may_be_done_once_only_is_not_repeated(self, link):
        with pytest.raises(Unconfirmed, match="gone"):
            await link.call(failing(ConnectionError("gone")), repeat=False)

    async def test_what_has_not_begun_is_repeated(self, link):
        link.refusals.append(ConnectionRefusedError())
        assert await link.call(failing(), repeat=False) == "done"

    async def test_a_connection_that_was_closed_is_replaced(self, link):
        await link.call(failing())
        link.made[0].open = False
        assert await link.call(failing(), repeat=False) == "done"
        assert len(link.made) == 2

    async def test_a_refusal_is_explained(self, link):
        with pytest.raises(BrokerError, match="It refused"):
            await link.call(failing(Refused()))
        assert link.made[0].open

    async def test_an_error_of_channels_is_no_fault_of_the_connection(self, link):
        with pytest.raises(ChannelFull):
            await link.call(failing(ChannelFull("full")))
        assert link.made[0].open

    async def test_patience_ends(self, link, monkeypatch):
        monkeypatch.setattr("channels.layers.broker.link.PATIENCE", -1.0)
        link.refusals.append(ConnectionRefusedError("down"))
        with pytest.raises(BrokerUnavailable, match="down"):
            await link.call(failing())

    async def test_a_call_goes_on_without_its_caller(self, link):
        begun, done = asyncio.Event(), []

        async def work(connection):
            begun.set()
            await asyncio.sleep(0)
            done.append(connection)
            raise ConnectionError("nobody is told")

        caller = asyncio.create_task(link.call(work, repeat=False))
        await begun.wait()
        caller.cancel()
        await asyncio.wait([caller])
        await link.aclose()
        assert (caller.cancelled(), len(done)) == (True, 1)

    async def test_it_rests_unless_something_is_under_way(self, link):
        await link.call(failing())
        go_on = asyncio.Event()
        task = link.start(go_on.wait())
        await link.rest()
        assert link.made[0].open
        finishing = asyncio.create_task(link.finish())
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(task, finishing)
        await link.rest()
        await link.rest()
        assert not link.made[0].open

    async def test_the_connection_ends_with_its_event_loop(self):
        async def use():
            link = MemoryLink()
            await link.call(failing())
            return link

        link = await asyncio.to_thread(asyncio.run, use())
        assert not link.made[0].open

    async def test_a_link_that_is_left_behind_closes_its_connection(self, link):
        await link.call(failing())
        link.abandon()
        link.abandon()
        assert not link.made[0].open
