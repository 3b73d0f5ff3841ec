"""Each script does what its head says, exactly once for each number of a sender."""

import hashlib
import time

import pytest
from redis.exceptions import ResponseError

from channels.layers.redis.scripts import SCRIPTS

LEASE = 60_000


@pytest.fixture
def run(redis):
    def run(name, keys, *arguments):
        return redis.eval(SCRIPTS[name].source, len(keys), *keys, *arguments)

    return run


@pytest.fixture
def key(base):
    return lambda *parts: ":".join((base, *parts))


@pytest.fixture
def make_inbox(run, key):
    def make(process):
        run("register", [key("inbox", process)], LEASE, "")
        return key("inbox", process)

    return make


def entries(redis, stream):
    """What a stream holds, but for the entry that an inbox is made with, and senders."""
    return [
        (name, data)
        for _, fields in redis.xrange(stream)
        for name, data in fields.items()
        if name not in (b"h", b"s")
    ]


def test_every_script_says_what_it_takes_and_returns():
    for script in SCRIPTS.values():
        head = script.source.decode().partition("\n")[0]
        assert head.startswith("-- ")
        assert b"-- KEYS: " in script.source
        assert b"-- ARGV: " in script.source
        assert script.sha == hashlib.sha1(script.source).hexdigest()


# The inbox


def test_entries_tell_their_sender_and_number(run, redis, key, make_inbox):
    inbox = make_inbox("p")
    run("join", [key("group", "g")], "p:p", LEASE)
    run("send", [inbox, key("sender", "abc")], 7, LEASE, "cx", "1", 100)
    run(
        "group_send",
        [key("group", "g"), key("sender", "abc")],
        8,
        LEASE,
        key(),
        "gg",
        "2",
        100,
        1,
        1,
    )
    origins = [fields[b"s"] for _, fields in redis.xrange(inbox) if b"s" in fields]
    assert origins == [b"abc:7", b"abc:8"]


def test_register_makes_an_inbox_once(run, redis, key):
    inbox = key("inbox", "p")
    now, made, last, known, *_ = run("register", [inbox], LEASE, "")
    assert abs(now / 1000 - time.time()) < 5
    assert (made, known) == (1, 1)
    assert [entry_id for entry_id, _ in redis.xrange(inbox)] == [last]
    assert run("register", [inbox], LEASE, last)[1:4] == [0, last, 1]
    assert 0 < redis.pttl(inbox) <= LEASE


def test_register_tells_when_what_was_read_is_not_there(run, redis, key):
    """As on a replica that took over before it had everything."""
    inbox = key("inbox", "p")
    run("register", [inbox], LEASE, "")
    newer = redis.xadd(inbox, {"c": "x"})
    missing = f"{int(newer.partition(b'-')[0]) - 1}-7"
    assert run("register", [inbox], LEASE, missing)[1:4] == [0, newer, 0]
    assert run("register", [inbox], LEASE, newer)[1:4] == [0, newer, 1]


@pytest.mark.parametrize("command", [("SET", "x"), ("SADD", "x"), ("HSET", "x", "y")])
def test_register_replaces_what_is_no_inbox(run, redis, key, command):
    inbox = key("inbox", "p")
    redis.execute_command(command[0], inbox, *command[1:])
    assert run("register", [inbox], LEASE, "1-1")[1] == 1
    assert redis.type(inbox) == b"stream"


def test_send_appends_in_order_and_once(run, redis, key, make_inbox):
    inbox, sender = make_inbox("p"), key("sender", "s")
    for number in (1, 2, 2, 1, 3):
        assert run("send", [inbox, sender], number, LEASE, "cx", str(number), 10) == 1
    assert entries(redis, inbox) == [(b"cx", b"1"), (b"cx", b"2"), (b"cx", b"3")]
    assert 0 < redis.pttl(sender) <= LEASE


def test_send_to_a_process_that_is_gone_makes_no_inbox(run, redis, key):
    inbox, sender = key("inbox", "gone"), key("sender", "s")
    for _ in range(2):
        assert run("send", [inbox, sender], 1, LEASE, "cx", "m", 10) == 0
    assert not redis.exists(inbox)


