"""The layer's blocking methods, and messages that wait for the database."""

import asyncio
import gc
import threading
import time
from datetime import UTC, datetime

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from django.db.utils import ConnectionDoesNotExist

from channels._runtime.loops import bridge
from channels.exceptions import (
    ChannelFull,
    ChannelsError,
    InvalidChannelLayerError,
    NotSupported,
    SerializationError,
)
from channels.layers import (
    BaseChannelLayer,
    InMemoryChannelLayer,
    SyncChannelLayer,
    channel_layers,
    get_channel_layer,
    get_sync_channel_layer,
    group_send_on_commit,
    send_on_commit,
)
from channels.layers.sync import CallTimeout, EventLoopRunning

from .broker.loopback import LoopbackLayer
from .helpers import message

DEADLINE = 10


class Foreign(BaseChannelLayer):
    """Knows nothing of this package but the base class. Its queues belong to one event loop."""

    def __init__(self):
        super().__init__()
        self.queues = {}
        self.loops = set()

    def queue(self, channel):
        self.loops.add(asyncio.get_running_loop())
        return self.queues.setdefault(channel, asyncio.Queue())

    async def new_channel(self, prefix="specific"):
        return f"{prefix}!{len(self.queues)}"

    async def send(self, channel, message):
        await asyncio.sleep(0)
        self.queue(channel).put_nowait(message)

    async def receive(self, channel):
        return await self.queue(channel).get()

    async def group_send(self, group, message):
        await asyncio.Event().wait()


@pytest.fixture
def layer():
    """The project's default layer."""
    layer = InMemoryChannelLayer(capacity=3)
    old = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", old)


@pytest.fixture
def foreign():
    layer = Foreign()
    old = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", old)


def waiting_in(layer, channel):
    mailbox = layer.channels.get(channel)
    return 0 if mailbox is None else mailbox.qsize()


class TestGet:
    def test_stands_for_the_projects_layer(self, layer):
        assert get_sync_channel_layer().layer is layer

    def test_an_alias_that_is_not_configured_is_named(self):
        with pytest.raises(InvalidChannelLayerError, match="no layer 'nonesuch'"):
            get_sync_channel_layer("nonesuch")

    def test_says_what_it_is(self, layer):
        assert "InMemoryChannelLayer" in repr(get_sync_channel_layer())


class TestSyncChannelLayer:
    def test_a_message_goes_from_thread_to_thread(self, layer):
        sync = get_sync_channel_layer()
        name = sync.new_channel()
        thread = threading.Thread(target=sync.send, args=(name, message(1)))
        thread.start()
        assert sync.receive(name, timeout=DEADLINE) == message(1)
        thread.join()

    def test_groups(self, layer):
        sync = get_sync_channel_layer()
        anna, ben = sync.new_channel(), sync.new_channel()
        sync.group_add("g", anna)
        sync.group_add("g", ben)
        sync.group_send("g", message(1))
        sync.group_discard("g", ben)
        sync.group_send("g", message(2))
        assert [sync.receive(anna, DEADLINE) for _ in range(2)] == [message(1), message(2)]
        assert sync.receive(ben, DEADLINE) == message(1)
        assert waiting_in(layer, ben) == 0

    async def test_what_is_sent_arrives_on_an_event_loop(self, layer):
        name = await layer.new_channel()
        receiving = asyncio.create_task(layer.receive(name))
        await asyncio.sleep(0)
        await asyncio.to_thread(get_sync_channel_layer().send, name, message(1))
        async with asyncio.timeout(DEADLINE):
            assert await receiving == message(1)

    def test_errors_are_those_of_the_layer(self, layer):
        sync = get_sync_channel_layer()
        for number in range(3):
            sync.send("full", message(number))
        with pytest.raises(ChannelFull):
            sync.send("full", message())
        with pytest.raises(TypeError, match="Group name must be"):
            sync.group_send("not a name", message())
        with pytest.raises(SerializationError):
            sync.send("channel", ["no", "dict"])

    def test_receive_gives_up_in_time_and_loses_nothing(self, layer):
        sync = get_sync_channel_layer()
        before = time.monotonic()
        with pytest.raises(CallTimeout) as caught:
            sync.receive("empty", timeout=0.05)
        assert 0.04 < time.monotonic() - before < DEADLINE
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, ChannelsError)
        sync.send("empty", message(1))
        assert sync.receive("empty", timeout=DEADLINE) == message(1)

    @pytest.mark.parametrize(
        ("method", "arguments"),
        [
            ("send", ("channel", {})),
            ("receive", ("channel",)),
            ("new_channel", ()),
            ("group_send", ("group", {})),
            ("group_add", ("group", "channel")),
            ("group_discard", ("group", "channel")),
        ],
    )
    async def test_where_an_event_loop_runs_it_names_the_coroutine(self, layer, method, arguments):
        with pytest.raises(EventLoopRunning, match=rf"await get_channel_layer\(\)\.{method}\("):
            getattr(get_sync_channel_layer(), method)(*arguments)

    def test_on_the_thread_that_carries_its_calls_it_names_greenlets(self, layer):
        # With gevent, threads are greenlets of one thread, where that event loop seems to run.
        async def another_greenlet():
            get_sync_channel_layer().send("channel", message(1))

        with pytest.raises(EventLoopRunning, match=r"greenlets here \(gevent or eventlet\)"):
            bridge.call(another_greenlet())

    async def test_works_in_a_sync_part_of_async_code(self, layer):
        await sync_to_async(get_sync_channel_layer().send)("channel", message(1))
        assert await layer.receive("channel") == message(1)

    def test_works_in_a_sync_part_of_async_code_of_sync_code(self, layer):
        send = sync_to_async(get_sync_channel_layer().send)
        async_to_sync(send)("channel", message(1))
        assert waiting_in(layer, "channel") == 1


