"""What the pages about Redis show, state and measure is so."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from ..brokers import Broker, running

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "howto" / "deploy-redis.md").read_text("utf-8")

pytestmark = pytest.mark.server


MANY = 5_000

# So many readings in a row are the same.
AT_REST = 10


class TestSizes:
    """The guide's figures are what a server says, give or take a fifth."""

    def stated(self, row: str) -> list[int]:
        (cells,) = re.findall(rf"^\| {re.escape(row)} \| (.+) \|$", GUIDE, re.MULTILINE)
        return [int(cell.replace(",", "")) for cell in cells.split(" | ") if cell[0].isdigit()]

    @pytest.mark.parametrize(
        ("size", "row"),
        [
            (100, "A message that waits, 123 bytes as MessagePack"),
            (1000, "A message that waits, 1,024 bytes"),
            (10_000, "A message that waits, 10,024 bytes"),
        ],
    )
    async def test_a_message_that_waits(self, size: int, row: str) -> None:
        message = {"type": "chat.line", "text": "x" * size}
        with running() as broker:
            sender = RedisChannelLayer(hosts=[broker.address])
            (encoded,) = re.findall(r"([\d,]+) bytes", row)
            assert len(sender.serializer.serialize(message)) == int(encoded.replace(",", ""))
            # An inbox of a process that does not read.
            broker.cli("XADD", "{asgi:0}:inbox:hangs", "*", "h", "")
            broker.cli("ZADD", "{asgi:0}:group:chat.kitchen", 1e15, "p:hangs")
            await sender.group_send("chat.kitchen", message)
            before = await memory_without(broker, sender)
            for _ in range(MANY // 500):
                await asyncio.gather(
                    *(sender.group_send("chat.kitchen", message) for _ in range(500))
                )
            measured = (await memory_without(broker, sender) - before) / MANY
            assert broker.cli("XLEN", "{asgi:0}:inbox:hangs") == MANY + 2
            await sender.aclose()
        assert self.stated(row) == [pytest.approx(measured, rel=0.2)]

    async def test_groups(self) -> None:
        first, further = [], []
        for layer_class in (RedisChannelLayer, RedisPubSubChannelLayer):
            with running() as broker:
                layers = [layer_class(hosts=[broker.address]) for _ in range(2)]
                names = [await layer.new_channel() for layer in layers]
                for layer, name, figures in zip(layers, names, (first, further), strict=True):
                    before = await memory_without(broker, *layers)
                    for start in range(0, MANY, 500):
                        await asyncio.gather(
                            *(
                                layer.group_add(f"chat.room.{number}", name)
                                for number in range(start, start + 500)
                            )
                        )
                    after = await memory_without(broker, *layers)
                    figures.append((after - before) / MANY)
                for layer in layers:
                    await layer.aclose()
        assert self.stated("A group with members in one process") == [
            pytest.approx(figure, rel=0.2) for figure in first
        ]
        assert self.stated("Each further process with members in that group") == [
            pytest.approx(figure, rel=0.3, abs=12) for figure in further
        ]

    async def test_a_process(self) -> None:
        measured = []
        for layer_class in (RedisChannelLayer, RedisPubSubChannelLayer):
            with running() as broker:
                layers = [layer_class(hosts=[broker.address]) for _ in range(31)]
                readings = []
                # The first one makes the server learn the scripts.
                for some in (layers[:1], layers[1:]):
                    for layer in some:
                        await layer.new_channel()
                        await layer.group_send("nobody", {"type": "t"})
                    # The server takes back the buffers of connections that are idle for two.
                    readings.append(await memory_at_rest(broker, seconds=4))
                measured.append((readings[1] - readings[0]) / (len(layers) - 1))
                for layer in layers:
                    await layer.aclose()
        assert self.stated("A process at rest: its inbox and its two connections") == [
            pytest.approx(figure, rel=0.2) for figure in measured
        ]


class TestEviction:
    async def test_every_key_has_an_expiry_so_volatile_policies_evict_it(self) -> None:
        with running() as broker:
            layer = RedisChannelLayer(hosts=[broker.address])
            await layer.group_add("g", await layer.new_channel())
            await layer.group_send("g", {"type": "t"})
            await layer.send("queue", {"type": "t"})
            with broker.client() as client:
                keys = list(client.scan_iter("*"))
                assert len(keys) >= 4
                assert [key for key in keys if client.pttl(key) <= 0] == []
            await layer.aclose()


class TestRestarts:
    """What the guide says that a restart of the server takes with it."""

    @pytest.mark.parametrize(
        ("options", "survives"), [(("--appendonly", "yes"), True), ((), False)]
    )
    async def test_with_and_without_a_file(self, options: tuple[str, ...], survives: bool) -> None:
        with running("valkey", *options) as broker:
            layer = RedisChannelLayer(hosts=[broker.address])
            name = await layer.new_channel()
            told: list[Any] = []
            mailbox = layer.open_mailbox(name, lambda: None)
            await layer.group_add("g", name)
            await layer.send("queue", {"type": "t"})
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
            # Whoever is told has joined again, so what follows arrives.
            await until(lambda: survives or mailbox.gap is not None)
            await layer.group_send("g", {"type": "t"})
            await until(lambda: bool(mailbox.qsize()))
            while (message := mailbox.take()) is not None:
                told.append(message["type"])
            assert told == (["t"] if survives else ["layer.gap", "t"])
            assert broker.cli("XLEN", "{asgi:0}:queue:queue") == (1 if survives else 0)
            await mailbox.close()
            await layer.aclose()


Layer: TypeAlias = RedisChannelLayer | RedisPubSubChannelLayer


async def memory_without(broker: Broker, *layers: Layer) -> int:
    """What the server holds without the connections of these layers, and their buffers."""
    for layer in layers:
        await layer.close_pools()
    return await memory_at_rest(broker, seconds=4)


async def memory_at_rest(broker: Broker, seconds: float) -> int:
    """What the server holds when that has been the same, within a hundredth, for some seconds."""
    readings: list[int] = []
    with broker.client() as client:
        async with asyncio.timeout(60):
            while len(readings) < AT_REST or min(readings) < max(readings) * 0.99:
                await asyncio.sleep(seconds / AT_REST)
                readings.append(int(client.info("memory")["used_memory"]))
                readings = readings[-AT_REST:]
    return readings[-1]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
