import math

import pytest

from channels.layers.options import LONGEST
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.keys import consistent_hash
from channels.layers.redis.partitions import Partitions, milliseconds


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (60, 60_000),
        (0.25, 250),
        (0, 1),
        (-5, 1),
        (0.0001, 1),
        (math.inf, int(LONGEST * 1000)),
    ],
)
def test_redis_takes_whole_positive_finite_milliseconds(seconds, expected):
    assert milliseconds(seconds) == expected


def test_a_name_is_where_every_process_finds_it():
    partitions = Partitions(*parse_hosts([("a", 1), ("b", 2), ("c", 3)], "x"))
    names = [f"name-{n}" for n in range(50)]
    assert [partitions.number_of(name) for name in names] == [consistent_hash(n, 3) for n in names]
    assert partitions.bases == ["{x:0}", "{x:1}", "{x:2}"]


async def test_only_keys_of_the_layer_are_deleted_and_some_are_kept(shared_broker, redis, prefix):
    strange = f"{prefix}*"  # a pattern, if it were not escaped
    partitions = Partitions(*parse_hosts([shared_broker.address] * 2, strange))
    mine = [f"{base}:{n}" for base in partitions.bases for n in range(1500)]
    others = [f"{{{prefix}more:0}}:x", f"{prefix}:y"]
    redis.mset(dict.fromkeys([*mine, *others], "1"))
    await partitions.delete_keys(but=[mine[7], mine[2000]])
    assert set(redis.keys(f"*{prefix}*")) == {k.encode() for k in (mine[7], mine[2000], *others)}
    sender = partitions.senders.pop()
    await sender.aclose()
