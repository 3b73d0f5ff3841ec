import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.layers.redis import keys
from channels.layers.redis.keys import consistent_hash
from channels.layers.redis.scripts import load_scripts


@given(st.text() | st.binary(), st.integers(1, 100))
def test_a_name_has_one_place_on_the_ring(name, size):
    place = consistent_hash(name, size)
    assert 0 <= place < size
    assert consistent_hash(name, size) == place


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 100))
def test_text_and_its_bytes_are_in_the_same_place(name, size):
    assert consistent_hash(name, size) == consistent_hash(name.encode("utf-8"), size)


def test_places_are_those_of_the_well_known_function():
    """CRC-32, its lower 12 bits scaled onto the ring; checked with zlib by hand."""
    assert consistent_hash("", 10) == 0
    assert consistent_hash("a", 2) == ((0xE8B7BE43 & 0xFFF) * 2) // 0x1000 == 1
    assert consistent_hash("123456789", 100) == ((0xCBF43926 & 0xFFF) * 100) // 0x1000 == 57


def test_names_are_spread_evenly():
    places = Counter(consistent_hash(f"group-{n}", 8) for n in range(8000))
    assert all(800 < places[place] < 1200 for place in range(8))


@given(st.text(), st.integers(1, 20))
def test_one_more_place_moves_names_to_a_neighbour_only(name, size):
    assert consistent_hash(name, size + 1) - consistent_hash(name, size) in (0, 1)


# What processes of other versions call it, and what is in servers

BASE = "{asgi:0}"


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        (keys.base_of("asgi", 0), BASE),
        (keys.inbox_key(BASE, "ab12"), "{asgi:0}:inbox:ab12"),
        (keys.lost_key(BASE, "ab12"), "{asgi:0}:lost:ab12"),
        (keys.group_key(BASE, "chat"), "{asgi:0}:group:chat"),
        (keys.named_key(BASE, "chat"), "{asgi:0}:named:chat"),
        (keys.queue_key(BASE, "jobs"), "{asgi:0}:queue:jobs"),
        (keys.queue_expiry_key("{asgi:0}:queue:jobs"), "{asgi:0}:queue:jobs:expiry"),
        (keys.sender_key(BASE, "ef56"), "{asgi:0}:sender:ef56"),
        (keys.refusals_key("{asgi:0}:sender:ef56"), "{asgi:0}:sender:ef56:refusals"),
        (keys.state_key(BASE, "jobs"), "{asgi:0}:state:jobs"),
        (keys.state_expiry_key("{asgi:0}:state:jobs"), "{asgi:0}:state:jobs:expiry"),
        (keys.place_key(BASE, "2bb8"), "{asgi:0}:place:2bb8"),
        (keys.holder_key(BASE, "ab12"), "{asgi:0}:holder:ab12"),
        (keys.process_topic(BASE, "ab12"), "{asgi:0}:process:ab12"),
        (keys.group_topic(BASE, "chat"), "{asgi:0}:group:chat"),
        (keys.process_member("ab12"), "p:ab12"),
        (keys.queue_member("jobs", same_partition=True), "q:jobs"),
        (keys.queue_member("jobs", same_partition=False), "r:jobs"),
        (keys.READERS, "readers"),
        (keys.TO_GROUP, b"g"),
        (keys.TO_CHANNEL, b"c"),
        (keys.JOIN, b"j"),
        (keys.LEAVE, b"l"),
        (keys.NOTHING, b"h"),
        (keys.UNSURE, b"\x00unsure "),
    ],
)
def test_a_name_never_changes_since_old_and_new_processes_run_together(name, spelled):
    assert name == spelled


def test_the_pattern_of_all_keys_takes_a_prefix_literally(redis, prefix):
    base = keys.base_of(f"{prefix}[a]*?\\", 0)
    other = keys.base_of(f"{prefix}aXX\\", 0)
    for key in (keys.queue_key(base, "q"), keys.queue_key(other, "q")):
        redis.set(key, "")
    assert list(redis.scan_iter(keys.pattern_of_all(base))) == [f"{base}:queue:q".encode()]


#: What is spelled where a script builds one of these names.
IN_SCRIPTS = {
    "inbox_key": {keys.inbox_key("", "")},
    "lost_key": {keys.lost_key("", "")},
    "holder_key": {keys.holder_key("", "")},
    "queue_key": {keys.queue_key("", "")},
    "queue_expiry_key": {keys.queue_expiry_key("")},
    "refusals_key": {keys.refusals_key("")},
    "process_member": {keys.process_member("")},
    "queue_member": {"q:", "[qr]:", "r"},
    "FIELD_MESSAGE": {keys.FIELD_MESSAGE.decode()},
    "FIELD_ORIGIN": {keys.FIELD_ORIGIN.decode()},
    "FIELD_SENT": {keys.FIELD_SENT.decode()},
    "NOTHING": {keys.NOTHING.decode()},
}


OF_LAYERS = load_scripts("channels.layers.redis.scripts")


@pytest.mark.parametrize("script", OF_LAYERS.values(), ids=OF_LAYERS)
def test_scripts_spell_only_the_names_that_their_headers_say(script):
    lines = script.source.decode().splitlines()
    comments = " ".join(line.removeprefix("-- ") for line in lines if line.startswith("-- "))
    says = re.search(r"Spelled as in keys\.py: ([\w, ]+)\.", comments)
    code = "\n".join(line.partition("--")[0] for line in lines)
    texts = re.findall(r"'([^']*)'", code)
    kinds = (r":\w+:?", r"[a-z]:?", r"\^(q:)\(.*", r"\^\((\[qr\])\)(:)\(.*")
    matches = [re.fullmatch(kind, text) for text in texts for kind in kinds]
    spelled = {"".join(match.groups()) or match[0] for match in matches if match}
    names = says[1].split(", ") if says else []
    assert spelled == set().union(*(IN_SCRIPTS[name] for name in names))
