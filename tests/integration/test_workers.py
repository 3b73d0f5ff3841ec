"""Worker processes and a real broker: what was not begun is not lost, and nothing comes twice."""

import asyncio
import gc
import signal
import time
import weakref

import pytest
from asgiref.sync import async_to_sync

from channels.consumer import AsyncConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.worker import Worker
from tests.brokers import Broker, running
from tests.ports import free_port
from tests.unit.management.project import Project

from ..asgi import until

pytestmark = pytest.mark.server

LAYERS = {
    "channels_redis.core.RedisChannelLayer": RedisChannelLayer,
    "channels_redis.pubsub.RedisPubSubChannelLayer": RedisPubSubChannelLayer,
}

APPLICATION = """
import asyncio, sys, time
from pathlib import Path
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.layers.redis.queues import reader
from channels.routing import ChannelNameRouter, ProtocolTypeRouter

reader._BLOCK, reader._ABANDONED = 0.5, 1.0  # seconds; they would be 5 and 10

class Jobs(AsyncConsumer):
    async def job(self, message):
        print("begun", message["n"], flush=True)
        release = Path(f"release-{message['n']}")
        while message.get("wait") and not release.exists():
            await asyncio.sleep(0.01)
        print("done", message["n"], flush=True)

    async def leave(self, message):
        sys.exit(message["code"])

    async def interrupt(self, message):
        raise KeyboardInterrupt

    async def cancel(self, message):
        task = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    async def start_leaver(self, message):
        async def leaver():
            sys.exit(message["code"])
        self.task = asyncio.create_task(leaver())

class SyncJobs(SyncConsumer):
    def block(self, message):
        print("blocked", flush=True)
        time.sleep(600)

    def job(self, message):
        print("begun", message["n"], flush=True)

    def leave(self, message):
        sys.exit(message["code"])

application = ProtocolTypeRouter({
    "channel": ChannelNameRouter({"jobs": Jobs.as_asgi(), "sync": SyncJobs.as_asgi()}),
})
"""


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture(params=LAYERS)
def kind(request):
    return request.param


@pytest.fixture
def project(tmp_path, broker, kind):
    broker.cli("FLUSHALL")
    project = Project(tmp_path)
    project.write("mysite/asgi.py", APPLICATION)
    use(project, kind, broker.url)
    return project


def use(project, kind, url):
    """Give the project a layer."""
    layers = {"default": {"BACKEND": kind, "CONFIG": {"hosts": [url]}}}
    project.append("mysite/settings.py", f"CHANNEL_LAYERS = {layers!r}")


@pytest.fixture
async def layer(broker, kind):
    layer = LAYERS[kind](hosts=[broker.url])
    yield layer
    await layer.aclose()


@pytest.fixture
def queue(broker):
    """What the server knows of the queue: how many messages, and how many of them handed out."""

    def queue():
        with broker.client() as client:
            name = "{asgi:0}:queue:jobs"
            return client.xlen(name), client.xpending(name, "readers")["pending"]

    return queue


async def wait_for(worker, text, times=1):
    await asyncio.to_thread(worker.wait_for, text, times)


async def ended(worker):
    return await asyncio.to_thread(worker.wait)


def readers_that_wait(broker):
    return broker.cli("INFO", "clients")["blocked_clients"]


async def listening(worker, broker, readers=1):
    """Wait until this many workers wait for a message."""
    await wait_for(worker, "Listening to")
    await until(lambda: readers_that_wait(broker) >= readers, 30)


async def stop_while_it_waits(worker, broker):
    """Stop the only worker while it waits for a message, which is then handed to it."""
    await listening(worker, broker)

    def waits():
        worker.process.send_signal(signal.SIGSTOP)
        if readers_that_wait(broker):
            return True
        worker.process.send_signal(signal.SIGCONT)  # it was between two calls
        return False

    await until(waits, 30)


async def test_an_idle_worker_has_at_once_what_a_busy_one_has_not_begun(project, layer, broker):
    with project.manage("runworker", "jobs") as busy:
        await listening(busy, broker)
        await layer.send("jobs", {"type": "job", "n": 1, "wait": True})
        await wait_for(busy, "begun 1")
        await layer.send("jobs", {"type": "job", "n": 2})
        with project.manage("runworker", "jobs") as idle:
            await wait_for(idle, "done 2")
            assert "begun 2" not in busy.output
            project.write("release-1", "")
            await wait_for(busy, "done 1")


async def test_a_worker_that_comes_late_sends_what_is_overdue_and_then_in_time(project, layer):
    await layer.send_later("jobs", {"type": "job", "n": 1}, delay=0)
    await layer.send_later("jobs", {"type": "job", "n": 2}, delay=0.01)
    with (
        project.manage("runworker", "jobs") as first,
        project.manage("runworker", "jobs") as second,
    ):
        await until(lambda: "done 2" in first.output + second.output, 20)
        await layer.send_later("jobs", {"type": "job", "n": 3}, delay=0.1)
        await until(lambda: "done 3" in first.output + second.output, 20)
    both = first.output + second.output
    assert [both.count(f"begun {number}") for number in (1, 2, 3)] == [1, 1, 1]


