"""``channels_top`` in a real terminal, as a process of its own: keys, sizes, ends."""

import asyncio
import fcntl
import io
import os
import pty
import re
import signal
import struct
import sys
import termios
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Self

import pyte
import pytest
from rich.console import Console

from channels.control.plane import planes
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import channel_layers
from channels.layers.redis import RedisChannelLayer
from channels.live import Connection, Group, Overview, Process
from channels.live.counting import counters
from channels.live.rates import overview
from channels.management import topscreen
from channels.management.topview import Found, View
from tests.asgi import Server
from tests.brokers import Broker, running
from tests.processes import environment

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [pytest.mark.server]


class Chat(AsyncWebsocketConsumer):
    groups = ["lobby", "kitchen"]


class Feed(AsyncWebsocketConsumer):
    groups = ["lobby"]


class Terminal:
    """A terminal of its own in which a command runs, and what can be read on its screen."""

    def __init__(self, variables: dict[str, str], *arguments: str) -> None:
        self._screen = pyte.Screen(120, 30)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        for name in ("COLUMNS", "LINES"):  # which would count for more than the terminal
            variables.pop(name, None)
        command = [sys.executable, "-m", "django", "channels_top", "--interval", "0.3"]
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
            os.execve(sys.executable, [*command, *arguments], variables)
        self.modes = termios.tcgetattr(self._fd)[3]
        os.set_blocking(self._fd, False)

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    async def until(self, seen: Callable[[str], object]) -> str:
        """Read until the screen shows it."""
        deadline = time.monotonic() + 30
        while not seen(self.text):
            assert time.monotonic() < deadline, self.text
            self._read()
            await asyncio.sleep(0.02)
        return self.text

    def _read(self) -> bool:
        """Take what there is; False at the end."""
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return True
        except OSError:  # Linux says so when the command has ended
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    async def ended(self) -> int:
        """The exit code of the command, once it has ended."""
        deadline = time.monotonic() + 30
        while True:
            self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self._read() and time.monotonic() < deadline:
                    pass
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.text
            await asyncio.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running("valkey") as broker:
        yield broker


@pytest.fixture
async def variables(broker: Broker) -> AsyncIterator[dict[str, str]]:
    """Those of a command that sees two connections in this process."""
    layer = RedisChannelLayer(hosts=[broker.url], prefix=uuid.uuid4().hex)
    former = channel_layers.set("default", layer)
    servers = [await Server(Chat.as_asgi(), path="/chat/").connect()]
    servers.append(await Server(Feed.as_asgi(), path="/feed/").connect())
    await planes.get().listens.wait()
    yield environment(
        DJANGO_SETTINGS_MODULE="tests.unit.management.top_settings",
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        TOP_BROKER=broker.url,
        TOP_PREFIX=layer.prefix,
        TERM="xterm-256color",
    )
    for server in servers:
        await server.leave()
    counters.stop()  # nobody looks any more; it would notice in some seconds
    channel_layers.set("default", former)
    await layer.aclose()


async def test_tables_filters_orders_and_sizes(
    variables: dict[str, str], measured_processes: None
) -> None:
    with Terminal(dict(os.environ) | variables) as terminal:
        await terminal.until(lambda text: str(os.getpid()) in text and "CONNv" in text)
        terminal.press("\t")
        text = await terminal.until(lambda text: "/chat/" in text and "/feed/" in text)
        assert "AGE sv" in text
        assert text.index("/chat/") < text.index("/feed/")  # the older one comes first
        terminal.press("r")
        await terminal.until(lambda text: text.find("/feed/") < text.find("/chat/"))
        terminal.press("/FEEx\x7fd\r")
        await terminal.until(lambda text: "/chat/" not in text and "filter: FEEd" in text)
        terminal.press("\x1b")
        await terminal.until(lambda text: "/chat/" in text and "filter:" not in text)
        terminal.press("\x1b[D")  # nothing that processes sort by comes before
        await terminal.until(lambda text: "GROUPS^" in text)
        terminal.press("3r")
        text = await terminal.until(lambda text: "MEMBERSv" in text and "kitchen" in text)
        assert text.index("lobby") < text.index("kitchen")
        terminal.press("4")
        await terminal.until(lambda text: "CONNECTIONSv" in text)
        terminal.resize(60, 8)
        terminal.press("3")
        first = "1 processes, 2 connections"
        await terminal.until(lambda text: "lobby" in text and text.startswith(first))
        terminal.press("q")
        assert await terminal.ended() == 0
        assert terminal.raw.rstrip().endswith(b"\x1b[?25h")  # the cursor is back
        assert b"\x1b[?1049l" in terminal.raw  # and the screen there was before
        assert termios.tcgetattr(terminal._fd)[3] == terminal.modes


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
async def test_an_end_from_outside_leaves_the_terminal_in_order(
    variables: dict[str, str], how: str, measured_processes: None
) -> None:
    with Terminal(dict(os.environ) | variables) as terminal:
        await terminal.until(lambda text: "CONNv" in text)
        if how == "ctrl-c":
            terminal.press("\x03")
        else:
            os.kill(terminal.pid, signal.SIGTERM)
        assert await terminal.ended() == 0
        assert b"\x1b[?1049l" in terminal.raw
        assert b"Traceback" not in terminal.raw
        assert termios.tcgetattr(terminal._fd)[3] == terminal.modes