def test_a_refusal_is_repeated_even_when_there_is_room_again(run, redis, key, make_inbox):
    inbox, sender = make_inbox("p"), key("sender", "s")
    assert run("send", [inbox, sender], 1, LEASE, "cx", "1", 1) == -1
    redis.xtrim(inbox, maxlen=0, approximate=False)
    assert run("send", [inbox, sender], 2, LEASE, "cx", "2", 1) == 1
    assert run("send", [inbox, sender], 1, LEASE, "cx", "1", 1) == -1
    assert run("send", [inbox, sender], 2, LEASE, "cx", "2", 1) == 1
    assert entries(redis, inbox) == [(b"cx", b"2")]


def test_what_is_remembered_of_a_sender_is_bounded(run, redis, key):
    inbox, sender = key("inbox", "gone"), key("sender", "s")
    for number in range(1, 1200):
        run("send", [inbox, sender], number, LEASE, "cx", "m", 10)
    assert redis.hlen(f"{sender}:refusals") == 512
    assert 0 < redis.pttl(f"{sender}:refusals") <= LEASE
    assert run("send", [inbox, sender], 1199, LEASE, "cx", "m", 10) == 0


def test_renew_renews_inbox_and_groups(run, redis, key, make_inbox):
    inbox, group = make_inbox("p"), key("group", "g")
    redis.pexpire(inbox, 100)
    redis.set(key("lost", "p"), 7)
    now, alive, lost, *rest = run("renew", [inbox, key("lost", "p"), group], "p:p", LEASE)
    assert (alive, lost, *rest) == (1, 7, [], [group.encode()])
    assert redis.zscore(group, "p:p") == now + LEASE
    assert redis.pttl(inbox) > 100
    assert redis.pttl(group) > 100
    assert redis.pttl(key("lost", "p")) > 100, "it is never reset, but goes with the lease"


def test_renew_tells_of_groups_that_have_lost_the_member(run, redis, key, make_inbox):
    groups = [key("group", name) for name in "abc"]
    keys = [make_inbox("p"), key("lost", "p"), *groups]
    for group in groups:
        run("join", [group], "p:p", LEASE)
        run("join", [group], "p:other", LEASE)
    assert run("renew", keys, "p:p", LEASE)[4] == []
    redis.delete(groups[0])
    redis.zrem(groups[2], "p:p")
    assert run("renew", keys, "p:p", LEASE)[4] == [groups[0].encode(), groups[2].encode()]
    assert run("renew", keys, "p:p", LEASE)[4] == []


def test_renew_without_an_inbox_renews_nothing(run, redis, key):
    keys = [key("inbox", "p"), key("lost", "p"), key("group", "g")]
    assert run("renew", keys, "p:p", LEASE)[1] == 0
    assert not redis.exists(*keys)


def test_renew_passes_over_what_is_no_group(run, redis, key, make_inbox):
    redis.set(key("group", "bad"), "x")
    groups = [key("group", "a"), key("group", "bad"), key("group", "z")]
    _, alive, _, foreign, missing = run(
        "renew", [make_inbox("p"), key("lost", "p"), *groups], "p:p", LEASE
    )
    assert (alive, foreign) == (1, [groups[1].encode()])
    assert missing == [groups[0].encode(), groups[2].encode()]
    assert redis.zscore(groups[2], "p:p")
    assert redis.get(groups[1]) == b"x"


# Groups


@pytest.fixture
def group_send(run, key, base):
    def send(number, data="m", *, capacity=100, expiry=60_000, queue=100):
        keys = [key("group", "g"), key("sender", "s")]
        return run("group_send", keys, number, LEASE, base, "gg", data, capacity, expiry, queue)

    return send


def test_group_send_reaches_every_process_once(run, redis, key, make_inbox, group_send):
    inboxes = [make_inbox(process) for process in "abc"]
    for process in "abc":
        run("join", [key("group", "g")], f"p:{process}", LEASE)
    assert group_send(1) == [3, 0, 0]
    assert group_send(1) == [0, 0, 0]
    for inbox in inboxes:
        assert entries(redis, inbox) == [(b"gg", b"m")]


