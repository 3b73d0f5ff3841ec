"""Code without an event loop sends through a real broker: threads, forks, views, exits."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync

from channels.exceptions import BrokerUnavailable
from channels.layers import SyncChannelLayer
from channels.layers.redis import RedisChannelLayer
from channels.layers.redis.connection.commands import CommandConnection
from channels.layers.sync import CallTimeout
from tests.brokers import Broker, running
from tests.ports import free_port

from .callers import HERE, QUEUE, connections

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30
WAYS = ["facade", "async_to_sync"]

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def shared_broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
def broker(shared_broker):
    shared_broker.resume()
    shared_broker.cli("FLUSHALL")
    shared_broker.cli("CONFIG", "RESETSTAT")
    return shared_broker


@pytest.fixture(params=["core.RedisChannelLayer", "pubsub.RedisPubSubChannelLayer"])
def either_layer(request, monkeypatch):
    """The programs use each of the layers in turn. Their queues are the same."""
    monkeypatch.setenv("BACKEND", f"channels_redis.{request.param}")


@pytest.fixture
def layer(broker):
    layer = RedisChannelLayer(hosts=[broker.address], capacity=100_000)
    yield layer
    async_to_sync(layer.aclose)()


@contextmanager
def program(name, broker, *arguments):
    """A program under way, with every warning an error."""
    command = [
        sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning",
        "-m", HERE, name, str(broker.port), *map(str, arguments),
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(name, broker, *arguments, seconds=DEADLINE, complains=None):
    """Run a program to its end; returns what it printed.

    It must neither hang nor fail, nor complain, unless in one line at most of ``complains``.
    """
    with program(name, broker, *arguments) as process:
        output, errors = process.communicate(timeout=seconds)
    if complains and complains in errors:
        assert errors.count("\n") == 1
        errors = ""
    assert (process.returncode, errors) == (0, "")
    return output


def sent(layer, count):
    """The next messages of the queue: what each sender sent, in the order of arrival."""
    sync = SyncChannelLayer(layer)
    heard = defaultdict(list)
    for _ in range(count):
        message = sync.receive(QUEUE, timeout=DEADLINE)
        heard[message["sender"]].append(message["n"])
    with pytest.raises(CallTimeout):
        sync.receive(QUEUE, timeout=0.05)
    return dict(heard)


def connections_made(broker):
    """Connections that clients have opened since the statistics were reset, but for the test's."""
    with broker.client() as client:
        stats = client.info("stats")
    return stats["total_connections_received"] - 1


class Census:
    """Looks again and again at how many clients a broker has."""

    def __init__(self, broker):
        self._broker = broker
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0

    def _look(self):
        with self._broker.client() as client:
            while not self._over.wait(0.01):
                others = [c for c in client.client_list() if c["cmd"] != "client|list"]
                self.most = max(self.most, len(others))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._over.set()
        self._thread.join()


class TestThreads:
    @pytest.mark.slow
    @pytest.mark.parametrize("way", WAYS)
    def test_thousands_of_calls_from_twenty_threads_need_one_connection(self, broker, layer, way):
        with Census(broker) as census:
            run("threads", broker, way, 20, 150, seconds=120)
        assert census.most == 1
        assert connections_made(broker) <= 2  # the program's, and the census
        assert sent(layer, 3_000) == {sender: list(range(150)) for sender in range(20)}

    def test_both_ways_share_it(self, broker, layer):
        sync = SyncChannelLayer(layer)
        sync.send(QUEUE, {"type": "t", "sender": 1, "n": 0})
        async_to_sync(layer.send)(QUEUE, {"type": "t", "sender": 1, "n": 1})
        sync.group_send("group", {"type": "t"})
        async_to_sync(layer.group_send)("group", {"type": "t"})
        assert connections_made(broker) == 1
        assert sent(layer, 2) == {1: [0, 1]}