class TestAnyLayer:
    def test_runs_on_one_loop_whatever_the_thread(self, foreign):
        sync = get_sync_channel_layer()
        threads = [
            threading.Thread(target=sync.send, args=("c", message(number))) for number in range(8)
        ]
        for thread in threads:
            thread.start()
        received = [sync.receive("c", DEADLINE)["n"] for _ in threads]
        for thread in threads:
            thread.join()
        assert sorted(received) == list(range(8))
        assert foreign.loops == {bridge.loop}

    def test_one_that_never_answers_does_not_hold_its_caller_for_ever(self, foreign):
        with pytest.raises(CallTimeout):
            get_sync_channel_layer(timeout=0.05).group_send("g", message())
        assert 0 < get_sync_channel_layer().timeout < 120

    def test_a_call_that_is_given_no_time_leaves_nothing_behind(self, foreign):
        for _ in range(20):
            with pytest.raises(CallTimeout):
                get_sync_channel_layer(timeout=0).group_send("g", message())
            with pytest.raises(CallTimeout):
                get_sync_channel_layer().receive("c", timeout=0)
        get_sync_channel_layer().send("c", message())
        gc.collect()  # would complain of coroutines that were never awaited

    def test_a_method_may_return_any_awaitable(self):
        class Odd:
            def send(self, channel, message):
                class Later:
                    def __await__(self):
                        yield from asyncio.sleep(0).__await__()
                        sent.append(message)

                return Later()

        sent = []
        SyncChannelLayer(Odd()).send("c", message(1))
        assert sent == [message(1)]


