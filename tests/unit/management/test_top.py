"""``channels_top`` as a process of its own, which asks the process of the test."""

import asyncio
import io
import json
import os
import sys
import uuid
from argparse import ArgumentTypeError
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from channels.control.plane import planes
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import channel_layers
from channels.layers.redis import RedisChannelLayer
from channels.live import Overview, Process, Query, asking
from channels.live.rates import overview
from channels.management.commands import channels_top
from channels.management.topview import View
from tests.asgi import Server
from tests.brokers import Broker, running
from tests.processes import environment

ROOT = Path(__file__).resolve().parents[3]


class Chat(AsyncWebsocketConsumer):
    groups = ["lobby"]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running("valkey") as broker:
        yield broker


@pytest.fixture
async def layer(broker: Broker) -> AsyncIterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[broker.url], prefix=uuid.uuid4().hex)
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)
    await layer.aclose()


async def top(layer: RedisChannelLayer, broker: Broker, *arguments: str) -> tuple[int, str]:
    """Run the command in another process. Returns its exit code and what it printed."""
    env = environment(
        DJANGO_SETTINGS_MODULE="tests.unit.management.top_settings",
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        TOP_BROKER=broker.url,
        TOP_PREFIX=layer.prefix,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "django", "channels_top", "--once", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env=env,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_another_process_sees_this_one(layer: RedisChannelLayer, broker: Broker) -> None:
    server = await Server(Chat.as_asgi(), path="/ws/").connect()
    await planes.get().listens.wait()
    code, output = await top(layer, broker, "--format", "json")
    assert code == 0, output
    found = json.loads(output)
    assert [process["pid"] for process in found["processes"]] == [os.getpid()]
    assert found["consumers"] == {f"{Chat.__module__}.Chat": 1}
    assert found["groups"][0] == {"name": "lobby", "members": 1, "layer": "default"}
    assert found["totals"]["sent"] == 0
    await server.leave()


async def test_rubbish_from_another_process_is_counted(layer: RedisChannelLayer) -> None:
    server = await Server(Chat.as_asgi(), path="/ws/").connect()
    await planes.get().listens.wait()
    asking.control.register("live.process", rubbish)
    found = await asking.Look().aask(0.2)
    assert (len(found.processes), found.unreadable) == (1, 1)
    asking.control.register("live.connections", rubbish)
    total, rows = await asking.aask_connections(Query(), seconds=0.2)
    assert (total, len(rows)) == (1, 1)
    for command in ("live.process", "live.connections"):
        _handlers()[command].remove(rubbish)
    await server.leave()


def rubbish(**data: Any) -> Any:
    return {"process": 7, "found": -1}


def _handlers() -> dict[str, list[Any]]:
    from channels.control import handlers

    return handlers._handlers


async def test_nobody_answers(layer: RedisChannelLayer) -> None:
    with pytest.raises(CommandError, match="No process has answered"):
        await asyncio.to_thread(call_command, "channels_top", "--once", "--interval", "0.1")


async def test_the_broker_is_away() -> None:
    layer = RedisChannelLayer(hosts=[("127.0.0.1", 1)])
    former = channel_layers.set("default", layer)
    with pytest.raises(CommandError, match="The channel layer cannot be reached"):
        await asyncio.to_thread(call_command, "channels_top", "--once", "--interval", "0.1")
    channel_layers.set("default", former)
    await layer.aclose()


def test_a_layer_in_memory_cannot_be_asked_from_outside() -> None:
    with pytest.raises(CommandError, match="Configure a layer with a broker"):
        call_command("channels_top")


class Looks:
    """What a look would find, and then Ctrl-C."""

    def __init__(self) -> None:
        self.left = 3

    def ask(self, seconds: float) -> Overview:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return overview([Process("a", 3.0 - self.left)])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("kind", "times"), [("xterm", 2), ("dumb", 0), ("unknown", 0)])
def test_a_terminal_is_cleared_for_each_look_until_ctrl_c(
    kind: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", kind)
    monkeypatch.setattr(channels_top, "reaches_others", lambda: True)
    monkeypatch.setattr(channels_top, "Look", Looks)
    terminal = Terminal()
    call_command("channels_top", "--interval", "0.1", stdout=terminal, no_color=True)
    assert terminal.getvalue().count("\033[2J\033[H1 processes") == times
    assert terminal.getvalue().count("1 processes") == 2
    assert times or "\033" not in terminal.getvalue()


def test_ctrl_c_before_the_first_answer_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels_top, "reaches_others", lambda: True)
    monkeypatch.setattr(Looks, "__init__", lambda self: setattr(self, "left", 1))
    monkeypatch.setattr(channels_top, "Look", Looks)
    shown = io.StringIO()
    call_command("channels_top", "--interval", "0.1", stdout=shown)
    assert shown.getvalue() == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_once_is_shown_without_clearing_the_terminal(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_top, "reaches_others", lambda: True)
    monkeypatch.setattr(channels_top, "Look", Looks)
    terminal = Terminal()
    call_command("channels_top", "--once", "--interval=0.1", "--format", form, stdout=terminal)
    assert "\033[2J" not in terminal.getvalue()
    assert ("1 processes" in terminal.getvalue()) == (form == "text")


@pytest.mark.parametrize("text", ["x", "0", "nan", "1e9"])
def test_an_interval_is_a_number_of_seconds(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no number of seconds from"):
        channels_top._seconds(text)


def test_a_terminal_without_the_package_gets_text_and_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels_top, "reaches_others", lambda: True)
    monkeypatch.setattr(channels_top, "Look", Looks)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "channels.management.topscreen", None)
    terminal = Terminal()
    call_command("channels_top", "--interval", "0.1", stdout=terminal, no_color=True)
    assert 'pip install "channels[top]"' in terminal.getvalue()
    assert "1 processes" in terminal.getvalue()


def test_a_terminal_gets_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def show(look: Any, first: Any, interval: float, *, no_color: bool) -> None:
        called.append((look(View()), first, interval, no_color))

    monkeypatch.setattr(channels_top, "reaches_others", lambda: True)
    monkeypatch.setattr(channels_top, "Look", Looks)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("channels.management.topscreen.show", show)
    call_command("channels_top", "--interval", "0.2", stdout=Terminal(), no_color=True)
    [(looked, first, interval, no_color)] = called
    assert len(looked.overview.processes) == len(first.overview.processes) == 1
    assert (interval, no_color) == (0.2, True)


def test_a_broker_that_goes_away_is_told_on_the_screen() -> None:
    class Lost:
        def ask(self, seconds: float) -> Overview:
            raise OSError("refused")

    found = channels_top._look_for(Lost(), 0.1, View())  # type: ignore[arg-type]
    assert found.error == "The channel layer cannot be reached: refused"