class TestProcesses:
    @pytest.mark.usefixtures("either_layer")
    @pytest.mark.parametrize("way", WAYS)
    def test_a_forked_child_has_a_connection_of_its_own(self, broker, layer, way):
        run("fork", broker, way)
        heard = sent(layer, 26)
        assert heard.pop("parent") == [0, 1, 2, 3, 4]
        assert heard.pop("child") == [0]
        assert heard == {sender: list(range(5)) for sender in range(4)}

    @pytest.mark.parametrize("way", WAYS)
    def test_a_fork_in_the_middle_of_sending_hurts_nobody(self, broker, layer, way):
        parents = int(run("fork_while_sending", broker, way, seconds=60))
        heard = sent(layer, parents + 10)
        assert heard.pop("children") == list(range(10))
        assert all(numbers == list(range(len(numbers))) for numbers in heard.values())

    # What is spawned has inherited nothing, so that one way is as good as another there.
    @pytest.mark.parametrize(
        ("method", "way"),
        [*(("fork", way) for way in WAYS), ("spawn", WAYS[0]), ("forkserver", WAYS[0])],
    )
    def test_multiprocessing(self, broker, layer, method, way):
        run("processes", broker, way, method, seconds=60)
        assert sent(layer, 4) == {"parent": [0, 1], "child": [0, 1]}


class TestExit:
    @pytest.mark.usefixtures("either_layer")
    @pytest.mark.parametrize("way", WAYS)
    def test_a_program_that_has_sent_exits_at_once_and_in_silence(self, broker, layer, way):
        run("exit_after", broker, way)
        assert sent(layer, 1) == {"main": [0]}

    @pytest.mark.usefixtures("either_layer")
    def test_so_does_one_that_was_receiving(self, broker):
        assert run("exit_while_reading", broker) == ""

    def test_what_a_daemon_thread_has_handed_in_is_sent_first(self, broker, layer):
        run("exit_with_daemon", broker)
        assert sent(layer, 1) == {"daemon": [0]}

    def test_threads_that_outlive_the_main_one_can_send(self, broker, layer):
        run("exit_with_thread", broker)
        assert sent(layer, 1 + 1) == {"main": [0], "thread": [0]}

    @pytest.mark.parametrize("way", WAYS)
    def test_handlers_of_atexit_can_send(self, broker, layer, way):
        run("exit_with_handler", broker, way)
        assert sent(layer, 1 + 1) == {"main": [0, 1]}

    def test_a_broker_that_is_down_does_not_delay_it_for_long(self):
        nowhere = Broker("no server", port=free_port())
        before = time.monotonic()
        output = run("exit_without_broker", nowhere, complains="does not work")
        assert output == "CallTimeout\n"
        assert time.monotonic() - before < 20

    @pytest.mark.parametrize("way", WAYS)
    def test_control_c_ends_a_call(self, broker, way):
        broker.pause()
        try:
            with program("interrupted", broker, way) as process:
                assert process.stdout.readline() == "ready\n"
                deadline = time.monotonic() + DEADLINE
                while process.poll() is None and time.monotonic() < deadline:
                    if connections(process.pid, broker.port):
                        break
                    time.sleep(0.01)
                process.send_signal(signal.SIGINT)
                if way == "async_to_sync":  # asgiref waits for its thread; the broker must answer
                    broker.resume()
                output, errors = process.communicate(timeout=DEADLINE)
        finally:
            broker.resume()
        assert (output, errors, process.returncode) == ("interrupted\n", "", 0)