class TestImmediate:
    """A layer may say which of its coroutines never wait."""

    class Quick(Foreign):
        immediate = frozenset({"send"})

        async def send(self, channel, message):
            threads.add(threading.current_thread())

    @pytest.fixture(autouse=True)
    def threads(self):
        global threads
        threads = set()

    def test_these_run_in_the_calling_thread(self):
        SyncChannelLayer(self.Quick()).send("c", message())
        assert threads == {threading.current_thread()}

    def test_others_do_not(self):
        class Other(self.Quick):
            async def group_send(self, group, message):
                threads.add(threading.current_thread())

        SyncChannelLayer(Other()).group_send("g", message())
        assert threads.isdisjoint({threading.current_thread()})
        assert len(threads) == 1

    def test_a_subclass_that_overrides_one_is_not_taken_at_the_word_of_its_base(self):
        class Slow(self.Quick):
            async def send(self, channel, message):
                await asyncio.sleep(0)
                await super().send(channel, message)

        SyncChannelLayer(Slow()).send("c", message())
        assert threads.isdisjoint({threading.current_thread()})

    def test_nor_is_an_instance(self):
        async def send(channel, message):
            await asyncio.sleep(0)
            threads.add(threading.current_thread())

        layer = self.Quick()
        layer.send = send
        SyncChannelLayer(layer).send("c", message())
        assert threads.isdisjoint({threading.current_thread()})

    def test_the_in_memory_layer_needs_no_thread_but_to_receive(self, layer, monkeypatch):
        monkeypatch.setattr(bridge, "call", None)
        sync = get_sync_channel_layer()
        name = sync.new_channel()
        sync.group_add("g", name)
        sync.group_send("g", message(1))
        sync.send(name, message(2))
        sync.group_discard("g", name)
        assert waiting_in(layer, name) == 2

    def test_one_that_waits_after_all_is_an_error(self):
        class Liar(Foreign):
            immediate = frozenset({"group_send"})

            async def group_send(self, group, message):
                await asyncio.sleep(0)

        with pytest.raises(RuntimeError, match="declared immediate, but waits"):
            SyncChannelLayer(Liar()).group_send("g", message())


@pytest.mark.django_db(transaction=True)
class TestOnCommit:
    def test_is_sent_after_the_commit(self, layer):
        with transaction.atomic():
            send_on_commit("c", message(1))
            group_send_on_commit("g", message(2))
            async_to_sync(layer.group_add)("g", "d")
            assert waiting_in(layer, "c") == waiting_in(layer, "d") == 0
        assert async_to_sync(layer.receive)("c") == message(1)
        assert async_to_sync(layer.receive)("d") == message(2)

    def test_is_not_sent_after_a_rollback(self, layer):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            send_on_commit("c", message(1))
            raise ZeroDivisionError
        with transaction.atomic():
            send_on_commit("c", message(2))
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                send_on_commit("c", message(3))
                raise ZeroDivisionError
        assert waiting_in(layer, "c") == 1
        assert async_to_sync(layer.receive)("c") == message(2)

    def test_is_sent_at_once_without_a_transaction(self, layer):
        send_on_commit("c", message(1))
        assert waiting_in(layer, "c") == 1

    def test_is_sent_as_it_was_when_it_was_handed_in(self, layer):
        text = {"type": "t", "lines": ["first"]}
        with transaction.atomic():
            send_on_commit("c", text)
            text["lines"].append("second")
            text["type"] = "other"
        assert async_to_sync(layer.receive)("c") == {"type": "t", "lines": ["first"]}

    def test_keeps_the_order(self, layer):
        with transaction.atomic():
            for number in range(3):
                send_on_commit("c", message(number))
        assert [async_to_sync(layer.receive)("c")["n"] for _ in range(3)] == [0, 1, 2]

    def test_an_error_is_logged_and_breaks_nothing(self, layer, caplog):
        for number in range(3):
            async_to_sync(layer.send)("full", message(number))
        with transaction.atomic():
            send_on_commit("full", message(4))
            send_on_commit("c", message(5))
        assert waiting_in(layer, "c") == 1
        (record,) = (r for r in caplog.records if r.name.startswith("django.db"))
        assert record.levelname == "ERROR"
        assert "send to full" in record.getMessage()
        assert "ChannelFull" in caplog.text

    def test_what_a_lax_layer_takes_for_a_name_does_not_break_the_log(self, caplog):
        class Lax:
            async def send(self, channel, message):
                raise RuntimeError("cannot send")

        channel_layers.set("lax", Lax())
        try:
            send_on_commit("100 %s\nERROR forged", message(), alias="lax")
        finally:
            channel_layers.set("lax", None)
        (record,) = caplog.records
        # Newer versions of Django do not format the name of the function once more.
        assert "send to 100 %s" in record.getMessage().replace("%%", "%")
        assert "cannot send" in record.getMessage()
        assert "\n" not in record.getMessage()

    def test_an_error_without_a_transaction_is_logged_too(self, layer, caplog):
        for number in range(3):
            async_to_sync(layer.send)("full", message(number))
        send_on_commit("full", message(4))
        assert "ChannelFull" in caplog.text

    def test_a_layer_that_does_not_answer_holds_up_the_request_for_a_moment(self, foreign, caplog):
        group_send_on_commit("g", message(), timeout=0.05)
        assert "CallTimeout" in caplog.text

    def test_what_is_wrong_when_it_is_handed_in_is_raised_then(self, layer):
        with transaction.atomic():
            with pytest.raises(SerializationError, match="is nan"):
                send_on_commit("c", message(float("nan")))
            with pytest.raises(TypeError, match="Channel name must be"):
                send_on_commit("not a name", message())
            with pytest.raises(TypeError, match="Group name must be"):
                group_send_on_commit("not a name", message())
            with pytest.raises(SerializationError):
                send_on_commit("c", ["no", "dict"])
            with pytest.raises(SerializationError):
                group_send_on_commit("g", {"type": "t", "lock": threading.Lock()})
            with pytest.raises(InvalidChannelLayerError, match="nonesuch"):
                send_on_commit("c", message(), alias="nonesuch")

    def test_the_layer_is_the_one_of_the_alias(self, layer):
        other = InMemoryChannelLayer()
        channel_layers.set("other", other)
        try:
            send_on_commit("c", message(), alias="other")
        finally:
            channel_layers.set("other", None)
        assert waiting_in(other, "c") == 1
        assert waiting_in(layer, "c") == 0


