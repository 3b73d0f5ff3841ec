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

from ..brokers import Broker
from ..brokers import running as running_broker
from ..ports import free_port
from .harness import Authority, Cluster, access_rules, redis_with_tls, running

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


async def refused(hosts, match):
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
        await refused([{"address": address, "ssl_ca_certs": str(other.ca)}], complaint)
        await refused([address], complaint)

    async def test_another_name_is_an_error_at_once(self, server, authority):
        address = f"rediss://127.0.0.2:{server.tls_port}"
        server.cli("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
        try:
            await refused(
                [{"address": address, "ssl_ca_certs": str(authority.ca)}], "certificate is not"
            )
        finally:
            server.cli("CONFIG", "SET", "bind", "127.0.0.1")

    async def test_no_verification_is_a_choice(self, server):
        address = f"rediss://127.0.0.1:{server.tls_port}"
        options = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
        assert await works([{"address": address, **options}])

    async def test_a_file_that_is_not_there_is_an_error_at_once(self, server):
        address = f"rediss://127.0.0.1:{server.tls_port}"
        await refused([{"address": address, "ssl_ca_certs": "/no/such/ca.pem"}], "is not there")

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
        await refused(hosts, "credentials")

    async def test_none_is_an_error_at_once(self, server):
        server.cli("CONFIG", "SET", "requirepass", "secret")
        try:
            await refused([server.address], "credentials")
        finally:
            with redis.Redis(port=server.port, password="secret") as client:
                client.config_set("requirepass", "")


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
