"""Celery's workers send to consumers: a real worker process, a real server, a real broker."""

import json
import re
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from celery import Celery
from websockets.sync.client import connect

from tests.brokers import running
from tests.processes import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60
TASKS = "tests.celeryapp.tasks."
WAYS = ["by_facade", "by_async_to_sync", "on_commit"]

LAYERS = ["channels_redis.core.RedisChannelLayer", "channels_redis.pubsub.RedisPubSubChannelLayer"]

# At most, at the broker of the layer: two of the server, of which one listens, and one for each
# process of a worker, which is one or is the parent of two.
CONNECTIONS = {"prefork": 2 + 3, "threads": 2 + 1}

pytestmark = pytest.mark.server


class Worker(ServerProcess):
    """A worker process of Celery with two processes or threads in its pool."""

    def __init__(self, pool, *options, log, env):
        command = [
            *("-W", "always", "-W", "ignore:You're running the worker with superuser"),
            *("-m", "celery", "-A", "tests.celeryapp.celery", "worker", "--loglevel=INFO"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            *(f"--pool={pool}", "--concurrency=2", *options),
        ]
        super().__init__(command, cwd=ROOT, log=log, env=env)

    def is_up(self):
        return " ready." in self.output

    def complaints(self):
        """Lines of the log that tell of something wrong."""
        wrong = re.compile(r"warn|error|critical|traceback|event loop|never|leak", re.IGNORECASE)
        return [line for line in self.output.splitlines() if wrong.search(line)]

    def end(self):
        """Ask it to finish its tasks and stop, as a deployment does."""
        self.terminate()
        self.wait()
        assert self.process.returncode == 0


class Site:
    """The project's server, its brokers, and what the tests do with them."""

    def __init__(self, folder, layer, broker, celery_broker):
        self.broker, self.folder, self.layer = broker, folder, layer
        self.env = {
            "CELERYAPP_BROKER": f"redis://127.0.0.1:{celery_broker.port}/1",
            "CELERYAPP_LAYER": broker.url,
            "CELERYAPP_BACKEND": layer,
            "CELERYAPP_DATABASE": str(folder / "db.sqlite3"),
            "C_FORCE_ROOT": "1",  # containers of CI may run as root
        }
        self.celery = Celery(
            "tests", broker=self.env["CELERYAPP_BROKER"], set_as_current=False, fixups=[]
        )
        self.server = ServerProcess(
            [
                *("-m", "uvicorn", "--port={port}", "--log-level=warning"),
                "tests.celeryapp.asgi:application",
            ],
            cwd=ROOT,
            log=folder / "server.log",
            env=self.env,
        )

    def enqueue(self, task, *arguments, **options):
        self.celery.send_task(TASKS + task, arguments, ignore_result=True, **options)

    @contextmanager
    def worker(self, *options, silent=True, **env):
        log = self.folder / f"worker-{time.monotonic_ns()}.log"
        with Worker(*options, log=log, env=self.env | env) as worker:
            yield worker
        assert not silent or worker.complaints() == []

    @contextmanager
    def listener(self, group):
        with connect(f"{self.server.ws_url}/listen/{group}/", max_queue=None) as client:
            listener = Listener(client)
            yield listener
            assert listener.rest() == []

    def connections(self):
        """The broker's clients that are the layer's, of the server and of the workers."""
        with self.broker.client() as client:
            return len(client.client_list()) - 1


class Listener:
    """A client of the site, to whom a consumer passes on what it receives."""

    def __init__(self, client):
        self._client = client
        self.channel = self.next()["channel"]

    def next(self, seconds=DEADLINE):
        return json.loads(self._client.recv(seconds))

    def next_report(self, seconds=DEADLINE):
        """The next message that is no notice of a gap."""
        while (message := self.next(seconds))["type"] == "layer.gap":
            pass
        return message

    def reports(self, count):
        """The numbers of the next reports, by sender."""
        found = defaultdict(list)
        for _ in range(count):
            report = self.next_report()
            found[report["sender"]].append(report["n"])
        return dict(found)

    def until(self, is_last):
        """The next messages, up to the one for which this is true."""
        found = []
        while not found or not is_last(found[-1]):
            found.append(self.next())
        return found

    def rest(self):
        """What comes until nothing does for a moment."""
        found = []
        with suppress(TimeoutError):
            while True:
                found.append(self.next(0.05))
        return found


def wait_until(condition, seconds=DEADLINE):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def running_site(*arguments):
    site = Site(*arguments)
    with site.server:
        yield site
    site.celery.close()


@contextmanager
def silent_site(folder, layer):
    with (
        running("valkey") as broker,
        running("valkey") as celery_broker,
        running_site(folder, layer, broker, celery_broker) as site,
    ):
        yield site
    assert site.server.output == ""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with silent_site(tmp_path_factory.mktemp("site"), LAYERS[0]) as site:
        yield site


@pytest.fixture(scope="module")
def worker(site):
    with site.worker("prefork", silent=False) as worker:
        yield worker
    assert all("Soft time limit" in line for line in worker.complaints())


@pytest.fixture
def room(site, worker):
    with site.listener("room") as listener:
        yield listener


class TestSending:
    """What every task does, with Celery's usual pool."""

    def test_thousands_of_messages_arrive_in_order_over_a_connection_for_each_process(
        self, site, worker, room
    ):
        for way in WAYS:
            site.enqueue("send", "room", way, 1000, way)
        assert room.reports(3000) == {way: list(range(1000)) for way in WAYS}
        pids = set()
        for number in range(200):
            site.enqueue("one_of_many", "room", number)
        for _ in range(200):
            pids.add(room.next()["pid"])
        assert worker.process.pid not in pids
        assert len(pids) == 2
        assert site.connections() == CONNECTIONS["prefork"]

    def test_a_task_answers_the_consumer_that_asked(self, site, room):
        site.enqueue("answer", room.channel, "answer")
        assert room.reports(1) == {"answer": [0]}

    def test_a_task_shows_its_progress_over_several_attempts(self, site, worker):
        with site.listener("progress") as page:
            site.enqueue("work", "progress")
            heard = page.until(lambda message: message["job"]["state"] == "finished")
        jobs = [message["job"] for message in heard]
        states = [job["state"] for job in jobs]
        queued = states.index("queued")
        assert {*states[:queued], *states[queued + 1 : -1]} == {"running"}
        revisions = [job["revision"] for job in jobs]
        assert revisions == sorted(set(revisions))
        assert jobs[-1]["percent"] == 100

    @pytest.mark.parametrize("way", ["by_facade", "by_async_to_sync"])
    def test_a_soft_time_limit_in_the_middle_of_sending_hurts_no_later_task(self, site, room, way):
        with site.listener("stopped") as stopped:
            site.enqueue("send_until_stopped", "stopped", way, way, soft_time_limit=0.3)
            *reports, last = stopped.until(lambda message: "stopped" in message)
            for number in range(4):
                site.enqueue("send", "room", f"{number}", 50, way)
            assert room.reports(200) == {f"{number}": list(range(50)) for number in range(4)}
            # The message that the limit interrupted may be sent or not; asgiref's thread, which is
            # not interrupted, may send it after the last.
            numbers = [report["n"] for report in [*reports, *stopped.rest()]]
            assert numbers in (list(range(last["n"])), list(range(last["n"] + 1)))


@pytest.fixture(params=LAYERS, ids=["core", "pubsub"])
def other_site(request, tmp_path):
    """One that each test has to itself, with each of the layers in turn."""
    with silent_site(tmp_path, request.param) as site:
        yield site


# The pool decides which process sends, the layer what it sends, and nothing depends on both. So two
# pairs have all of it; the pairs of TestPools are not those of TestBroker.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("other_site", "pool"),
    [
        pytest.param(LAYERS[0], "threads", id="core-threads"),
        pytest.param(LAYERS[1], "prefork", id="pubsub-prefork"),
    ],
    indirect=["other_site"],
)
class TestPools:
    def test_neither_connections_nor_memory_grow_with_the_messages(self, other_site, pool):
        def send(count):
            for number, way in enumerate(WAYS * 2):
                other_site.enqueue("send", "room", f"{number}", count, way)
            expected = {f"{number}": list(range(count)) for number in range(6)}
            assert room.reports(6 * count) == expected
            assert other_site.connections() <= CONNECTIONS[pool]
            return worker.resident_bytes()

        with other_site.worker(pool) as worker, other_site.listener("room") as room:
            memory = send(300)
            send(1000)
            assert send(300) - memory < 4 * 2**20

    def test_a_worker_that_is_to_stop_sends_what_its_tasks_have_to_send(self, other_site, pool):
        with other_site.worker(pool) as worker, other_site.listener("room") as room:
            for number in range(2):
                other_site.enqueue("send_slowly", "room", f"{number}", 100)
            first = [room.next_report() for _ in range(20)]
            worker.end()
            rest = room.reports(180)
        for sender, numbers in rest.items():
            before = [report["n"] for report in first if report["sender"] == sender]
            assert before + numbers == list(range(100))

    def test_an_idle_worker_stops_at_once(self, other_site, pool):
        with other_site.worker(pool) as worker, other_site.listener("room") as room:
            other_site.enqueue("send", "room", "a", 1, "by_async_to_sync")
            assert room.reports(1) == {"a": [0]}
            before = time.monotonic()
            worker.end()
            assert time.monotonic() - before < 10


