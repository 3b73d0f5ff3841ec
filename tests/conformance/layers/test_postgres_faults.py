"""What the layer over PostgreSQL promises besides: faults, large messages, rights."""

import asyncio
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from examples.postgres_layer import PostgresChannelLayer, listener

from channels.exceptions import BrokerError
from channels.layers.option_checks import Options
from channels.layers.statistics import EXPIRED
from channels.testing.conformance.base import LayerHarness

from ...asgi import until
from ...postgres import running

FOLDER = Path(listener.__file__).parent

MEMBER = """
import asyncio, sys
from examples.postgres_layer import PostgresChannelLayer

async def join():
    layer = PostgresChannelLayer(*sys.argv[1:])
    await layer.group_add("chat", await layer.new_channel())
    print(layer.client_prefix, flush=True)
    await asyncio.sleep(60)

asyncio.run(join())
"""


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


class TestFaults(LayerHarness):
    deadline = 15.0

    @pytest.fixture
    async def layers(self, server):
        prefix = uuid.uuid4().hex
        layers = [PostgresChannelLayer(server.url, prefix, capacity=5000) for _ in "ab"]
        yield layers
        for layer in layers:
            await layer.aclose()

    async def member(self, layer):
        channel = await layer.new_channel()
        await layer.group_add("chat", channel)
        return channel, layer.open_mailbox(channel, lambda: None)

    async def check_works(self, sender, mailbox):
        await sender.group_send("chat", {"type": "last"})
        found = []

        def is_there():
            while (message := mailbox.take()) is not None:
                found.append(message)
            return found and found[-1]["type"] == "last"

        await until(is_there)
        return found[:-1]

    @pytest.mark.parametrize("fault", ["restart", "kill"])
    async def test_the_server_restarts_under_load(self, server, layers, fault):
        sender, receiver = layers
        _, mailbox = await self.member(receiver)
        going, sent = True, []

        async def send():
            while going:
                sent.append(len(sent))
                await sender.group_send("chat", {"type": "n", "n": sent[-1]})
                await asyncio.sleep(0.001)

        sending = asyncio.create_task(send())
        await until(lambda: len(sent) > 100)
        if fault == "kill":
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        else:
            await asyncio.to_thread(server.restart)
        before = len(sent)
        await until(lambda: len(sent) > before + 100)
        going = False
        await sending
        found = await self.check_works(sender, mailbox)
        numbers = [message["n"] for message in found if message["type"] == "n"]
        gaps = [message for message in found if message["type"] == "layer.gap"]
        assert numbers == sorted(set(numbers))  # in order, none twice
        assert len(gaps) == 1
        assert sum(sender.statistics.dropped.values()) <= 1
        assert numbers[-1] == sent[-1]  # delivery has resumed
        assert len(numbers) > 100

    async def test_a_connection_is_ended_by_the_server(self, server, layers):
        sender, receiver = layers
        _, mailbox = await self.member(receiver)
        (reader,) = receiver.transport.receiver.readers
        server.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'channels'"
        )
        await until(lambda: reader._reconnector.failures or reader._gap)
        await reader.wait_until_up()
        found = await self.check_works(sender, mailbox)
        assert [message["type"] for message in found] == ["layer.gap"]

    async def test_the_server_stands_still_for_a_moment(self, server, layers):
        sender, receiver = layers
        _, mailbox = await self.member(receiver)
        server.pause()
        try:
            sending = asyncio.create_task(sender.group_send("chat", {"type": "n", "n": 1}))
            done, _ = await asyncio.wait([sending], timeout=1.0)
        finally:
            server.resume()
        await sending
        assert not done
        assert await self.check_works(sender, mailbox) == [{"type": "n", "n": 1}]

    async def test_a_member_is_killed(self, server, layers):
        sender, receiver = layers
        _, mailbox = await self.member(receiver)
        arguments = [sys.executable, "-c", MEMBER, server.url, sender.prefix]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            name = (await asyncio.to_thread(process.stdout.readline)).strip()
            process.send_signal(signal.SIGKILL)
        assert await self.check_works(sender, mailbox) == []
        # As if the lease had run out.
        server.query("UPDATE channels.process SET expires = now() WHERE name = %s", name)
        await sender.transport.link.run("SELECT * FROM channels.sweep(%s)", sender.prefix)
        left = "SELECT count(*) FROM channels.member WHERE process = %s"
        assert server.query(left, name) == [(0,)]
        assert await self.check_works(sender, mailbox) == []

    async def test_a_process_that_others_gave_up_comes_back(self, server, layers, monkeypatch):
        sender, receiver = layers
        _, mailbox = await self.member(receiver)
        monkeypatch.setattr(listener, "RENEW", 0.0)
        server.query("DELETE FROM channels.process WHERE name = %s", receiver.client_prefix)
        (reader,) = receiver.transport.receiver.readers
        await until(lambda: reader._gap)
        await reader.wait_until_up()
        found = await self.check_works(sender, mailbox)
        assert [message["type"] for message in found] == ["layer.gap"]
        assert "others gave it up" in found[0]["reason"]

    async def test_large_messages(self, server, layers):
        sender, receiver = layers
        channel, mailbox = await self.member(receiver)
        sizes = [5_900, 6_000, 8_000, 100_000, 2_000_000]
        for size in sizes:
            message = {"type": "n", "data": bytes(size)}
            await sender.send(channel, message)
            await sender.group_send("chat", message)
        found = await self.check_works(sender, mailbox)
        assert [len(message["data"]) for message in found] == [n for n in sizes for _ in "ab"]
        server.query("UPDATE channels.payload SET expires = now()")
        await sender.transport.link.run("SELECT * FROM channels.sweep(%s)", sender.prefix)
        assert server.query("SELECT count(*) FROM channels.payload") == [(0,)]

    async def test_what_is_too_old_to_be_fetched_is_counted(self, server, layers):
        sender, receiver = layers
        _, mailbox = await self.member(receiver)
        topic = f"channels_{receiver.client_prefix}"
        server.query("SELECT pg_notify(%s, '#123456789')", topic)
        assert await self.check_works(sender, mailbox) == []
        assert receiver.statistics.dropped == {EXPIRED: 1}

    async def test_what_nobody_reads_is_swept_and_counted(self, server, layers, monkeypatch):
        sender, receiver = layers
        await sender.send("jobs", {"type": "job"})
        server.query("UPDATE channels.queue SET expires = now() WHERE channel = 'jobs'")
        monkeypatch.setattr(listener, "RENEW", 0.0)
        await receiver.new_channel()
        await until(lambda: receiver.statistics.dropped == {EXPIRED: 1})

    async def test_rubbish_is_counted(self, server, layers):
        sender, receiver = layers
        _, mailbox = await self.member(receiver)
        for rubbish in ("", "=", "\u00e9", "#", "#x", "jno;=", "eA=="):
            server.query("SELECT pg_notify(%s, %s)", f"channels_{receiver.client_prefix}", rubbish)
        await self.check_works(sender, mailbox)
        assert sum(receiver.statistics.dropped.values()) == 7


