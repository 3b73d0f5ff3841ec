"""A cluster of three nodes, of which one is killed while messages pass."""

import asyncio
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from channels.layers.broker import receiver
from channels.layers.rabbitmq import RabbitMQChannelLayer

from ..asgi import until
from ..rabbit import Rabbit, find_rabbitmq
from .harness import Room, check_told, sending, settle

# Seconds that anything may take on a machine where many tests run at once.
PATIENCE = 150


@pytest.fixture
def cluster():
    """Three nodes that know each other."""
    scripts = find_rabbitmq()
    nodes = [Rabbit(scripts) for _ in range(3)]
    first, *others = nodes

    def join(node):
        node.environment["ERL_EPMD_PORT"] = first.environment["ERL_EPMD_PORT"]
        shutil.copy2(first.folder / ".erlang.cookie", node.folder / ".erlang.cookie")
        node.start()
        node.ctl("stop_app")
        node.ctl("join_cluster", first.node)
        node.ctl("start_app")

    try:
        first.start()
        with ThreadPoolExecutor() as pool:
            list(pool.map(join, others))
        yield nodes
    finally:
        for node in reversed(nodes):
            node.remove()


@pytest.fixture
async def layers(cluster, monkeypatch):
    """Makes layers, each as another process would have it, and closes them."""
    monkeypatch.setattr(receiver, "PATIENCE", PATIENCE)
    made, prefix = [], f"cluster-{time.monotonic_ns()}"

    def make(*nodes):
        urls = [node.url for node in nodes]
        options = {"prefix": prefix, "queue_type": "quorum", "capacity": 100_000}
        made.append(RabbitMQChannelLayer(urls, **options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


@pytest.mark.slow
async def test_processes_go_on_at_other_nodes_when_theirs_is_killed(cluster, layers):
    one, killed, three = cluster
    here, there, elsewhere = layers(killed, one), layers(killed, three), layers(three, one)
    for n in range(50):
        await here.send("jobs", {"type": "job", "n": n})
    async with Room(here) as room, sending(there) as some, sending(elsewhere) as others:
        await some[0].reaches(50)
        await others[0].reaches(50)
        await asyncio.to_thread(killed.kill)
        await others[0].reaches(50, PATIENCE)
        await some[0].reaches(50, PATIENCE)
        await until(lambda: all(gaps >= 1 for gaps in room.gaps()), PATIENCE)
        await settle(room, some + others)
        # A queue that ends with its node refuses what comes, just as a full one does.
        check_told(room, some + others, gaps=None, reasons=("unconfirmed", "capacity"))
    for n in range(50, 60):
        await there.send("jobs", {"type": "job", "n": n})
    async with asyncio.timeout(PATIENCE):
        assert [(await elsewhere.receive("jobs"))["n"] for _ in range(60)] == list(range(60))
