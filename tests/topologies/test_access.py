"""TLS, passwords, access rules and sockets: what lets a layer in, and what it is told otherwise."""

import asyncio
import re
import uuid
from pathlib import Path

import pytest
import redis

from channels.exceptions import ChannelsError
from channels.layers import redis as redis_layers
from channels.layers.redis import RedisChannelLayer
from channels.testing.conformance import LayerConformance
from channels_redis.pubsub import RedisPubSubChannelLayer

from ..asgi import until
from ..brokers import Broker
from ..brokers import running as running_broker
from ..ports import free_port
from .harness import Authority, Cluster, access_rules, cluster, redis_with_tls, running

__all__ = ["cluster"]  # a fixture

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority, tmp_path_factory):
    """One server that is reached in every way."""
    broker = SecureBroker(authority, tmp_path_factory.mktemp("socket") / "valkey.sock")
    try:
        yield broker.start()
    finally:
        broker.remove()


class SecureBroker(Broker):
    """A server with a second port, for TLS, and a socket."""

    def __init__(self, authority, socket):
        self.tls_port, self.socket = free_port(), socket
        super().__init__(
            redis_with_tls(), "--tls-port", str(self.tls_port), "--unixsocket", str(socket),
            *authority.server_options,
        )  # fmt: skip


async def works(hosts, layer_class=RedisChannelLayer, **config):
    """Whether two layers reach each other."""
    config.setdefault("prefix", uuid.uuid4().hex)
    one, other = (layer_class(hosts, **config) for _ in range(2))
    try:
        channel = await one.new_channel()
        await one.group_add("group", channel)
        await other.group_send("group", {"type": "t", "n": 1})
        async with asyncio.timeout(5):
            return (await one.receive(channel))["n"] == 1
    finally:
        await one.aclose()
        await other.aclose()


async def expect_refusals(hosts, match):
    """Every call fails within a second or two, and says why."""
    for layer_class in (RedisChannelLayer, RedisPubSubChannelLayer):
        layer = layer_class(hosts, prefix=uuid.uuid4().hex)
        message, another = {"type": "t"}, "specific.another!process"
        for call in (
            layer.new_channel,
            lambda: layer.group_add("group", another),  # noqa: B023
            lambda: layer.group_send("group", message),  # noqa: B023
            lambda: layer.send(another, message),  # noqa: B023
            lambda: layer.send("named", message),  # noqa: B023
        ):
            async with asyncio.timeout(5):
                with pytest.raises(ChannelsError, match=match):
                    await call()
        async with asyncio.timeout(5):
            await layer.aclose()
        assert layer.statistics.dropped == {}


