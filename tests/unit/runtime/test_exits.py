"""What application code raises that is no error, and a cancellation that nobody asked for."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from asgiref.sync import async_to_sync

from channels import signals
from channels._runtime.connections import connections
from channels._runtime.exits import (
    contained,
    current_task,
    is_crash,
    is_interrupt,
    signals_handled,
)
from channels.exceptions import ApplicationExit, ChannelsError
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from tests.asgi import Server, until
from tests.servers import ROOT

pytestmark = pytest.mark.usefixtures("layer")


class OwnExit(BaseException):
    pass


@pytest.fixture
def a_server_handles_sigint():
    """As behind a server: Ctrl-C raises nothing."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def crashes():
    told = []

    def listen(signal, sender, exception, **arguments):
        told.append(exception)

    signals.consumer_crashed.connect(listen)
    yield told
    signals.consumer_crashed.disconnect(listen)


async def wait_for_a_cancelled_task():
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def wait_for_a_cancelled_future():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


EXITS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), OwnExit()]
CANCELLATIONS = [wait_for_a_cancelled_task, wait_for_a_cancelled_future]
ALL = EXITS + CANCELLATIONS


def make(base, place, what):
    """A consumer that fails as told, in the method of this name."""

    async def fail():
        if isinstance(what, BaseException):
            raise what
        await what()

    codes = []

    class Consumer(base):
        pass

    if base is AsyncWebsocketConsumer:

        async def failing(self, *args, **kwargs):
            await fail()

        async def disconnect(self, code):
            codes.append(code)
    else:

        def failing(self, *args, **kwargs):
            if isinstance(what, BaseException):
                raise what
            async_to_sync(fail)()

        def disconnect(self, code):
            codes.append(code)

    Consumer.disconnect = disconnect
    setattr(Consumer, place, failing)
    Consumer.codes = codes
    return Consumer


@pytest.fixture(params=[AsyncWebsocketConsumer, WebsocketConsumer])
def base(request):
    return request.param


@pytest.mark.usefixtures("a_server_handles_sigint")
@pytest.mark.parametrize("what", ALL)
async def test_it_is_a_crash_of_the_connection(base, what, crashes, caplog):
    consumer = make(base, "receive", what)
    server = await Server(consumer.as_asgi()).connect()
    server.text("x")
    await until(lambda: len(server.sent) > 1)
    assert server.sent[1:] == [{"type": "websocket.close", "code": 1011}]
    await server.leave(1011)  # raises nothing, so the server has nothing to log
    assert consumer.codes == [1011]
    assert len(crashes) == 1
    [record] = caplog.records
    assert record.name == "channels.consumer"
    assert "crashed" in record.message
    assert record.exc_info[1] is crashes[0]


@pytest.mark.usefixtures("a_server_handles_sigint")
@pytest.mark.parametrize("what", ALL)
async def test_a_test_gets_an_exception_that_names_it(base, what):
    consumer = make(base, "receive", what)
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/ws/")
    assert await communicator.connect() == (True, None)
    await communicator.send_to(text_data="x")
    with pytest.raises(ApplicationExit, match=r"Consumer at /ws/|Consumer raised") as caught:
        await communicator.receive_from(timeout=5)
    assert isinstance(caught.value, ChannelsError)
    assert caught.value.__cause__ is not None
    assert consumer.codes == [1011]


@pytest.mark.parametrize("what", [SystemExit(3), wait_for_a_cancelled_task])
@pytest.mark.parametrize("place", ["connect", "websocket_connect"])
async def test_in_connect_the_handshake_is_refused(base, place, what, crashes):
    consumer = make(base, place, what)
    server = Server(consumer.as_asgi(), extensions={"websocket.http.response": {}})
    await server.connect()
    assert server.sent[0]["status"] == 500
    await server.leave(1006)
    assert len(crashes) == 1


@pytest.mark.parametrize("what", [SystemExit(3), wait_for_a_cancelled_task])
async def test_in_disconnect_it_is_one_entry(base, what, crashes, caplog):
    consumer = make(base, "disconnect", what)
    server = await Server(consumer.as_asgi()).connect()
    await server.leave()
    assert len(crashes) == len(caplog.records) == 1


