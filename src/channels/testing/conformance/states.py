"""States: dicts with a name, which expire. Skipped for a layer that does not support them."""

# ruff: noqa: D102 (the name of a test says what it checks)

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hypothesis import strategies as st

from .base import Layer, check, check_equal, refused
from .laws import LawTests

__all__ = ["StateTests"]

_LONG = 60.0

# What several writers do to the fields of one collection: a field, a value, and its revision.
_histories = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.none() | st.integers(0, 3)),
    min_size=5,
    max_size=30,
)


class StateTests(LawTests):
    """A state is there for everybody until it expires, and the newest revision stays."""

    @asynccontextmanager
    async def state_layer(self, *needs: str, **config: Any) -> AsyncIterator[Layer]:
        """Make a layer that supports states for the length of a block, or skip the test."""
        async with self.layer("supports_state", *needs, **config) as layer:
            yield layer

    async def test_a_state_is_read_as_it_was_set(self) -> None:
        async with self.state_layer() as layer:
            value = {"percent": 40, "parts": [{"n": None}], "text": "ä" * 300}
            check(await layer.set_state("jobs", "one", value, _LONG), "a first state is set")
            value["parts"] = "changed afterwards"
            expected = {**value, "parts": [{"n": None}]}
            check_equal(await layer.get_state("jobs", "one"), expected, "a state is kept whole")
            found = await layer.get_states("jobs")
            check_equal(found, {"one": expected}, "a collection has its states by field")
            found["one"]["parts"].append(1)
            check_equal(await layer.get_state("jobs", "one"), expected, "each reader has a copy")

    async def test_what_was_never_set_is_not_there(self) -> None:
        async with self.state_layer() as layer:
            await layer.set_state("jobs", "one", {"n": 1}, _LONG)
            check_equal(await layer.get_state("jobs", "two"), None, "there is no other field")
            check_equal(await layer.get_states("other"), {}, "there is no other collection")
            await layer.delete_state("other", "one")

    async def test_a_deleted_state_is_gone(self) -> None:
        async with self.state_layer() as layer:
            for field in ("one", "two"):
                await layer.set_state("jobs", field, {"n": field}, _LONG, revision=7)
            await layer.delete_state("jobs", "one")
            check_equal(await layer.get_states("jobs"), {"two": {"n": "two"}}, "it is gone alone")
            check(
                await layer.set_state("jobs", "one", {"n": 3}, _LONG, revision=1),
                "a state that was deleted leaves no revision",
            )

    async def test_states_expire(self) -> None:
        async with self.state_layer() as layer:
            await layer.set_state("jobs", "old", {"n": 1}, self.short_expiry, revision=9)
            await layer.set_state("jobs", "renewed", {"n": 1}, self.short_expiry)
            await layer.set_state("jobs", "renewed", {"n": 2}, _LONG)
            await layer.set_state("jobs", "long", {"n": 3}, _LONG)
            await asyncio.sleep(1.5 * self.short_expiry)
            kept = {"renewed": {"n": 2}, "long": {"n": 3}}
            check_equal(await layer.get_states("jobs"), kept, "what has expired is not there")
            check_equal(await layer.get_state("jobs", "old"), None, "nor is it found by name")
            check(
                await layer.set_state("jobs", "old", {"n": 4}, _LONG, revision=1),
                "a state that has expired leaves no revision",
            )

    async def test_a_full_collection_drops_what_would_expire_first(self) -> None:
        async with self.state_layer() as layer:
            layer.state_capacity = 3
            for n, field in enumerate(("b", "a", "c", "d"), 1):
                await layer.set_state("jobs", field, {"n": n}, _LONG + (n if n > 1 else 99))
            check_equal(set(await layer.get_states("jobs")), {"b", "c", "d"}, "one made room")
            await layer.set_state("jobs", "c", {"n": 9}, 1.0)
            check_equal(len(await layer.get_states("jobs")), 3, "setting one again takes no room")

    async def test_flush_forgets_states(self) -> None:
        async with self.state_layer("flush") as layer:
            await layer.set_state("jobs", "one", {"n": 1}, _LONG)
            await layer.flush()
            check_equal(await layer.get_states("jobs"), {}, "flush forgets states")

    async def test_what_cannot_be_a_state_is_refused(self) -> None:
        async with self.state_layer() as layer:
            for names in (("", "one"), ("jobs", "no field"), ("a:b", "one"), ("jobs", "x" * 100)):
                await refused(
                    f"{names} is refused", TypeError, layer.set_state, *names, {"n": 1}, _LONG
                )
            promise = "a value that is no dict is refused"
            await refused(promise, TypeError, layer.set_state, "jobs", "one", ["n"], _LONG)
            promise = "a state that lives for no time is refused"
            await refused(promise, ValueError, layer.set_state, "jobs", "one", {"n": 1}, 0)
            check_equal(await layer.get_states("jobs"), {}, "what was refused is not there")

    async def test_every_state_is_read_by_a_peer(self) -> None:
        async with self.state_layer() as layer, self.peer_of(layer) as peer:
            await layer.set_state("jobs", "one", {"n": 1}, _LONG, revision=2)
            check_equal(await peer.get_state("jobs", "one"), {"n": 1}, "a peer reads it")
            older = await peer.set_state("jobs", "one", {"n": 0}, _LONG, revision=1)
            check(not older, "a peer's older revision is refused")
            check(
                await peer.set_state("jobs", "one", {"n": 2}, _LONG, revision=3),
                "a peer's newer revision is set",
            )
            check_equal(await layer.get_state("jobs", "one"), {"n": 2}, "the newest is kept")

    async def test_the_newest_revision_of_each_state_stays(self) -> None:
        async def law(history: list[tuple[str, int, int | None]]) -> None:
            async with self.state_layer() as layer:
                model: dict[str, tuple[int, int]] = {}
                for n, (field, tens, revision) in enumerate(history):
                    value = 1000 * tens + n  # no two are equal
                    known = model.get(field)
                    newer = known is None or revision is None or revision > known[0]
                    done = await layer.set_state(
                        "jobs", field, {"n": value}, _LONG, revision=revision
                    )
                    check_equal(done, newer, "only a newer revision is set")
                    if newer:
                        model[field] = (revision or 0, value)
                expected = {field: {"n": value} for field, (_, value) in model.items()}
                check_equal(await layer.get_states("jobs"), expected, "the newest states are kept")

        async with self.state_layer():
            await self.try_law(law, _histories)