def test_group_send_forgets_the_dead(run, redis, key, make_inbox, group_send):
    make_inbox("late")
    run("join", [key("group", "g")], "p:gone", LEASE)
    redis.zadd(key("group", "g"), {"p:late": 1})
    assert group_send(1) == [0, 0, 0]
    assert not redis.exists(key("group", "g"))
    assert entries(redis, key("inbox", "late")) == []


def test_group_send_counts_for_a_full_inbox_what_it_missed(run, redis, key, make_inbox, group_send):
    make_inbox("p")
    run("join", [key("group", "g")], "p:p", LEASE)
    for number in (1, 2, 2, 3):
        assert group_send(number, capacity=1) == [0, 0, 0]
    assert redis.get(key("lost", "p")) == b"3"


def test_what_a_full_inbox_missed_is_known_as_long_as_the_inbox(
    run, redis, key, make_inbox, group_send
):
    redis.pexpire(make_inbox("p"), 10 * LEASE)
    run("join", [key("group", "g")], "p:p", 10 * LEASE)
    group_send(1, capacity=1)
    assert redis.pttl(key("lost", "p")) > 9 * LEASE


def test_group_send_to_queues(run, redis, key, group_send):
    run("join", [key("group", "g")], "q:jobs", LEASE)
    run("join", [key("group", "g")], "r:elsewhere", LEASE)
    assert [group_send(n, queue=2) for n in (1, 2)] == [[1, 0, 0, b"elsewhere"]] * 2
    assert group_send(3, queue=2) == [0, 1, 0, b"elsewhere"]
    assert group_send(3, queue=2) == [0, 1, 0, b"elsewhere"]
    assert entries(redis, key("queue", "jobs")) == [(b"m", b"m")] * 2


def test_group_send_leaves_queues_to_a_sender_whose_capacities_differ(run, redis, key, group_send):
    for member in ("q:jobs", "r:elsewhere"):
        run("join", [key("group", "g")], member, LEASE)
    for _ in range(2):
        assert group_send(1, queue=-1) == [0, 0, 0, b"jobs", b"elsewhere"]
    assert not redis.exists(key("queue", "jobs"))


@pytest.mark.parametrize("member", ["", "x", "q:", "q:x:y", "q:\xff", "p:", "\xff\xfe"])
def test_group_send_passes_over_strange_members(run, redis, key, make_inbox, group_send, member):
    inbox = make_inbox("p")
    for each in (member, "p:p"):
        run("join", [key("group", "g")], each, LEASE)
    assert group_send(1)[0] == 1
    assert entries(redis, inbox) == [(b"gg", b"m")]


def test_invite_tells_a_process_before_what_follows(run, redis, key, make_inbox, group_send):
    inbox = make_inbox("p")
    keys = [key("group", "g"), inbox, key("sender", "s")]
    for _ in range(2):
        assert run("invite", keys, 1, LEASE, "p:p", LEASE, "jg", "channel") == 1
    group_send(2)
    assert entries(redis, inbox) == [(b"jg", b"channel"), (b"gg", b"m")]
    keys[1] = key("inbox", "gone")
    assert run("invite", keys, 3, LEASE, "p:gone", LEASE, "jg", "channel") == 0
    assert redis.zscore(key("group", "g"), "p:gone") is None


def test_a_group_lives_as_long_as_its_longest_lease(run, redis, key):
    run("join", [key("group", "g")], "p:long", 50_000)
    run("join", [key("group", "g")], "p:short", 1000)
    assert 40_000 < redis.pttl(key("group", "g")) <= 50_000


def test_many_join_and_leave_in_the_order_given(run, redis, key):
    kept, left, other = (key("group", name) for name in ("kept", "left", "other"))
    redis.set(other, "x")
    changes = [(left, LEASE), (other, LEASE), (kept, LEASE), (left, 0), (other, 0)]
    arguments = [part for _, lease in changes for part in ("p:p", lease)]
    assert run("join", [group for group, _ in changes], *arguments) == [2, 5]
    assert redis.zscore(kept, "p:p")
    assert not redis.exists(left)
    assert redis.get(other) == b"x"