class TestTls:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_a_certificate_of_ones_own_authority(self, server, authority, host):
        address = f"rediss://{host}:{server.tls_port}/0"
        assert await works([{"address": address, "ssl_ca_certs": str(authority.ca)}])
        assert await works([f"{address}?ssl_ca_certs={authority.ca}"])
        options = {"host": host, "port": server.tls_port, "ssl": True}
        assert await works([{**options, "ssl_ca_certs": str(authority.ca)}])

    async def test_another_authority_is_an_error_at_once(self, server, tmp_path):
        other = Authority(tmp_path)
        address = f"rediss://127.0.0.1:{server.tls_port}"
        complaint = r"certificate of 127\.0\.0\.1:\d+ cannot be trusted.*ssl_ca_certs"
        await expect_refusals([{"address": address, "ssl_ca_certs": str(other.ca)}], complaint)
        await expect_refusals([address], complaint)

    async def test_another_name_is_an_error_at_once(self, server, authority):
        address = f"rediss://127.0.0.2:{server.tls_port}"
        server.cli("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
        try:
            complaint = r"of 127\.0\.0\.2:\d+ was issued for another name.*ssl_check_hostname"
            await expect_refusals(
                [{"address": address, "ssl_ca_certs": str(authority.ca)}], complaint
            )
            options = {"ssl_ca_certs": str(authority.ca), "ssl_check_hostname": False}
            assert await works([{"address": address, **options}])
        finally:
            server.cli("CONFIG", "SET", "bind", "127.0.0.1")

    async def test_a_server_that_answers_without_tls_is_an_error_at_once(self):
        async def answer(reader, writer):
            await reader.read(10)
            writer.write(b"-ERR this is no TLS\r\n" * 2)
            writer.close()

        listening = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            await expect_refusals(
                [f"rediss://127.0.0.1:{port}"], "does not speak TLS; write redis://"
            )

    async def test_a_port_with_tls_is_told_of_to_those_who_come_without(self, server, caplog):
        layer = RedisChannelLayer([f"redis://127.0.0.1:{server.tls_port}"])
        joining = asyncio.create_task(layer.new_channel())
        await until(lambda: "it may expect TLS: rediss://" in caplog.text)
        joining.cancel()
        await asyncio.wait([joining])
        await layer.aclose()

    async def test_no_verification_is_a_choice(self, server):
        address = f"rediss://127.0.0.1:{server.tls_port}"
        options = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
        assert await works([{"address": address, **options}])

    async def test_a_file_that_is_not_there_is_an_error_at_once(self, server):
        address = f"rediss://127.0.0.1:{server.tls_port}"
        await expect_refusals(
            [{"address": address, "ssl_ca_certs": "/no/such/ca.pem"}], "is not there"
        )

    async def test_a_client_shows_its_own_certificate(self, server, authority):
        server.cli("CONFIG", "SET", "tls-auth-clients", "yes")
        try:
            options = {
                "address": f"rediss://127.0.0.1:{server.tls_port}",
                "ssl_ca_certs": str(authority.ca),
                "ssl_certfile": str(authority.cert),
                "ssl_keyfile": str(authority.key),
            }
            assert await works([options])
        finally:
            server.cli("CONFIG", "SET", "tls-auth-clients", "no")


@pytest.mark.slow
class TestTlsConformance(LayerConformance):
    keeps_named_channels = True
    # The laws are the same whatever the topology, and are tried more often in tests/conformance.
    law_examples = 15

    @pytest.fixture(autouse=True)
    def _server(self, server, authority):
        address = f"rediss://127.0.0.1:{server.tls_port}/0"
        self.hosts = [{"address": address, "ssl_ca_certs": str(authority.ca)}]

    def make_layer(self, **config):
        return RedisChannelLayer(self.hosts, prefix=uuid.uuid4().hex, **config)

    def make_peer(self, layer, **config):
        return RedisChannelLayer(self.hosts, prefix=layer.prefix, **config)


async def test_a_cluster_with_tls(authority):
    with running(Cluster(replicas=False, authority=authority)) as cluster:
        port = cluster.nodes[0].options[cluster.nodes[0].options.index("--tls-port") + 1]
        nodes = [f"rediss://127.0.0.1:{port}"]
        assert await works([{"cluster": nodes, "ssl_ca_certs": str(authority.ca)}])


class TestSockets:
    async def test_a_unix_socket(self, server):
        assert await works([f"unix://{server.socket}"])
        assert await works([{"path": str(server.socket), "db": 1}])


class TestPasswords:
    @pytest.fixture(autouse=True)
    def _users(self, server):
        server.cli("ACL", "SETUSER", "anna", "on", ">p@ss word", "~*", "&*", "+@all")
        yield
        server.cli("ACL", "DELUSER", "anna")

    async def test_a_user_with_a_password(self, server):
        assert await works([f"redis://anna:p%40ss%20word@127.0.0.1:{server.port}/0"])
        address = {"address": server.address, "username": "anna", "password": "p@ss word"}
        assert await works([address])

    async def test_a_wrong_one_is_an_error_at_once(self, server):
        hosts = [f"redis://anna:wrong@127.0.0.1:{server.port}/0"]
        await expect_refusals(hosts, "credentials")

    async def test_none_is_an_error_at_once(self, server):
        server.cli("CONFIG", "SET", "requirepass", "secret")
        try:
            await expect_refusals([server.address], "credentials")
        finally:
            with redis.Redis(port=server.port, password="secret") as client:
                client.config_set("requirepass", "")


class TestMistakes:
    """What no second attempt puts right is told at once; what may pass is told by the log."""

    async def test_a_database_that_is_not_there(self, server):
        await expect_refusals([{"address": server.address, "db": 99}], "no database of the number")

    async def test_a_server_of_something_else(self):
        async def answer(reader, writer):
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            address = f"redis://:password@127.0.0.1:{port}"
            await expect_refusals([address], rf"answers at 127\.0\.0\.1:{port} is no Redis server")

    @pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
    async def test_a_node_of_a_cluster_that_is_given_as_a_host(self, cluster, layer_class):
        """At least by the names that other nodes hold."""
        node = cluster.nodes[0]
        prefix = next(
            f"p{n}" for n in range(100) if cluster.owner_of(f"{{p{n}:0}}") is not node
        )  # fmt: skip
        layer = layer_class([node.address], prefix=prefix)
        for call in (
            lambda: layer.group_send("group", {"type": "t"}),
            lambda: layer.send("named", {"type": "t"}),
            lambda: layer.receive("named"),
        ):
            with pytest.raises(ChannelsError, match=rf"Redis at .*{node.port} is a node of a Redis "
                               r'Cluster.*\{"cluster": '):  # fmt: skip
                await asyncio.wait_for(call(), 5)
        await layer.aclose()

    @pytest.mark.parametrize(
        ("host", "words"),
        [
            ("redis://no-such-host.invalid:6379", "Redis at no-such-host.invalid:6379: "),
            ("unix:///no/such/socket", "Redis at /no/such/socket: "),
            ("redis://127.0.0.1:1", "Redis at 127.0.0.1:1: "),
        ],
    )
    @pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
    async def test_a_server_that_is_not_there_is_told_of_by_the_log(
        self, host, words, layer_class, caplog
    ):
        layer = layer_class([host])
        waiting = [
            asyncio.create_task(call)
            for call in (layer.new_channel(), layer.receive("jobs"), layer.send("jobs", {}))
        ]
        purposes = ("receiving", "receiving from channel jobs", "sending")
        async with asyncio.timeout(20):
            for purpose in purposes:
                line = f"{words}{purpose} does not work"
                await until(lambda line=line: line in caplog.text, 20)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        await layer.aclose()
        lines = [record for record in caplog.records if record.name == "channels.layers"]
        assert len(lines) == 3, caplog.text
        assert all("still trying, attempt 3" in record.getMessage() for record in lines)

    @pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
    async def test_a_server_that_runs_a_long_script_is_waited_for(self, server, layer_class):
        server.cli("CONFIG", "SET", "lua-time-limit", 50)
        layer = layer_class([server.address], prefix=uuid.uuid4().hex)
        channel = await layer.new_channel()
        script = "local t = redis.call('TIME') repeat local n = redis.call('TIME') "
        script += "until n[1] * 1000000 + n[2] > t[1] * 1000000 + t[2] + 1000000"
        busy = asyncio.create_task(asyncio.to_thread(server.cli, "EVAL", script, 0))
        await asyncio.sleep(0.2)
        other = layer_class([server.address], prefix=layer.prefix)  # which has to connect
        await asyncio.wait_for(other.send(channel, {"type": "t"}), 10)
        assert await asyncio.wait_for(layer.receive(channel), 10) == {"type": "t"}
        await busy
        assert not layer.statistics.dropped
        await layer.aclose()
        await other.aclose()

    @pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
    async def test_a_prefix_of_any_language(self, server, layer_class):
        assert await works([server.address], layer_class, prefix=f"раздел-é-{uuid.uuid4().hex}")


def test_the_rule_names_only_what_is_used():
    """Client libraries say who they are; all else is in our sources."""
    folder = Path(redis_layers.__file__).parent
    source = "".join(path.read_text("utf-8") for path in folder.rglob("*.[pl]*[ya]"))
    words = " ".join(access_rules()).split()
    rights = {word[1:] for word in words if word.startswith("+")}
    assert len(rights) > 30
    for right in rights - {"client|setinfo"}:
        quoted = r"['\"],\s+['\"]".join(right.upper().split("|"))
        assert re.search(f"['\"]{quoted}['\"]", source), right


@pytest.fixture(scope="module")
def guarded():
    with running_broker() as broker:
        yield broker


class TestAccessRules(LayerConformance):
    """The rights that the guide names are enough for everything a layer does."""

    keeps_named_channels = True
    # The laws are the same whatever the topology, and are tried more often in tests/conformance.
    law_examples = 15

    @pytest.fixture(autouse=True)
    def _user(self, guarded):
        guarded.cli(*access_rules()[0].split())
        guarded.cli("ACL", "LOG", "RESET")
        self.hosts = [f"redis://channels:secret@127.0.0.1:{guarded.port}/0"]
        yield
        guarded.cli("ACL", "DELUSER", "channels")

    def make_layer(self, **config):
        return RedisChannelLayer(self.hosts, prefix=f"asgi:{uuid.uuid4().hex}", **config)

    def make_peer(self, layer, **config):
        return RedisChannelLayer(self.hosts, prefix=layer.prefix, **config)

    async def test_nothing_is_refused(self, guarded):
        assert await works(self.hosts, prefix=f"asgi:{uuid.uuid4().hex}")
        assert guarded.cli("ACL", "LOG") == []

    async def test_the_other_layer_needs_more(self, guarded):
        guarded.cli(*access_rules()[1].split())
        prefix = f"asgi:{uuid.uuid4().hex}"
        assert await works(self.hosts, RedisPubSubChannelLayer, prefix=prefix)
        assert guarded.cli("ACL", "LOG") == []

    async def test_other_keys_are_out_of_reach(self):
        layer = RedisChannelLayer(self.hosts, prefix="other")
        with pytest.raises(ChannelsError, match=r"(?i)permission|NOPERM|can't access"):
            await layer.group_send("group", {"type": "t"})
        await layer.aclose()


@pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
async def test_endless_times_are_some_that_a_server_can_count(server, layer_class):
    endless = {"expiry": float("inf"), "group_expiry": float("inf")}
    if layer_class is RedisChannelLayer:
        endless["lease"] = float("inf")
    assert await works([server.address], layer_class, **endless)
    layer = layer_class([server.address], prefix=uuid.uuid4().hex, **endless)
    await layer.group_add("group", "queue")
    await layer.group_send("group", {"type": "t"})
    assert await asyncio.wait_for(layer.receive("queue"), 5) == {"type": "t"}
    await layer.aclose()
