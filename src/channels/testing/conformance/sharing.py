"""What limits share: token buckets and places. Skipped for a layer that does not keep them."""

# ruff: noqa: D102 (the name of a test says what it checks)

import asyncio
from typing import Any

from .base import Layer, LayerHarness, check, check_equal, refused

__all__ = ["SharingTests"]

# Tokens in a second: so slow that none comes back while a test runs.
_SLOW = 0.001


class SharingTests(LayerHarness):
    """All processes together take no more than there is."""

    async def test_a_bucket_is_empty_after_its_burst_and_fills_again(self) -> None:
        async with self.layer("supports_tokens") as layer:
            for _ in range(3):
                found = await layer.take_tokens("a", rate=4, burst=3)
                check_equal(found, (1, 0), "a full bucket gives a token for each call")
            taken, wait = await layer.take_tokens("a", rate=4, burst=3)
            check_equal(taken, 0, "an empty bucket gives none")
            check(0 < wait <= 0.25, "it says after how many seconds it will have one")
            taken, _ = await layer.take_tokens("b", rate=4, burst=3)
            check_equal(taken, 1, "another bucket is another one")
            await asyncio.sleep(wait + 0.05)
            taken, _ = await layer.take_tokens("a", rate=4, burst=3)
            check_equal(taken, 1, "it fills again")

    async def test_as_many_tokens_are_taken_as_there_are(self) -> None:
        async with self.layer("supports_tokens") as layer:
            options = {"rate": _SLOW, "burst": 10, "least": 1, "most": 7}
            check_equal(await layer.take_tokens("a", **options), (7, 0), "most are taken")
            taken, wait = await layer.take_tokens("a", **options)
            check(2.9 < taken < 3.5, "then what is left")
            check_equal(wait, 0, "nobody has to wait who has got some")
            taken, wait = await layer.take_tokens("a", **options)
            check_equal(taken, 0, "then none")
            check(wait > 100, "and it says for how long")

    async def test_what_is_no_bucket_is_refused(self) -> None:
        async with self.layer("supports_tokens") as layer:

            async def take(key: str, rate: float, burst: float) -> None:
                await layer.take_tokens(key, rate=rate, burst=burst)

            await refused("a name with a space is refused", TypeError, take, "no name", 1, 1)
            await refused("a bucket that never fills is refused", ValueError, take, "a", 0, 1)
            promise = "a bucket without a bound is refused"
            await refused(promise, ValueError, take, "a", 1, float("inf"))

    async def test_processes_together_take_no_more_tokens_than_there_are(self) -> None:
        async with self.pair("supports_tokens") as layers:
            taking = [
                layer.take_tokens("shared", rate=_SLOW, burst=20, most=3) for layer in layers * 8
            ]
            taken = sum(taken for taken, _ in await asyncio.gather(*taking))
            check(19.5 < taken < 20.5, "they take what one of them could take")

    async def test_processes_together_hold_no_more_places_than_there_may_be(self) -> None:
        async with self.pair("supports_places") as (layer, peer):
            check_equal(await layer.take_places({"user": 2, "a": 9}), None, "the first is taken")
            check_equal(await peer.take_places({"user": 2}), None, "so is the second")
            for each in (layer, peer):
                full = await each.take_places({"other": 1, "user": 2})
                check_equal(full, "user", "there is no third, and it says of what")
            check_equal(await peer.take_places({"other": 1}), None, "who is refused takes nothing")
            layer.give_places(["user", "a"])
            await self.until_free(peer, "user", 2, "what is given back can be taken")
            check_equal(await layer.take_places({"user": 2}), "user", "it was taken once")

    async def test_a_place_that_was_added_unasked_counts(self) -> None:
        async with self.pair("supports_places") as (layer, peer):
            layer.add_places(["user"])
            check_equal(await layer.take_places({"user": 1}), "user", "it counts in its process")

            async def until_it_counts() -> None:
                while await peer.take_places({"user": 1}) is None:
                    peer.give_places(["user"])
                    await asyncio.sleep(0.02)

            await self.soon(until_it_counts(), "it counts in others")

    async def test_places_of_a_layer_that_was_closed_are_free(self) -> None:
        async with self.layer("supports_places") as layer:
            async with self.peer_of(layer) as peer:
                check_equal(await peer.take_places({"user": 1}), None, "the place is taken")
            await self.until_free(layer, "user", 1, "what a closed layer held is free")

    async def test_what_is_no_place_is_refused(self) -> None:
        async with self.layer("supports_places") as layer:
            promise = "a name with a space is refused"
            await refused(promise, TypeError, layer.take_places, {"no name": 1})

    async def until_free(self, layer: Layer, name: str, most: int, promise: str) -> None:
        """Take a place as soon as there is one."""

        async def take() -> Any:
            while await layer.take_places({name: most}) is not None:  # noqa: ASYNC110 - others give
                await asyncio.sleep(0.02)

        await self.soon(take(), promise)
