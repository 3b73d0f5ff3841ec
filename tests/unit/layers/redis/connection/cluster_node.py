"""A real node of a cluster whose other node is not there, which takes no time to make."""

from redis.crc import key_slot

from .....brokers import Broker
from .....ports import free_port
from .....topologies.harness import valkey

FIRST_HALF, SECOND_HALF = range(8192), range(8192, 16384)

#: What the cluster calls the node that is not there.
OTHER_NODE = "2" * 40


class ClusterNode(Broker):
    """It has the first half of the slots, and leads those that ask for the second half astray."""

    def __init__(self) -> None:
        super().__init__(
            valkey(), "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
            "--cluster-require-full-coverage", "no", "--cluster-allow-reads-when-down", "yes",
            "--cluster-announce-ip", "127.0.0.1",
        )  # fmt: skip
        elsewhere = free_port()
        (self.folder / "nodes.conf").write_text(
            f"{'1' * 40} 127.0.0.1:{self.port}@1 myself,master - 0 0 1 connected 0-8191\n"
            f"{OTHER_NODE} 127.0.0.1:{elsewhere}@1 master - 0 0 2 connected 8192-16383\n"
            "vars currentEpoch 2 lastVoteEpoch 0\n"
        )


def key_in(slots: range, word: str = "") -> str:
    """A key whose slot is one of these."""
    keys = (f"{word}{number}" for number in range(1000))
    return next(key for key in keys if key_slot(key.encode()) in slots)