async def test_no_colours_where_they_are_not_wanted(variables: dict[str, str]) -> None:
    with Terminal(variables | {"NO_COLOR": "1"}) as terminal:
        await terminal.until(lambda text: "CONNv" in text)
        terminal.press("q")
        await terminal.ended()
        assert b"\x1b[36m" not in terminal.raw
        assert b"[31m" not in terminal.raw


async def test_a_terminal_that_can_do_nothing_gets_text(variables: dict[str, str]) -> None:
    with Terminal(variables | {"TERM": "dumb"}) as terminal:
        await terminal.until(lambda text: "CONSUMER" in text)
        assert b"\x1b[?1049h" not in terminal.raw
        terminal.press("\x03")
        assert await terminal.ended() == 0


def test_a_key_that_a_slow_line_has_torn_apart_is_one_key() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"q\x1b")
    timer = threading.Timer(0.01, os.write, (writer, b"[A/"))
    timer.start()
    assert topscreen._read(reader) == ["q", "up", "/"]
    timer.join()
    os.write(writer, b"\x1b")
    assert topscreen._read(reader) == ["escape"]
    os.close(writer)
    assert topscreen._read(reader) == ["end of input"]
    os.close(reader)
    assert topscreen._read(reader) == ["end of input"]


@pytest.mark.parametrize(
    ("error", "shown"), [("", "q quit"), ("The broker is away", "The broker is away")]
)
def test_an_error_takes_the_place_of_the_help(error: str, shown: str) -> None:
    console = Console(file=io.StringIO(), width=80, height=20)
    console.print(topscreen._paint(View(), Found(Overview(), error=error), console))
    assert shown in console.file.getvalue()


SIZES = [(40, 10), (60, 10), (80, 24), (200, 10)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_headings_are_whole_on_screens_of_any_size(width: int, height: int, number: int) -> None:
    process = Process(
        "a", 12.0, host="a.host.with.a.long.name", pid=12345, users={"5": 3},
        groups=[Group(f"group.{each}", 3) for each in range(30)],
    )  # fmt: skip
    rows = [("a", Connection("shop.Chat", path="/ws/" * 20, username="anna"))] * 30
    view, found = View(), Found(overview([process]), (30, rows))
    view.press(str(number))
    console = Console(
        file=io.StringIO(), width=width, height=height, no_color=True, force_terminal=True
    )
    with console.capture() as screen:
        console.print(topscreen._paint(view, found, console))
    text = re.sub("\x1b\\[[0-9;]*m", "", screen.get())
    assert not re.search("\x1b\\[(?:\\d+;)*[34]\\d", screen.get()), "there are colours"
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    assert view.name in lines[1]
    titles = [column.title + "v" * (at == view.order) for at, column in enumerate(view.columns)]
    shown = [title for title in titles if title in lines[2]]
    assert "\N{HORIZONTAL ELLIPSIS}" not in lines[2]
    assert titles[view.order] in shown
    assert sum(map(len, shown)) == len(lines[2].replace(" ", "")) + sum(t.count(" ") for t in shown)
    hidden = len(titles) - len(shown)
    assert bool(re.search(rf"rows, {hidden} (?:columns )?hidden$", lines[1].rstrip())) == (
        hidden > 0
    )
    assert not hidden or width < 200