def test_it_is_as_short_as_the_guide_says():
    files = [path for path in FOLDER.iterdir() if path.suffix in (".py", ".sql")]
    assert sum(len(path.read_text("utf-8").splitlines()) for path in files) <= 400


class TestSettings:
    async def test_a_user_without_rights(self, server):
        server.query("CREATE USER guest")
        server.query("CREATE DATABASE empty")
        url = f"postgresql://guest@127.0.0.1:{server.port}/empty"
        layer = PostgresChannelLayer(url)
        with pytest.raises(BrokerError, match="permission denied for database empty"):
            await layer.send("jobs", {"type": "job"})
        with pytest.raises(BrokerError, match="permission denied for database empty"):
            await layer.new_channel()
        await layer.aclose()

    async def test_a_database_that_is_not_there(self, server):
        layer = PostgresChannelLayer(f"{server.url}-of-another-name")
        with pytest.raises(BrokerError, match="does not exist"):
            await layer.new_channel()
        await layer.aclose()

    def test_options_are_checked(self):
        def check(**config):
            found = PostgresChannelLayer.check(Options("default", "CONFIG", config))
            return [message.msg for message in found]

        assert check(url="postgresql://localhost/db", capacity=10) == []
        for config in ({"url": "nonsense"}, {}, {"url": "", "capacitty": 1}):
            assert len(check(**config)) == 1
        assert "url is no connection string" in check(url="nonsense")[0]
