"""Names of channels and groups."""

# ruff: noqa: D102 (the name of a test says what it checks)

import re

from .base import LayerHarness, check, check_equal, refused

__all__ = ["NameTests"]

_MESSAGE = {"type": "conformance.name"}

VALID_NAMES = ["a", "9", "Z.z", "chat.room-1_x", "x" * 99]
INVALID_NAMES = [
    "",
    " ",
    "two words",
    "line\nbreak",
    "trailing\n",
    "caf\u00e9",
    "digit\u0663",
    "a/b",
    "a:b",
    "x" * 100,
    "x" * 1000,
    b"bytes",
    None,
    7,
    ["a"],
]


class NameTests(LayerHarness):
    """Valid names work; anything else is refused with a TypeError that says what is allowed."""

    async def test_valid_channel_names_work(self) -> None:
        async with self.layer() as layer:
            for name in VALID_NAMES:
                await layer.send(name, _MESSAGE)
                check_equal(await self.receive(layer, name), _MESSAGE, f"{name!r} is a channel")

    async def test_valid_group_names_work(self) -> None:
        async with self.layer("groups") as layer:
            channel = await layer.new_channel()
            for name in VALID_NAMES:
                await layer.group_add(name, channel)
                await layer.group_send(name, _MESSAGE)
                check_equal(await self.receive(layer, channel), _MESSAGE, f"{name!r} is a group")
                await layer.group_discard(name, channel)

    async def test_invalid_channel_names_are_refused(self) -> None:
        async with self.layer() as layer:
            for name in [*INVALID_NAMES, "!local", "two!local!parts"]:
                promise = f"{name!r:.40} is refused as a channel"
                await refused(promise, TypeError, layer.send, name, _MESSAGE)
                await self.soon(refused(promise, TypeError, layer.receive, name), promise)

    async def test_invalid_group_names_are_refused(self) -> None:
        async with self.layer("groups") as layer:
            channel = await layer.new_channel()
            for name in [*INVALID_NAMES, "group!local"]:
                promise = f"{name!r:.40} is refused as a group"
                await refused(promise, TypeError, layer.group_add, name, channel)
                await refused(promise, TypeError, layer.group_discard, name, channel)
                await refused(promise, TypeError, layer.group_send, name, _MESSAGE)

    async def test_groups_refuse_invalid_channel_names(self) -> None:
        async with self.layer("groups") as layer:
            for name in INVALID_NAMES:
                promise = f"{name!r:.40} is refused as a member"
                await refused(promise, TypeError, layer.group_add, "group", name)
                await refused(promise, TypeError, layer.group_discard, "group", name)

    async def test_new_channels_are_unique(self) -> None:
        async with self.layer() as layer:
            names = [await layer.new_channel() for _ in range(1000)]
            check_equal(len(set(names)), 1000, "every new channel has a name of its own")

    async def test_new_channel_names_are_process_local(self) -> None:
        async with self.layer() as layer:
            name = await layer.new_channel()
            check(
                re.fullmatch(r"[a-zA-Z0-9._-]+![a-zA-Z0-9._-]*", name) and len(name) < 100,
                f"{name!r} is a valid name with a process-local part after '!'",
            )

    async def test_new_channel_names_begin_with_the_prefix(self) -> None:
        async with self.layer("takes_prefix") as layer:
            name = await layer.new_channel("chat")
            check(name.startswith("chat"), f"{name!r} begins with the prefix given, 'chat'")
            await layer.send(name, _MESSAGE)
            check_equal(await self.receive(layer, name), _MESSAGE, "the channel works")