def test_a_shorter_lease_does_not_shorten_a_membership(run, redis, key, make_inbox):
    group, member = key("group", "g"), "p:p"
    run("join", [group], member, 50_000)
    ends = redis.zscore(group, member)
    run("join", [group], member, 1000)
    run("invite", [group, make_inbox("p"), key("sender", "s")], 1, LEASE, member, 1000, "jg", "c")
    assert redis.zscore(group, member) == ends
    run("join", [group], member, 90_000)
    assert redis.zscore(group, member) > ends


# Queues


@pytest.fixture
def enqueue(run, key):
    def enqueue(number, data="m", *, capacity=3, expiry=60_000):
        keys = [key("queue", "q"), key("queue", "q", "expiry"), key("sender", "s")]
        return run("enqueue", keys, number, LEASE, data, capacity, expiry)

    return enqueue


@pytest.fixture
def open_queue(run, key):
    def open_queue(*, name="q", expiry=LEASE, gone=0, idle=10, wanted=1):
        keys = [key("queue", name), key("queue", name, "expiry")]
        return run("open_queue", keys, "readers", LEASE, expiry, gone, "me", idle, wanted)

    return open_queue


@pytest.fixture
def take(run, key):
    def take(number, entry, *, expiry=60_000, sent=None):
        keys = [key("queue", "q"), key("queue", "q", "expiry"), key("sender", "s")]
        sent = entry.partition(b"-")[0] if sent is None else sent
        return run("take", keys, number, LEASE, "readers", entry, sent, expiry)

    return take


def test_enqueue_keeps_order_and_capacity(redis, key, enqueue):
    assert [enqueue(n, n) for n in (1, 2, 3, 4)] == [[1, 0]] * 3 + [[0, 0]]
    redis.xtrim(key("queue", "q"), maxlen=2, approximate=False)
    assert enqueue(5, 5) == [1, 0]
    assert enqueue(4, 4) == [0, 0], "what was refused stays refused"
    assert [data for _, data in entries(redis, key("queue", "q"))] == [b"2", b"3", b"5"]


def test_enqueue_counts_what_has_expired_once(redis, key, enqueue):
    redis.xadd(key("queue", "q"), {"m": "old"}, id="1-1")
    redis.xadd(key("queue", "q"), {"m": "older"}, id="1-2")
    assert enqueue(1) == [1, 2]
    assert enqueue(1) == [1, 2], "the same answer"
    assert enqueue(2) == [1, 0]
    assert redis.xlen(key("queue", "q")) == 2


def test_a_queue_outlives_its_messages_by_as_long_as_they_live(redis, key, enqueue):
    enqueue(1, expiry=10_000)
    assert 15_000 <= redis.pttl(key("queue", "q")) <= 20_000


def test_messages_live_as_long_as_the_longest_expiry_says(
    run, redis, key, enqueue, group_send, open_queue, take
):
    queue, expiry = key("queue", "q"), key("queue", "q", "expiry")
    enqueue(1, expiry=60_000)
    run("join", [key("group", "g")], "q:q", LEASE)
    time.sleep(0.02)
    assert enqueue(2, expiry=10) == [1, 0]
    assert group_send(3, expiry=10) == [1, 0, 0]
    assert open_queue(expiry=10) == [0, []]
    assert redis.xlen(queue) == 3
    assert 110_000 < redis.pttl(expiry) <= 120_000
    assert group_send(4, expiry=90_000) == [1, 0, 0]
    assert redis.get(expiry) == b"90000"
    assert take(5, redis.xrange(queue)[0][0], expiry=10) == 1
    time.sleep(0.02)
    redis.delete(expiry)
    assert take(6, redis.xrange(queue)[0][0], expiry=10) == -1
    assert open_queue(expiry=10) == [2, []]


def test_rubbish_under_the_name_of_a_queues_expiry_disturbs_no_group(
    run, redis, key, make_inbox, group_send
):
    inbox = make_inbox("p")
    for member in ("q:q", "p:p"):
        run("join", [key("group", "g")], member, LEASE)
    redis.sadd(key("queue", "q", "expiry"), "x")
    assert group_send(1) == [2, 0, 0]
    assert len(entries(redis, inbox)) == len(entries(redis, key("queue", "q"))) == 1