@pytest.mark.slow
class TestProcesses:
    """Processes of the prefork pool come and go."""

    def test_each_of_those_that_follow_one_another_has_its_own_connection(self, other_site):
        options = ("prefork", "--max-tasks-per-child=5")
        with other_site.worker(*options), other_site.listener("room") as room:
            for number in range(60):
                other_site.enqueue("one_of_many", "room", number)
            reports = [room.next_report() for _ in range(60)]
            assert sorted(report["n"] for report in reports) == list(range(60))
            assert len({report["pid"] for report in reports}) >= 10
            wait_until(lambda: other_site.connections() <= CONNECTIONS["prefork"])

    def test_one_that_is_killed_in_the_middle_of_sending_is_replaced(self, other_site):
        with (
            other_site.worker("prefork", silent=False) as worker,
            other_site.listener("room") as room,
        ):
            other_site.enqueue("send_until_stopped", "room", "a", "by_facade", time_limit=1)
            wait_until(lambda: "Hard time limit" in worker.output)
            for number in range(60):
                other_site.enqueue("one_of_many", "room", number)
            heard = defaultdict(list)
            while len(heard["many"]) < 60:
                report = room.next_report()
                heard[report["sender"]].append(report["n"])
            assert sorted(heard["many"]) == list(range(60))
            assert heard["a"] == list(range(len(heard["a"])))
            wait_until(lambda: other_site.connections() <= CONNECTIONS["prefork"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "pool"),
    [
        pytest.param(LAYERS[0], "prefork", id="core-prefork"),
        pytest.param(LAYERS[1], "threads", id="pubsub-threads"),
    ],
)
class TestBroker:
    """A broker that goes away in the middle of sending, and comes back with its data."""

    def test_tasks_go_on_sending_when_that_of_the_layer_and_of_celery_restarts(
        self, tmp_path, pool, layer
    ):
        with (
            running("valkey", "--appendonly", "yes") as broker,
            running_site(tmp_path, layer, broker, broker) as site,
            site.worker(pool, silent=False) as worker,
            site.listener("room") as room,
        ):
            site.enqueue("send_slowly", "room", "a", 200)
            first = [room.next_report()["n"] for _ in range(20)]
            broker.kill()
            broker.start()
            rest = room.until(lambda message: message.get("n") == 199)
            numbers = first + [each["n"] for each in rest if each["type"] == "report"]
            if layer == LAYERS[0]:
                assert numbers == list(range(200))
            else:  # what is published until the server has subscribed again is lost, and reported
                assert "layer.gap" in {each["type"] for each in rest}
                assert numbers == sorted(set(numbers))
            wait_until(lambda: "succeeded" in worker.output)

    def test_tasks_fail_when_that_of_the_layer_stays_away_and_celery_tries_them_again(
        self, tmp_path, pool, layer
    ):
        with (
            running("valkey", "--appendonly", "yes") as broker,
            running("valkey") as celery_broker,
            running_site(tmp_path, layer, broker, celery_broker) as site,
            site.worker(pool, silent=False, CELERYAPP_PATIENCE="0.5") as worker,
            site.listener("room") as room,
        ):
            broker.kill()
            site.enqueue("insist", "room", "a")
            wait_until(lambda: re.search(r"Retry in .*BrokerUnavailable", worker.output))
            broker.start()
            wait_until(lambda: "succeeded" in worker.output)
            messages = [room.next(), *room.rest()]
            if layer == LAYERS[0]:
                assert [message["retries"] >= 1 for message in messages] == [True]
            else:  # the server may not have subscribed again when it was published
                assert {message["type"] for message in messages} >= {"layer.gap"}
