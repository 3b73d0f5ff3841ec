"""Whatever a client sends gets the right answer and one line in the log, and harms nobody else."""

import json
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import InvalidStatus

from .site import Site, until

pytestmark = pytest.mark.server


@pytest.fixture
async def bystander(site: Site, flavour) -> AsyncIterator[None]:
    """Another connection, which must not notice anything."""
    client = await site.connect(f"{flavour}/")
    yield
    await client.send("still here")
    assert await client.recv() == "still here"


@pytest.fixture
def json_class(flavour: str) -> str:
    return f"{flavour.capitalize()}Json"


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a': 1}",
        "hello\x00\n\x1b[31m",
        "[" * 100_000,
        '{"a": NaN}',
        "[-Infinity]",
        "1e999",
        str(2**64),
        '"\\ud800"',
        "[" * 201 + "]" * 201,
    ],
    ids=[
        "empty",
        "unfinished",
        "wrong quotes",
        "control characters",
        "unfinished and nested",
        "no number",
        "infinite",
        "too large a float",
        "too large an integer",
        "half a character",
        "nested too deeply",
    ],
)
async def test_malformed_json(site: Site, flavour, json_class, text):
    client = await site.connect(f"{flavour}/json/")
    await client.send(text)
    await site.expect_line(f"{json_class} at /ws/{flavour}/json/ closed with 1007:")
    assert (await client.closed())[0] == site.code(1007)


@pytest.mark.usefixtures("bystander")
async def test_binary_where_text_is_expected(site: Site, flavour, json_class):
    client = await site.connect(f"{flavour}/json/")
    await client.send(b'{"a": 1}')
    await site.expect_line(
        f"{json_class} at /ws/{flavour}/json/ closed with 1003: ValueError: No text section"
    )
    assert (await client.closed())[0] == site.code(1003)


async def test_good_json(site: Site, flavour):
    client = await site.connect(f"{flavour}/json/")
    content = {"a": [1, 2.5, None, True, "Grüße 🙂"]}
    await client.send(json.dumps(content))
    assert json.loads(await client.recv()) == content


# Fewer than are written as they come; tests/unit/runtime/test_handlers.py has more.
UNHANDLED = [
    ({"type": "no.such.thing"}, "No handler for message type no.such.thing"),
    ({"type": "accept"}, "names a method of the framework"),
    ({"type": "evil\n\x1b[31mline"}, "evil\\n\\x1b[31mline"),
    ({"type": "x" * 5000}, "..."),
    ({"type": 5}, "must be a string"),
]


@pytest.mark.usefixtures("bystander")
async def test_layer_messages_that_nothing_handles(site: Site, flavour, actor):
    client = await site.connect(f"{flavour}/")
    for message, complaint in UNHANDLED:
        seen = len(site.log)
        await client.send(f"!layer {json.dumps(message)}")
        await client.send("unharmed")
        assert await client.recv() == "unharmed"
        (line,) = await until(lambda seen=seen: site.log[seen:], f"a line about {message}")
        assert f"{actor} at /ws/{flavour}/ dropped a layer message:" in line
        assert complaint in line
        assert len(line) < 500
        site.expected.append(line)


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize(
    "group",
    ["x" * 100, "x" * 100_000, "with space", "Zürich", "", "a!b"],
    ids=["too long", "far too long", "space", "umlaut", "empty", "bang"],
)
async def test_group_names_from_the_client(site: Site, flavour, actor, group):
    client = await site.connect(f"{flavour}/")
    await client.send(f"!join {group}")
    await site.expect_crash(actor, f"/ws/{flavour}/", "channels.exceptions.InvalidNameError")
    assert (await client.closed())[0] == site.code(1011)


async def test_a_group_name_as_long_as_it_may_be(site: Site, flavour):
    client = await site.connect(f"{flavour}/")
    await client.send("!join " + "x" * 99)
    assert await client.recv() == "joined"


@pytest.mark.usefixtures("bystander")
async def test_the_path_cannot_forge_log_lines(site: Site):
    with pytest.raises(InvalidStatus):
        await site.connect("none%0AERROR%20channels:%20forged%1b%5b31m/")
    await site.expect_line("Refused websocket", "none\\nERROR", "[404]")
