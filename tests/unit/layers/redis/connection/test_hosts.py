"""Every shape of the option hosts, and what a connection is made with. The rest takes servers."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions as redis_errors
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.crc import key_slot

from channels.exceptions import ChannelsError
from channels.layers.redis import RedisChannelLayer
from channels.layers.redis.connection.hosts import HostsError, parse_hosts
from channels.layers.redis.connection.servers import ClusterServer, SentinelServer, SingleServer


def only(entry):
    """The connection that the only entry of hosts stands for, not open."""
    (server,), _ = parse_hosts([entry], "asgi")
    assert isinstance(server, SingleServer)
    return server.opener.make()


def where(connection):
    return connection.host, connection.port, connection.db


class TestAddresses:
    @pytest.mark.parametrize("hosts", [None, [], ()])
    def test_the_default_is_this_machine(self, hosts):
        (server,), bases = parse_hosts(hosts, "asgi")
        assert where(server.opener.make()) == ("localhost", 6379, 0)
        assert bases == ["{asgi:0}"]

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            (("redis.example", 6380), ("redis.example", 6380, 0)),
            (["redis.example", 6380], ("redis.example", 6380, 0)),
            (("redis.example", "6380"), ("redis.example", 6380, 0)),
            (("::1", 6380), ("::1", 6380, 0)),
            ("redis://redis.example", ("redis.example", 6379, 0)),
            ("redis://redis.example:6380/2", ("redis.example", 6380, 2)),
            (b"redis://redis.example:6380/2", ("redis.example", 6380, 2)),
            ("redis://[::1]:6380/2", ("::1", 6380, 2)),
            ("redis://redis.example:6380?db=3", ("redis.example", 6380, 3)),
            ({"address": "redis://redis.example:6380/2"}, ("redis.example", 6380, 2)),
            ({"address": ("redis.example", 6380), "db": 4}, ("redis.example", 6380, 4)),
            ({"host": "redis.example", "port": 6380, "db": 1}, ("redis.example", 6380, 1)),
            ({"host": "redis.example"}, ("redis.example", 6379, 0)),
            ({"db": 5}, ("localhost", 6379, 5)),
        ],
    )
    def test_shapes(self, entry, expected):
        assert where(only(entry)) == expected

    def test_any_iterable_of_hosts_will_do(self):
        servers, _ = parse_hosts((("h", port) for port in (1, 2, 3)), "asgi")
        assert [server.opener.make().port for server in servers] == [1, 2, 3]

    @pytest.mark.parametrize(
        "entry",
        [
            "redis://user:p%40ss@redis.example/0",
            {"address": "redis://user:p%40ss@redis.example/0"},
            {"address": ("redis.example", 6379), "username": "user", "password": "p@ss"},
            {"host": "redis.example", "username": "user", "password": "p@ss"},
        ],
    )
    def test_credentials(self, entry):
        connection = only(entry)
        assert (connection.username, connection.password) == ("user", "p@ss")

    @pytest.mark.parametrize(
        "entry",
        [
            "unix:///run/redis.sock?db=2",
            {"address": "unix:///run/redis.sock", "db": 2},
            {"path": "/run/redis.sock", "db": 2},
        ],
    )
    def test_unix_sockets(self, entry):
        connection = only(entry)
        assert isinstance(connection, UnixDomainSocketConnection)
        assert (connection.path, connection.db) == ("/run/redis.sock", 2)

    @pytest.mark.parametrize(
        "entry",
        [
            {"address": "rediss://redis.example:6380", "ssl_ca_certs": "/ca.pem"},
            "rediss://redis.example:6380?ssl_ca_certs=/ca.pem",
            {"host": "redis.example", "port": 6380, "ssl": True, "ssl_ca_certs": "/ca.pem"},
        ],
    )
    def test_tls_verifies_unless_told_otherwise(self, entry):
        connection = only(entry)
        assert isinstance(connection, SSLConnection)
        assert where(connection) == ("redis.example", 6380, 0)
        assert connection.ca_certs == "/ca.pem"
        assert connection.cert_reqs == ssl.CERT_REQUIRED
        assert connection.check_hostname

    def test_tls_without_verification_is_a_choice(self):
        connection = only({"address": "rediss://h", "ssl_cert_reqs": None})
        assert connection.cert_reqs == ssl.CERT_NONE

    def test_an_address_counts_more_than_options_beside_it(self):
        assert where(only({"address": "redis://a:1/2", "host": "b", "db": 3})) == ("a", 1, 2)

    def test_settings_are_not_changed(self):
        entry = {"sentinels": [("s", 1)], "master_name": "m", "sentinel_kwargs": {"username": "u"}}
        cluster = {"cluster": [("c", 1)], "partitions": 2}
        for settings in (entry, cluster, {"address": "redis://h", "ssl": False}):
            before = dict(settings)
            parse_hosts([settings], "asgi")
            assert settings == before


class TestTimeouts:
    async def test_timeouts_are_ours_whatever_the_client_library_does(self):
        attempts = []

        async def attempt():
            attempts.append("once")
            raise redis_errors.ConnectionError

        async def forget(error):
            pass

        connection = only(("h", 1))
        assert connection.socket_timeout is None  # waiting is bounded by who waits
        assert connection.socket_connect_timeout == 5
        assert connection.health_check_interval == 0
        with pytest.raises(redis_errors.ConnectionError):
            await connection.retry.call_with_retry(attempt, forget)
        assert attempts == ["once"]

    def test_timeouts_can_be_chosen(self):
        (server,), _ = parse_hosts(
            [{"host": "h", "socket_timeout": 2, "socket_connect_timeout": 3}], "asgi"
        )
        assert server.response_timeout == 2
        assert server.opener.make().socket_connect_timeout == 3

    def test_none_is_the_default(self):
        (server,), _ = parse_hosts(
            [{"host": "h", "socket_timeout": None, "socket_connect_timeout": None}], "asgi"
        )
        assert server.response_timeout == 5
        assert server.opener.make().socket_connect_timeout == 5

    def test_options_of_pools_are_accepted(self):
        assert only({"host": "h", "max_connections": 10, "timeout": 3}).host == "h"

    def test_answers_have_one_shape(self):
        connection = only({"host": "h", "protocol": 3, "decode_responses": True})
        assert connection.protocol == 2
        assert not connection.encoder.decode_responses


class TestSentinels:
    def test_shape(self):
        (server,), bases = parse_hosts(
            [
                {
                    "sentinels": [("s1", 26379), ["s2", 26380]],
                    "master_name": "mymaster",
                    "sentinel_kwargs": {"password": "sentinel's"},
                    "db": 3,
                    "password": "master's",
                }
            ],
            "asgi",
        )
        assert isinstance(server, SentinelServer)
        assert bases == ["{asgi:0}"]
        master, sentinel = server.opener.make(), server.sentinel_opener.make()
        assert (master.db, master.password) == (3, "master's")
        assert (sentinel.db, sentinel.password) == (0, "sentinel's")

    def test_tls_for_both(self):
        (server,), _ = parse_hosts(
            [
                {
                    "sentinels": [("s", 1)],
                    "master_name": "m",
                    "ssl": True,
                    "sentinel_kwargs": {"ssl": True, "ssl_ca_certs": "/ca.pem"},
                }
            ],
            "asgi",
        )
        assert isinstance(server.opener.make(), SSLConnection)
        assert server.sentinel_opener.make().ca_certs == "/ca.pem"

    def test_socket_options_count_for_sentinels_too_unless_they_have_their_own(self):
        host = {"sentinels": [("s", 1)], "master_name": "m", "socket_connect_timeout": 1}
        (server,), _ = parse_hosts([host], "asgi")
        assert server.sentinel_opener.make().socket_connect_timeout == 1
        (server,), _ = parse_hosts([{**host, "sentinel_kwargs": {}}], "asgi")
        assert server.sentinel_opener.make().socket_connect_timeout == 5

    @pytest.mark.parametrize(
        "entry",
        [
            {"sentinels": [("s", 1)]},
            {"master_name": "m"},
            {"sentinels": [], "master_name": "m"},
            {"sentinels": "s:26379", "master_name": "m"},
            {"sentinels": [("s", 1)], "master_name": ""},
        ],
    )
    def test_both_keys_are_needed(self, entry):
        with pytest.raises(HostsError, match=r"hosts\[0\]: .*both sentinels.*master_name"):
            parse_hosts([entry], "asgi")

    def test_options_for_sentinels_are_a_dict(self):
        entry = {"sentinels": [("s", 1)], "master_name": "m", "sentinel_kwargs": [("db", 1)]}
        with pytest.raises(HostsError, match="sentinel_kwargs must be a dict"):
            parse_hosts([entry], "asgi")

    def test_a_replica_is_no_use(self):
        entry = {"sentinels": [("s", 1)], "master_name": "m", "is_master": False}
        with pytest.raises(HostsError, match="needs the master"):
            parse_hosts([entry], "asgi")


class TestCluster:
    def test_shape(self):
        servers, bases = parse_hosts(
            [{"cluster": [("a", 7000), "redis://b:7001"], "password": "p"}], "asgi"
        )
        assert len(servers) == 8
        assert all(isinstance(server, ClusterServer) for server in servers)
        assert bases == [f"{{asgi:{number}}}" for number in range(8)]
        assert servers[0].opener.make().password == "p"

    def test_partitions(self):
        servers, bases = parse_hosts([{"cluster": [("a", 7000)], "partitions": 3}], "asgi")
        assert len(servers) == len(bases) == 3

    def test_what_urls_say_counts_for_every_node(self):
        servers, _ = parse_hosts([{"cluster": ["rediss://u:p@a:7000"]}], "asgi")
        connection = servers[0].opener.make(host="b", port=7001)
        assert isinstance(connection, SSLConnection)
        assert (connection.host, connection.username, connection.password) == ("b", "u", "p")

    @pytest.mark.parametrize("nodes", [[], "redis://a:7000", None, {"a": 7000}])
    def test_nodes_must_be_a_list(self, nodes):
        with pytest.raises(HostsError, match="cluster must be a list"):
            parse_hosts([{"cluster": nodes}], "asgi")

    @pytest.mark.parametrize("count", [0, -1, "8", 2.5, None])
    def test_partitions_must_be_a_number(self, count):
        with pytest.raises(HostsError, match="partitions must be"):
            parse_hosts([{"cluster": [("a", 1)], "partitions": count}], "asgi")

    def test_a_cluster_must_be_the_only_entry(self):
        with pytest.raises(HostsError, match="only entry"):
            parse_hosts([{"cluster": [("a", 1)]}, ("b", 2)], "asgi")

    def test_a_node_with_a_path_is_refused(self):
        with pytest.raises(HostsError, match="no path"):
            parse_hosts([{"cluster": ["unix:///run/redis.sock"]}], "asgi")


class TestRubbish:
    @pytest.mark.parametrize("hosts", ["redis://localhost", "localhost", b"redis://localhost", ""])
    def test_a_bare_string_is_refused(self, hosts):
        message = r"^You must pass a list of Redis hosts, even if there is only one\.$"
        with pytest.raises(ValueError, match=message):
            RedisChannelLayer(hosts=hosts)

    @pytest.mark.parametrize("hosts", [6379, {"host": "localhost"}, object()])
    def test_hosts_must_be_a_list(self, hosts):
        with pytest.raises(HostsError, match="hosts must be a list, not a"):
            parse_hosts(hosts, "asgi")

    @pytest.mark.parametrize(
        "entry",
        [
            "localhost",
            "localhost:6379",
            "http://localhost",
            "redis://localhost:port",
            "redis://localhost:99999",
            "redis://localhost?nonsense=1",
            "unix://",
            None,
            6379,
            3.5,
            (),
            ("localhost",),
            ("localhost", None),
            ("localhost", "port"),
            ("localhost", 0),
            ("localhost", 65536),
            ("localhost", -1),
            ("", 6379),
            (6379, "localhost"),
            ("localhost", 6379, 0),
            {"address": None, "nonsense": 1},
            {"address": 6379},
            {"address": "localhost"},
            {"host": "localhost", "nonsense": 1},
            {"host": "localhost", "socket_timeout": "soon"},
            {"host": "localhost", "ssl_ca_certs": "/ca.pem"},
            {"host": "localhost", "ssl": True, "ssl_cert_reqs": "perhaps"},
            b"\xff",
        ],
        ids=repr,
    )
    def test_an_entry_that_is_none_is_named(self, entry):
        with pytest.raises(HostsError, match=r"^hosts\[1\]: ") as refused:
            parse_hosts([("localhost", 6379), entry], "asgi")
        assert isinstance(refused.value, ValueError)
        assert isinstance(refused.value, ChannelsError)

    @pytest.mark.parametrize(
        "url",
        [
            "http://user:secret@h:1",
            "user:secret@h:1",
            "//u:secret@h",
            "redis://user:secret#1@h",
            "redis://user:secret@h:port",
        ],
    )
    def test_passwords_are_not_shown(self, url):
        for entry in (url, {"address": url}):
            with pytest.raises(HostsError) as refused:
                parse_hosts([entry], "asgi")
            assert "secret" not in str(refused.value)
            assert "secret" not in str(refused.value.__cause__)

    @given(
        st.recursive(
            st.none() | st.integers() | st.text() | st.binary() | st.floats(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["address", "host", "sentinels", "cluster", "ssl"])
                    | st.text(max_size=5),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=6,
        )
    )
    def test_anything_is_either_understood_or_refused(self, hosts):
        with contextlib.suppress(HostsError):
            servers, bases = parse_hosts(hosts, "asgi")
            assert len(servers) == len(bases) == len(set(bases))


class TestBases:
    @given(st.text().filter(lambda prefix: not prefix.startswith("}")), st.integers(1, 20))
    def test_each_partition_has_a_base_that_stays_in_one_slot(self, prefix, count):
        _, bases = parse_hosts([{"cluster": [("h", 1)], "partitions": count}], prefix)
        assert len(set(bases)) == count
        for base in bases:
            slots = {key_slot(f"{base}:{kind}".encode()) for kind in ("inbox:x", "group:{y}", "z")}
            assert len(slots) == 1

    def test_a_prefix_that_makes_no_hash_tag_is_refused_for_a_cluster_only(self):
        parse_hosts([("h", 1)], "}x")
        with pytest.raises(HostsError, match="begins with"):
            parse_hosts([{"cluster": [("h", 1)]}], "}x")

    def test_a_cluster_of_three_has_partitions_on_each_node(self):
        _, bases = parse_hosts([{"cluster": [("a", 1)]}], "asgi")
        assert {key_slot(base.encode()) * 3 // 16384 for base in bases} == {0, 1, 2}