async def test_a_worker_that_ends_leaves_in_place_what_it_has_not_begun(project, layer, broker):
    with project.manage("runworker", "jobs") as worker:
        await listening(worker, broker)
        for n in range(1, 6):
            await layer.send("jobs", {"type": "job", "n": n, "wait": True})
        await wait_for(worker, "begun 1")
        worker.process.send_signal(signal.SIGTERM)
        project.write("release-1", "")
        assert await ended(worker) == 0
        assert "done 1" in worker.output
        assert "begun 2" not in worker.output
    async with asyncio.timeout(20):
        assert [(await layer.receive("jobs"))["n"] for _ in range(4)] == [2, 3, 4, 5]


async def test_a_worker_that_idles_takes_nothing_along_when_it_ends(project, layer, broker, queue):
    """Messages that come at the very moment: each is either done or still there."""
    with project.manage("runworker", "jobs") as worker:
        await listening(worker, broker)
        sent = 0
        worker.process.send_signal(signal.SIGTERM)
        while worker.process.poll() is None and sent < 90:
            await layer.send("jobs", {"type": "job", "n": sent})
            sent += 1
        assert await ended(worker) == 0
        done = worker.output.count("done")
    left = []
    async with asyncio.timeout(20):
        while len(left) < sent - done:
            left.append((await layer.receive("jobs"))["n"])
    # One that it was about to have may have gone back to the end.
    assert sorted(left) == list(range(done, sent))
    assert queue() == (0, 0)


async def test_a_killed_worker_takes_along_only_what_it_has_begun(project, layer, broker, queue):
    with project.manage("runworker", "jobs") as killed:
        await listening(killed, broker)
        await layer.send("jobs", {"type": "job", "n": 1, "wait": True})
        await layer.send("jobs", {"type": "job", "n": 2})
        await wait_for(killed, "begun 1")
        assert queue() == (1, 0)  # nobody can be handed the first one again
        killed.process.kill()
    with project.manage("runworker", "jobs") as other:
        await wait_for(other, "done 2")
        assert "begun 1" not in other.output


async def test_another_worker_has_what_a_killed_one_was_just_handed(project, layer, broker, queue):
    with project.manage("runworker", "jobs") as killed:
        await stop_while_it_waits(killed, broker)  # it cannot see what it is handed
        await layer.send("jobs", {"type": "job", "n": 1})
        assert queue() == (1, 1)
        killed.process.kill()
        await ended(killed)
    with project.manage("runworker", "jobs") as other:
        await wait_for(other, "done 1")
        assert other.output.count("begun 1") == 1


async def test_a_worker_that_only_stood_still_runs_nothing_that_another_has_run(
    project, layer, broker, queue
):
    with project.manage("runworker", "jobs") as stopped:
        await stop_while_it_waits(stopped, broker)
        await layer.send("jobs", {"type": "job", "n": 1})
        assert queue() == (1, 1)
        with project.manage("runworker", "jobs") as other:
            await wait_for(other, "done 1")
        stopped.process.send_signal(signal.SIGCONT)
        await layer.send("jobs", {"type": "job", "n": 2})
        await wait_for(stopped, "done 2")
        assert "begun 1" not in stopped.output


# What handlers raise


@pytest.mark.parametrize("kind", list(LAYERS)[:1], indirect=True)
@pytest.mark.parametrize(
    ("channel", "message", "told"),
    [
        ("jobs", {"type": "leave", "code": 0}, "SystemExit"),
        ("jobs", {"type": "leave", "code": 3}, "SystemExit"),
        ("sync", {"type": "leave", "code": 3}, "SystemExit"),
        ("jobs", {"type": "interrupt"}, "KeyboardInterrupt"),
        ("jobs", {"type": "cancel"}, "cancelled"),
    ],
)
async def test_a_handler_cannot_end_the_worker(project, layer, broker, channel, message, told):
    with project.manage("runworker", channel) as worker:
        await listening(worker, broker)
        await layer.send(channel, message)
        await layer.send(channel, {"type": "job", "n": 1})
        await wait_for(worker, "begun 1")
        assert worker.output.count(f"Application failed on a message of channel {channel}") == 1
        assert told in worker.output
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker) == 0


@pytest.mark.parametrize("kind", list(LAYERS)[:1], indirect=True)
@pytest.mark.parametrize(("code", "status"), [(0, 1), (3, 3)])
async def test_a_worker_that_a_background_task_ends_says_so_and_finishes(
    project, layer, broker, code, status
):
    with project.manage("runworker", "jobs", "sync") as worker:
        await listening(worker, broker, 2)
        await layer.send("jobs", {"type": "start.leaver", "code": code})
        assert await ended(worker) == status
        assert "the worker lets running handlers finish, and ends" in worker.output