def test_open_queue_makes_it_once_and_removes_silent_readers(redis, key, open_queue):
    queue = key("queue", "q")
    for _ in range(2):
        assert open_queue() == [0, []]
    redis.xgroup_createconsumer(queue, "readers", "silent")
    deadline = time.monotonic() + 10
    while redis.xinfo_consumers(queue, "readers")[0]["idle"] <= 500:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    redis.xgroup_createconsumer(queue, "readers", "new")
    open_queue(gone=500)
    assert [reader["name"] for reader in redis.xinfo_consumers(queue, "readers")] == [b"new"]
    redis.set(key("queue", "other"), "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        open_queue(name="other")


def test_an_entry_is_taken_once_whoever_was_handed_it(redis, key, enqueue, open_queue, take):
    queue = key("queue", "q")
    open_queue()
    for number in (1, 2):
        enqueue(number, number)
    ((_, ((one, _), (two, _))),) = redis.xreadgroup("readers", "first", {queue: ">"})
    redis.xclaim(queue, "readers", "second", 0, [one])
    assert take(3, one) == 1
    assert redis.xlen(queue) == redis.xpending(queue, "readers")["pending"] == 1
    assert take(4, one) == 0, "somebody has it"
    assert [take(3, one), take(4, one)] == [1, 0], "the same answers when they are repeated"
    assert take(5, two, sent=1) == -1
    assert take(5, two, sent=1) == -1
    assert redis.xlen(queue) == redis.xpending(queue, "readers")["pending"] == 0


def test_an_entry_can_be_taken_from_a_server_that_is_full(redis, key, enqueue, open_queue, take):
    open_queue()
    enqueue(1)
    ((_, ((entry, _),)),) = redis.xreadgroup("readers", "r", {key("queue", "q"): ">"})
    redis.config_set("maxmemory", "1")
    try:
        assert take(2, entry) == 1
    finally:
        redis.config_set("maxmemory", "0")
    assert redis.xlen(key("queue", "q")) == 0


def test_the_queue_of_a_server_that_is_full_can_be_read(redis, key, enqueue, open_queue):
    open_queue()
    enqueue(1)
    redis.config_set("maxmemory", "1")
    try:
        assert open_queue() == [0, []]
        assert redis.xreadgroup("readers", "r", {key("queue", "q"): ">"})
        redis.xgroup_destroy(key("queue", "q"), "readers")
        with pytest.raises(ResponseError, match="maxmemory"):
            open_queue()
    finally:
        redis.config_set("maxmemory", "0")


def test_what_a_reader_was_handed_is_another_ones_after_a_while(redis, key, enqueue, open_queue):
    queue = key("queue", "q")
    open_queue()
    for number in range(1, 4):
        enqueue(number, number)
    redis.xreadgroup("readers", "dead", {queue: ">"})
    assert open_queue(idle=60_000) == [0, []]
    redis.xdel(queue, redis.xrange(queue)[0][0])
    time.sleep(0.02)
    expired, ((_, fields),) = open_queue(idle=10, wanted=2)
    assert (expired, fields) == (0, [b"m", b"2"])
    names = {found["name"]: found["pending"] for found in redis.xinfo_consumers(queue, "readers")}
    assert names == {b"dead": 1, b"me": 1}
    open_queue(idle=60_000, gone=1)
    assert redis.xpending(queue, "readers")["pending"] == 2, "what it was handed keeps a reader"


def test_give_back_lets_others_have_it(run, redis, key, enqueue, open_queue):
    queue = key("queue", "q")
    open_queue()
    enqueue(1, "first")
    enqueue(2, "second")
    redis.xreadgroup("readers", "leaver", {queue: ">"}, count=1)
    for _ in range(2):
        run("give_back", [queue], "readers", "leaver", 1)
    ((_, found),) = redis.xreadgroup("readers", "other", {queue: ">"})
    assert [fields[b"m"] for _, fields in found] == [b"first", b"second"]
    assert [reader["name"] for reader in redis.xinfo_consumers(queue, "readers")] == [b"other"]