@pytest.mark.parametrize("what", [SystemExit(3), wait_for_a_cancelled_task])
async def test_a_disconnect_that_no_event_has_brought(base, what, crashes, caplog):
    """The server goes first: its cancellation is what it learns of, and the log of the failure."""
    consumer = make(base, "disconnect", what)
    server = await Server(consumer.as_asgi()).connect()
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.ended()
    assert len(crashes) == len(caplog.records) == 1
    assert "failed while it was disconnecting" in caplog.text


@pytest.mark.parametrize("what", [SystemExit(3), wait_for_a_cancelled_task])
async def test_a_receive_that_raises_ends_one_connection_only(base, what, crashes):
    """A middleware between the server and the consumer has wrapped ``receive``."""
    consumer = make(base, "unused", what)

    async def application(scope, receive, send):
        async def failing():
            event = await receive()
            if event["type"] == "websocket.receive":
                if isinstance(what, BaseException):
                    raise what
                await what()
            return event

        await consumer.as_asgi()(scope, failing, send)

    server = await Server(application).connect()
    server.text("x")
    await until(server.task.done)
    server.task.result()
    assert consumer.codes == [1011]
    assert len(crashes) == 1


@pytest.mark.parametrize("what", [SystemExit(3), OwnExit(), asyncio.CancelledError()])
async def test_a_layer_that_knows_only_receive_fails(base, what, crashes):
    class Layer:
        async def new_channel(self):
            return "name"

        async def receive(self, channel):
            raise what

    consumer = make(base, "unused", what)
    channel_layers.set("default", Layer())
    server = await Server(consumer.as_asgi()).connect()
    await until(lambda: len(server.sent) > 1)
    assert server.sent[-1] == {"type": "websocket.close", "code": 1011}
    await server.leave(1011)
    assert len(crashes) == 1


async def test_the_constructor(base):
    class Consumer(base):
        def __init__(self):
            sys.exit(3)

    with pytest.raises(ApplicationExit, match=r"Consumer\.__init__\(\) raised SystemExit\(3\)"):
        await Server(Consumer.as_asgi()).start().ended()


async def test_the_first_failure_is_what_is_told_though_a_cancellation_follows():
    """Whoever waits for a crashed application gives up while ``disconnect()`` still runs."""
    disconnecting = asyncio.Event()

    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            raise ValueError("the first failure")

        async def disconnect(self, code):
            disconnecting.set()
            await asyncio.sleep(60)

    communicator = WebsocketCommunicator(Consumer.as_asgi(), "/ws/")
    await communicator.connect()
    await communicator.send_to(text_data="x")
    await disconnecting.wait()
    communicator.future.cancel()
    with pytest.raises(ValueError, match="the first failure"):
        await communicator.wait(timeout=5)


@pytest.mark.parametrize("what", [SystemExit(3), OwnExit(), asyncio.CancelledError()])
async def test_a_receiver_of_a_signal(base, what, caplog):
    heard = []

    def fail(**kwargs):
        raise what

    def hear(**kwargs):
        heard.append(kwargs["signal"])

    consumer = make(base, "unused", what)
    for signal_ in (signals.connection_opened, signals.connection_closed):
        signal_.connect(fail)
        signal_.connect(hear)
    try:
        server = await Server(consumer.as_asgi()).connect()
        assert server.types() == ["websocket.accept"]
        await server.leave()
    finally:
        for signal_ in (signals.connection_opened, signals.connection_closed):
            signal_.disconnect(fail)
            signal_.disconnect(hear)
    assert heard == [signals.connection_opened, signals.connection_closed]
    assert [record.name for record in caplog.records] == ["django.dispatch"] * 2
    assert "test_a_receiver_of_a_signal.<locals>.fail" in caplog.text
    assert consumer.codes == [1001]


async def test_a_requested_cancellation_is_no_crash(crashes):
    task = asyncio.current_task()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await asyncio.sleep(0)
    assert not is_crash(caught.value, task)
    assert is_crash(caught.value, task, 1)
    task.uncancel()
    assert is_crash(caught.value, task)
    assert not is_crash(caught.value, None)