# A worker that cannot end in order


@pytest.mark.parametrize("kind", list(LAYERS)[:1], indirect=True)
async def test_a_second_signal_ends_the_worker_at_once_and_it_says_so(project, layer, broker):
    with project.manage("runworker", "jobs") as worker:
        await listening(worker, broker)
        await layer.send("jobs", {"type": "job", "n": 1, "wait": True})
        await wait_for(worker, "begun 1")
        while worker.process.poll() is None:  # two that come together count as one
            worker.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
        assert await ended(worker) == 1, worker.output
        assert "Worker ends at once, with exit code 1: it was told to stop a second time" in (
            worker.output
        )


@pytest.mark.parametrize("kind", list(LAYERS)[:1], indirect=True)
async def test_a_thread_that_does_not_return_ends_the_worker_and_it_says_so(project, layer, broker):
    project.append(
        "mysite/asgi.py", "from channels.worker import Worker\nWorker.drain_timeout = 0.2"
    )
    with project.manage("runworker", "sync") as worker:
        await listening(worker, broker)
        await layer.send("sync", {"type": "block"})
        await wait_for(worker, "blocked")
        worker.process.send_signal(signal.SIGTERM)
        assert await ended(worker) == 1
        assert "Handler of channel sync was still running 0.2 s after" in worker.output
        assert "Worker ends at once, with exit code 1: a thread is still busy" in worker.output


# What stays in memory


@pytest.mark.parametrize("kind", [InMemoryChannelLayer, *LAYERS.values()])
@pytest.mark.parametrize("closed", [True, False])
def test_nothing_keeps_a_layer_a_consumer_or_a_worker_that_nobody_uses(broker, kind, closed):
    def use():
        layer = kind() if kind is InMemoryChannelLayer else kind(hosts=[broker.url])
        handled = []

        class Jobs(AsyncConsumer):
            async def job(self, message):
                handled.append(message)

        async def serve():
            application = Jobs.as_asgi()
            worker = Worker(application, ["jobs"], layer)
            serving = asyncio.create_task(worker.handle())
            await layer.send("jobs", {"type": "job"})
            await until(lambda: handled)
            name = await layer.new_channel()
            await layer.group_add("group", name)
            await layer.group_send("group", {"type": "job"})
            await layer.receive(name)
            worker.stop()
            await serving
            if closed:
                await layer.aclose()
            return [weakref.ref(application), weakref.ref(worker)]

        channel_layers.set("default", layer)
        try:
            found = asyncio.run(serve())
        finally:
            channel_layers.set("default", None)
        async_to_sync(layer.send)("other", {"type": "job"})
        return [*found, weakref.ref(layer), weakref.ref(Jobs)]

    left = use()
    end = time.monotonic() + 10
    while any(found() is not None for found in left) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    assert [found() for found in left] == [None] * 4


# A broker that is not there


async def test_a_worker_without_a_broker_says_so_and_serves_when_it_comes(tmp_path, kind):
    with running("valkey") as found:
        binary = found.binary
    port = free_port()
    project = Project(tmp_path)
    project.write("mysite/asgi.py", APPLICATION)
    use(project, kind, f"redis://127.0.0.1:{port}/0")
    broker = Broker(binary, port=port)
    try:
        with project.manage("runworker", "jobs") as worker:
            await wait_for(worker, "receiving from channel jobs does not work (")
            assert f"127.0.0.1:{port}" in worker.output
            assert "Traceback" not in worker.output
            await asyncio.to_thread(broker.start)
            layer = LAYERS[kind](hosts=[broker.url])
            await layer.send("jobs", {"type": "job", "n": 1})
            await wait_for(worker, "done 1")
            await layer.aclose()
    finally:
        broker.remove()


@pytest.mark.parametrize("kind", list(LAYERS)[:1], indirect=True)
async def test_a_worker_with_a_wrong_password_says_so_and_ends(tmp_path, broker, kind):
    project = Project(tmp_path)
    project.write("mysite/asgi.py", APPLICATION + "\nfrom channels.worker import Worker\n"
                  "Worker.max_failures, Worker.backoff = 2, (0.01, 0.02)\n")  # fmt: skip
    use(project, kind, f"redis://:sesame@127.0.0.1:{broker.port}/0")
    with project.manage("runworker", "jobs") as worker:
        assert await ended(worker) == 1
        assert "Listener of channel jobs failed (1 of 2 in a row)" in worker.output
        assert "refused the credentials" in worker.output
        assert worker.output.rstrip().rpartition("\n")[2].startswith("CommandError: Cannot receive")
        assert "Traceback" not in worker.output
        assert "sesame" not in worker.output
