"""``channels_top`` in a terminal: paints with Rich, reads keys, and looks again and again."""

import contextlib
import os
import select
import signal
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..live.text import summary
from .topview import VIEWS, Found, View, fitting_columns, is_numeric

__all__ = ["show"]

Look = Callable[[View], Found]

# What terminals send for keys that are no characters (ECMA-48, and xterm's control sequences).
_KEYS = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left",
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right", "\x1bOD": "left",
    "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b[H": "home", "\x1b[1~": "home",
    "\x1b": "escape", "\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace",
    "\b": "backspace",
}  # fmt: skip

# What may become one of these.
_UNFINISHED = {code[:end] for code in _KEYS if code[0] == "\x1b" for end in range(1, len(code))}

_HELP = "q quit  1-4 or Tab table  s S sort  r reverse  / filter  arrows scroll"

# Lines of the screen that are no rows: what it is, the tables, the headings, the help.
_OTHER_LINES = 5

# Columns of a screen from which on all tables are named.
_ROOM_FOR_NAMES = 70


def show(
    look: Look, first: Found, interval: float, *, keys: int = 0, no_color: bool = False
) -> None:
    """Show what is found until q or Ctrl-C is pressed.

    Args:
        look: looks once, which takes its time; called in a thread, again and again.
        first: what was found before.
        interval: seconds between two looks, unless a key asks for other connections.
        keys: the descriptor of the terminal that keys come from.
        no_color: whether to show no colours; the environment variable NO_COLOR says so too.
    """
    console = Console(no_color=no_color or None, highlight=False)
    view, latest = View(), [first]
    with _wakened() as (wake, woken), _unbuffered(keys):
        stop, due = threading.Event(), threading.Event()

        def look_again() -> None:
            while not stop.is_set():
                due.clear()
                latest[0] = look(view)
                wake()
                due.wait(interval)

        thread = threading.Thread(target=look_again, name="channels-top", daemon=True)
        thread.start()
        try:
            with console.screen() as screen, contextlib.suppress(KeyboardInterrupt):
                goes_on = True
                while goes_on:
                    screen.update(_paint(view, latest[0], console))
                    ready, _, _ = select.select([keys, woken], [], [])
                    if woken in ready:
                        os.read(woken, 1000)
                    if keys in ready:
                        query = view.query
                        goes_on = all(map(view.press, _read(keys)))
                        if view.query != query:
                            due.set()
        finally:
            stop.set()
            due.set()


@contextlib.contextmanager
def _wakened() -> Iterator[tuple[Callable[[], None], int]]:
    """What wakes the screen, and the descriptor to wait for; a new size of the window does too."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def wake(*args: int | FrameType | None) -> None:
        with contextlib.suppress(OSError):  # it is full, or the screen has gone
            os.write(writer, b".")

    def end(*args: int | FrameType | None) -> None:
        raise KeyboardInterrupt  # the terminal is put in order then

    before = {signal.SIGWINCH: signal.signal(signal.SIGWINCH, wake)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, end)
    try:
        yield wake, reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _unbuffered(keys: int) -> Iterator[None]:
    """Get each key at once, and do not show it. Ctrl-C stays what it is."""
    before = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    try:
        yield
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


def _read(keys: int) -> list[str]:
    """The keys that were pressed."""
    text = _some(keys)
    if not text:
        return ["end of input"]
    while text[text.rfind("\x1b") :] in _UNFINISHED and select.select([keys], [], [], 0.05)[0]:
        text += _some(keys)  # a slow line has torn a key apart
    found = []
    while text:
        code = max((code for code in _KEYS if text.startswith(code)), key=len, default=text[0])
        text = text[len(code) :]
        found.append(_KEYS.get(code) or code)
    return [key for key in found if key.isprintable()]


def _some(keys: int) -> str:
    try:
        return os.read(keys, 1000).decode("utf-8", "replace")
    except OSError:  # the terminal has gone
        return ""


def _paint(view: View, found: Found, console: Console) -> Any:
    rows = view.rows(found)
    fitting = max(1, console.height - _OTHER_LINES)
    view.offset = max(0, min(view.offset, len(rows) - fitting))
    shown = rows[view.offset : view.offset + fitting]
    arrow = "^" if view.ascending else "v"
    titles = [column.title for column in view.columns]
    titles[view.order] += arrow
    widths = fitting_columns(titles, shown, view.order, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for number, width in widths.items():
        style = "cyan" if number == view.order else None
        justify: Any = "right" if is_numeric(rows, number) else "left"
        table.add_column(titles[number], style=style, no_wrap=True, justify=justify, width=width)
    for row in shown:
        table.add_row(*(Text(row[number], no_wrap=True) for number in widths))
    total = found.connections[0] if view.query and found.connections else len(rows)
    page = Table.grid(expand=True)
    page.add_row(Text(summary(found.overview), "bold", no_wrap=True, overflow="ellipsis"))
    page.add_row(_tabs(view, total, len(titles) - len(widths), console.width))
    page.add_row(table)
    page.add_row(Text())
    if found.error:
        page.add_row(Text(found.error, "red"))
    else:
        page.add_row(Text(_HELP, "dim", no_wrap=True, overflow="ellipsis"))
    return page


def _tabs(view: View, total: int, hidden: int, width: int) -> Text:
    """Which tables there are, and what is shown of this one."""
    is_wide = width >= _ROOM_FOR_NAMES
    tabs = Text(no_wrap=True, overflow="ellipsis")
    for number, name in enumerate(VIEWS, 1):
        here = name == view.name
        title = f" {number} {name} " if here or is_wide else f" {number}"
        tabs.append(title, "reverse" if here else "dim")
    if view.filter or view.typing:
        tabs.append(f"  filter: {view.filter}{'_' if view.typing else ''}", "bold")
    tabs.append(f"{' ' * is_wide} {total} rows", "dim")
    if hidden:
        tabs.append(f", {hidden} columns hidden" if is_wide else f", {hidden} hidden", "dim")
    return tabs
