from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from channels.layers.redis.connection.sharding import consistent_hash


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