class TestViews:
    def test_under_an_asgi_server(self, broker, layer, tmp_path):
        port = free_port()
        command = [
            sys.executable, "-W", "error", "-m", "uvicorn", "--factory", "--log-level=warning",
            f"--port={port}", "tests.integration.site:make_application",
        ]  # fmt: skip
        env = os.environ | {"BROKER_PORT": str(broker.port)}
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            wait_until_up(port, process)
            with Census(broker) as census:
                visit(port, ["async_to_sync", "facade", "await"])
            # One for the server's event loop, one for what blocks.
            assert census.most <= 2
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(DEADLINE)
        assert (tmp_path / "log").read_text() == ""
        assert_all_arrived(layer, ["async_to_sync", "facade", "await"])

    def test_under_a_wsgi_server_with_threads(self, broker, layer):
        with program("view_server", broker, "threads") as process:
            port = int(process.stdout.readline())
            with Census(broker) as census:
                visit(port, ["async_to_sync", "facade"])
            assert census.most == 1
            process.terminate()
            _, errors = process.communicate(timeout=DEADLINE)
        assert (process.returncode, errors) == (0, "")
        assert_all_arrived(layer, ["async_to_sync", "facade"])


def wait_until_up(port, process):
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/nowhere", timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the server did not come up")


def visit(port, ways):
    """Eight visitors make 25 requests each, one after the other."""

    def visitor(sender):
        for number in range(25):
            way = ways[number % len(ways)]
            url = f"http://127.0.0.1:{port}/{way}/{sender}/{number}"
            with urllib.request.urlopen(url, timeout=DEADLINE) as response:
                assert response.read() == b"sent"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visitor, range(8)))


def assert_all_arrived(layer, ways):
    assert sent(layer, 200) == {str(sender): list(range(25)) for sender in range(8)}


class TestFailures:
    @pytest.fixture
    def impatient(self, monkeypatch):
        """Half a second is all that a call to the broker is repeated."""
        monkeypatch.setitem(CommandConnection.__init__.__kwdefaults__, "patience", 0.5)

    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("way", WAYS)
    def test_a_broker_that_is_down_is_an_error_after_a_while(self, way):
        layer = RedisChannelLayer(hosts=[("127.0.0.1", free_port())])
        send = SyncChannelLayer(layer).send if way == "facade" else async_to_sync(layer.send)
        before = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            send(QUEUE, {"type": "t"})
        assert isinstance(caught.value, ConnectionError)
        assert time.monotonic() - before < 10
        async_to_sync(layer.aclose)()

    @pytest.mark.usefixtures("impatient")
    def test_so_it_is_for_each_of_many_threads(self):
        layer = RedisChannelLayer(hosts=[("127.0.0.1", free_port())])

        def attempt(_):
            with pytest.raises(BrokerUnavailable):
                SyncChannelLayer(layer).send(QUEUE, {"type": "t"})
            return True

        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(attempt, range(20))) == [True] * 20
        async_to_sync(layer.aclose)()

    def test_callers_may_be_less_patient(self, broker, layer):
        sync = SyncChannelLayer(layer, timeout=0.3)
        sync.send(QUEUE, {"type": "t", "sender": 1, "n": 0})
        broker.pause()
        try:
            before = time.monotonic()
            with pytest.raises(CallTimeout, match="may still take effect"):
                sync.send(QUEUE, {"type": "t", "sender": 1, "n": 1})
            assert 0.25 < time.monotonic() - before < 5
        finally:
            broker.resume()
        SyncChannelLayer(layer).send(QUEUE, {"type": "t", "sender": 1, "n": 2})
        assert sent(layer, 3) == {1: [0, 1, 2]}

    def test_a_broker_that_is_restarted_costs_callers_a_moment(self, layer, broker):
        sync = SyncChannelLayer(layer)
        sync.send(QUEUE, {"type": "t", "sender": 1, "n": 0})
        broker.kill()
        starting = threading.Timer(0.5, broker.start)
        starting.start()
        sync.send(QUEUE, {"type": "t", "sender": 1, "n": 1})
        starting.join()
        assert sent(layer, 1) == {1: [1]}

    def test_what_cannot_be_encoded_is_refused_before_the_commit(self, layer, settings):
        from channels.exceptions import SerializationError
        from channels.layers import channel_layers, send_on_commit

        old = channel_layers.set("default", layer)
        try:
            with pytest.raises(SerializationError):
                send_on_commit(QUEUE, {"type": "t", "thing": object()})
        finally:
            channel_layers.set("default", old)
