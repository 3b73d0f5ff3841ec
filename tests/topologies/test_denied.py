"""Users without a right: a call works without it or says what is missing; the log is short."""

import asyncio
import logging
import re

import pytest
import redis

from channels.exceptions import BrokerError, ChannelsError
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.layers.redis.streams import inbox as inbox_module

from ..asgi import until
from ..brokers import find_servers, running
from ..faults.harness import Room, Sender
from .harness import access_rules

pytestmark = pytest.mark.server

RIGHTS = sorted({*re.findall(r" \+(\S+)", " ".join(access_rules()))})
# Those that are tried every time; the others take a while.
SOME = {"info", "ping", "publish", "subscribe", "xgroup|create", "xread", "xreadgroup", "zrem"}


@pytest.fixture(scope="module", params=sorted(find_servers()))
def guarded(request):
    with running(request.param) as broker:
        broker.knows = {right for right in RIGHTS if knows(broker, right)}
        yield broker


def knows(broker, right):
    try:
        broker.cli("ACL", "SETUSER", "channels", f"+{right}")
    except redis.ResponseError:
        return False
    return True


def user_without(broker, right):
    broker.cli("ACL", "DELUSER", "channels")
    rights = sorted(broker.knows - {right})
    broker.cli(
        "ACL", "SETUSER", "channels", "on", ">secret", "~{asgi:*",
        "resetchannels", "&{asgi:*", *(f"+{each}" for each in rights),
    )  # fmt: skip
    return [f"redis://channels:secret@127.0.0.1:{broker.port}/0"]


async def attempt(call):
    """What came of a call: a result, or the text of an error."""
    try:
        return await asyncio.wait_for(call, 3)
    except ChannelsError as error:
        return f"{type(error).__name__}: {error}"
    except TimeoutError:
        return None


async def use(layer, peer):
    """Every kind of call, and what came of each."""
    told = {}
    told["new"] = channel = await attempt(layer.new_channel())
    if "!" not in channel or " " in channel:
        return told
    told["add"] = await attempt(layer.group_add("group", channel))
    told["named"] = await attempt(layer.group_add("group", "queue"))
    told["group"] = await attempt(peer.group_send("group", {"type": "t"}))
    told["send"] = await attempt(peer.send(channel, {"type": "t"}))
    told["enqueue"] = await attempt(peer.send("queue", {"type": "t"}))
    told["receive"] = await attempt(layer.receive("queue"))
    told["leave"] = await attempt(layer.group_discard("group", channel))
    told["flush"] = await attempt(layer.flush())
    return told


@pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
@pytest.mark.parametrize(
    "right", [r if r in SOME else pytest.param(r, marks=pytest.mark.slow) for r in RIGHTS]
)
async def test_each_right_is_missed_aloud_or_not_at_all(
    guarded, layer_class, right, caplog, monkeypatch
):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(inbox_module, "_BLOCK", 0.2)
    if right not in guarded.knows:
        pytest.skip("This server has no such right")
    hosts = user_without(guarded, right)
    layer, peer = (layer_class(hosts, prefix=f"asgi:{right}") for _ in range(2))
    try:
        told = await use(layer, peer)
    finally:
        await layer.aclose()
        await peer.aclose()
    errors = {call: text for call, text in told.items() if "Error: " in str(text)}
    command = right.partition("|")[0]
    for text in errors.values():
        assert re.search(command, text, re.IGNORECASE), text
        assert "rights (ACL)" in text
    lines = [record for record in caplog.records if record.name == "channels.layers"]
    assert len(lines) <= 4, caplog.text
    assert not [record for record in lines if record.exc_info], caplog.text
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("missing", ["info", "xread"])
async def test_a_right_that_is_missed_later(guarded, missing, caplog, monkeypatch):
    """Without INFO no failover is told of, least of all one that was none; XREAD is called for."""
    monkeypatch.setattr(inbox_module, "_BLOCK", 0.2)
    hosts = user_without(guarded, None)
    layer, peer = (RedisChannelLayer(hosts, prefix=f"asgi:later-{missing}") for _ in range(2))
    async with Room(layer, members=1) as room:
        sender = Sender(peer)
        await room.hears(await sender.send_one())
        guarded.cli("ACL", "SETUSER", "channels", f"-{missing}")
        guarded.cli("CLIENT", "KILL", "USER", "channels")
        if missing == "xread":
            await until(lambda: "xread" in caplog.text)
            with pytest.raises(BrokerError, match=r"to let this process receive.*xread"):
                await layer.group_add("another", room.channels[0])
            unread = await sender.send_one()
            guarded.cli("ACL", "SETUSER", "channels", "+xread")
            await room.hears(unread)
        for _ in range(2):
            guarded.cli("CLIENT", "KILL", "USER", "channels")
            await room.hears(await sender.send_one())
        assert room.gaps() == [0]
        assert room.connected
    await layer.aclose()
    await peer.aclose()
    lines = [r for r in caplog.records if r.name == "channels.layers" and r.levelno > logging.INFO]
    assert len(lines) == (missing == "xread"), caplog.text
    assert not any(record.exc_info for record in lines)