def test_the_database_is_the_one_that_is_named(layer):
    with pytest.raises(ConnectionDoesNotExist, match="nonesuch"):
        send_on_commit("c", message(), using="nonesuch")
    with pytest.raises(ConnectionDoesNotExist, match="nonesuch"):
        group_send_on_commit("g", message(), using="nonesuch")


@pytest.mark.django_db
def test_in_a_test_case_callbacks_are_captured(django_capture_on_commit_callbacks, layer):
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        send_on_commit("c", message(1))
    assert len(callbacks) == 1
    assert waiting_in(get_channel_layer(), "c") == 1


@pytest.mark.parametrize("make", [InMemoryChannelLayer, LoopbackLayer])
def test_states_are_set_read_and_deleted(make):
    layer = SyncChannelLayer(make())
    assert layer.set_state("jobs", "one", {"n": 2}, 60, revision=2)
    assert not layer.set_state("jobs", "one", {"n": 1}, 60, revision=1)
    assert layer.get_state("jobs", "one") == {"n": 2}
    assert layer.get_states("jobs") == {"one": {"n": 2}}
    layer.delete_state("jobs", "one")
    assert layer.get_state("jobs", "one") is None


def test_a_layer_without_states_says_so():
    with pytest.raises(NotImplementedError, match="supports_state"):
        SyncChannelLayer(Foreign()).get_state("jobs", "one")


# Later, and again and again


def test_messages_are_scheduled_from_any_thread():
    layer = SyncChannelLayer(InMemoryChannelLayer())
    at = datetime.now(UTC)
    cancelled = layer.send_later("a", message(0), delay=0.01)
    assert layer.cancel_later(cancelled) is True
    assert layer.cancel_later(cancelled) is False
    layer.send_later("a", message(1), at=at)
    assert layer.receive("a", DEADLINE) == message(1)
    layer.group_add("group", "a")
    layer.group_send_later("group", message(2), delay=0)
    assert layer.receive("a", DEADLINE) == message(2)
    layer.send_every(0.1, "a", message(3), name="clock")
    assert layer.receive("a", DEADLINE) == message(3)
    layer.group_send_every(0.1, "group", message(4), name="clock")
    assert layer.receive("a", DEADLINE) == message(4)
    assert layer.cancel_every("clock") is True
    assert layer.cancel_every("clock") is False


@pytest.mark.parametrize("layer", [Foreign(), object.__new__(type("Bare", (), {}))])
def test_a_layer_that_sends_nothing_later_says_so(layer):
    with pytest.raises(NotSupported, match=f"{type(layer).__name__} has no send_later"):
        SyncChannelLayer(layer).send_later("a", message(), delay=1)
