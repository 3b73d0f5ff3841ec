"""Passwords appear in nothing that is written: errors and their causes, the log, checks, reprs."""

import asyncio
import logging
import traceback

import pytest
from django.core import checks

from channels.exceptions import ChannelsError
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

from ..brokers import running
from ..ports import free_port

pytestmark = pytest.mark.server

SECRET = "hunter2-tolstoy"
LAYERS = [RedisChannelLayer, RedisPubSubChannelLayer]

# Mistakes that are seen before anybody connects.
MALFORMED = [
    ("h", 6379, SECRET),
    ["h", SECRET],
    SECRET,
    SECRET.encode() + b"\xff",
    f"redis:/{SECRET}@host",
    f"redis:{SECRET}",
    f"user:{SECRET}@host:6379",
    f"http://user:{SECRET}@host",
    f"redis://user:{SECRET}",
    f"redis://user:{SECRET}/x@host:6379/0",
    f"redis://user:1/{SECRET}@host",
    f"redis://user:1#{SECRET}@host",
    f"redis://user:1?{SECRET}@host",
    f"redis://h?passwd={SECRET}",
    f"redis://h?socket_timeout={SECRET}",
    {"address": f"redis:/{SECRET}@host"},
    {"address": ("h", 1, SECRET)},
    {"host": "h", "pasword": SECRET},
    {"host": "h", "username": "u", "password": SECRET, "nonsense": 1},
    {"sentinels": [("s", 1, SECRET)], "master_name": "m"},
    {"sentinels": [("s", 1)], "master_name": "m", "sentinel_kwargs": SECRET},
    {"sentinels": [("s", 1)], "master_name": "m", "sentinel_kwargs": {"pasword": SECRET}},
    {"sentinels": f"redis://:{SECRET}@s", "master_name": "m"},
    {"cluster": f"redis://:{SECRET}@c"},
    {"cluster": [f"redis:/{SECRET}@c"]},
    {"cluster": [("c", 1, SECRET)]},
]


def everything(error):
    """An exception with all that led to it, also what is not shown as a rule, and their repr."""
    seen, todo = [], [error]
    while todo:
        one = todo.pop()
        if one is None or any(one is other for other in seen):
            continue
        seen.append(one)
        todo += [one.__cause__, one.__context__]
    return "\n".join(
        "".join(traceback.format_exception(one)) + repr(one) + repr(one.args) for one in seen
    )


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize("entry", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_hosts(settings, layer_class, entry):
    with pytest.raises(ChannelsError) as refused:
        layer_class([entry])
    assert SECRET not in everything(refused.value)
    settings.ASGI_APPLICATION = "tests.unit.test_checks.application"
    backend = f"channels.layers.redis.{layer_class.__name__}"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [entry]}}}
    found = checks.run_checks(tags=["channels"])
    assert [message.id for message in found] == ["channels.E005"]
    assert SECRET not in repr(found) + str(found)


@pytest.fixture(scope="module")
def broker():
    with running() as broker:
        broker.cli("ACL", "SETUSER", "anna", "on", ">right", "~*", "&*", "+@all", "-xread")
        yield broker


@pytest.fixture(scope="module")
def mute():
    """A server that has no AUTH, and repeats what it does not know."""
    with running("valkey", "--rename-command", "AUTH", "") as broker:
        yield broker


def hosts_that_fail(broker, mute):
    nobody = free_port()
    for port in (broker.port, mute.port, nobody):
        yield f"redis://anna:{SECRET}@127.0.0.1:{port}/0"
        yield f"redis://:{SECRET}@127.0.0.1:{port}/0"
        yield {"address": ("127.0.0.1", port), "password": SECRET}
        where = {"sentinels": [("127.0.0.1", port)], "master_name": "m", "password": SECRET}
        yield {**where, "sentinel_kwargs": {"password": SECRET}}
        yield {"cluster": [f"redis://:{SECRET}@127.0.0.1:{port}"]}
    yield f"unix://:{SECRET}@/no/such/socket"
    yield f"rediss://:{SECRET}@127.0.0.1:{nobody}"


@pytest.mark.parametrize("layer_class", LAYERS)
async def test_servers_that_refuse_or_are_not_there(
    broker, mute, layer_class, caplog, capfd, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(
        "channels.layers.redis.connection.commands.CommandConnection.__init__.__kwdefaults__",
        {"patience": 1},
    )
    monkeypatch.setattr("channels.layers.broker.receiver.PATIENCE", 1)

    async def written(hosts):
        layer = layer_class([hosts])
        text = repr(layer) + repr(layer.servers) + repr(layer.servers[0].name)
        for call in (layer.new_channel(), layer.group_send("group", {"type": "t"})):
            with pytest.raises(ChannelsError) as refused:
                await asyncio.wait_for(call, 20)
            text += everything(refused.value)
        await layer.aclose()
        return text

    texts = await asyncio.gather(*map(written, hosts_that_fail(broker, mute)))
    assert all("127.0.0.1" in text or "/no/such" in text for text in texts)
    assert SECRET not in "".join(texts)
    assert caplog.text
    output = capfd.readouterr()
    assert SECRET not in caplog.text + output.out + output.err