def test_a_coroutine_that_is_closed_is_no_crash():
    assert not is_crash(GeneratorExit(), None)


def test_an_error_needs_no_other_in_its_place():
    error = ValueError()
    assert contained(error, "x") is error


@pytest.mark.usefixtures("measured_processes")
@pytest.mark.parametrize("run", ["asyncio.run(main())", "loop.run_until_complete(main())"])
def test_ctrl_c_still_ends_the_process(run):
    """Where no server handles SIGINT, and a handler runs in the main thread."""
    script = f"""
        import asyncio, os, signal, time
        from django.conf import settings
        settings.configure(CHANNEL_LAYERS={{}})
        from channels.generic.websocket import AsyncWebsocketConsumer
        from tests.asgi import Server

        class Consumer(AsyncWebsocketConsumer):
            async def receive(self, text_data=None, bytes_data=None):
                for _ in range(2):  # asyncio.run() cancels at the first
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.01)

            async def disconnect(self, code):
                print("disconnect", code, flush=True)

        async def main():
            server = await Server(Consumer.as_asgi()).connect()
            server.text("x")
            await asyncio.sleep(60)

        loop = asyncio.new_event_loop()
        {run}
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == -signal.SIGINT, result.stderr
    if run.startswith("asyncio"):  # which lets tasks finish
        assert result.stdout == "disconnect 1012\n"


def test_interrupts_are_the_applications_where_none_can_come(a_server_handles_sigint):
    assert not is_interrupt(KeyboardInterrupt())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert is_interrupt(KeyboardInterrupt())
    assert not is_interrupt(SystemExit())


@pytest.mark.parametrize("late", [True, False])
async def test_a_send_that_exits_outside_of_handlers_ends_one_connection_only(late, crashes):
    """A middleware has wrapped ``send``, and what is sent then comes from the runtime."""

    async def fail(message):
        if message["type"] != "websocket.accept":
            sys.exit(3)

    class Consumer(AsyncWebsocketConsumer):
        handshake_timeout = 0.01
        codes: ClassVar[list] = []

        async def connect(self):
            if not late:
                await self.accept()

        async def disconnect(self, code):
            self.codes.append(code)

    server = Server(Consumer.as_asgi())
    server.on_send = fail
    server.put("websocket.connect")
    server.start()
    if not late:
        await until(lambda: server.sent)
        [connection] = connections.get().open
        task = connection.drain()
        await until(task.done)
        server.put("websocket.disconnect", code=1012)
    await until(server.task.done)
    server.task.result()
    assert len(Consumer.codes) == len(crashes) == 1


def test_no_ctrl_c_comes_to_another_thread_than_the_main_one(a_server_handles_sigint):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(is_interrupt, KeyboardInterrupt()).result()


def test_where_no_event_loop_runs_there_is_no_current_task():
    assert current_task() is None


async def test_signals_are_handled_as_long_as_the_block_runs():
    before, told = signal.getsignal(signal.SIGTERM), []
    with signals_handled(lambda: told.append("stop"), lambda: told.append("give up")):
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: told == ["stop"])
        while told != ["stop", "give up"]:  # what comes at once is the same request
            assert len(told) == 1
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.05)
    assert signal.getsignal(signal.SIGTERM) == before


async def test_two_signals_that_come_together_are_one_request(monkeypatch):
    told, asked = [], []
    moments = [1.0, 1.4, 1.6, 1.7]
    monkeypatch.setattr(
        "channels._runtime.clock.now", lambda: asked.append(None) or moments[len(asked) - 1]
    )
    with signals_handled(lambda: told.append("stop"), lambda: told.append("give up")):
        for handled in range(len(moments)):
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda handled=handled: len(asked) > handled)
    assert told == ["stop", "give up", "give up"]


def test_signals_are_left_alone_in_another_thread():
    async def main():
        with signals_handled(lambda: None, lambda: None):
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, main()).result() == signal.getsignal(signal.SIGTERM)
