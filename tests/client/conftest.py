"""The browser client without a browser: in Node, against real servers."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import pytest

HERE = Path(__file__).parent
DEADLINE = 20.0


class Page:
    """A process of Node that has sockets, and what has happened to them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, node: str) -> Self:
        """Start Node. Its versions before 22 have a ``WebSocket`` when they are asked for it."""
        process = await asyncio.create_subprocess_exec(
            node,
            "--no-warnings",
            "--experimental-websocket",
            str(HERE / "driver.mjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()

    def do(self, what: str, **details: Any) -> None:
        """Let the page do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **details}).encode() + b"\n")

    def of(self, name: str, event: str | None = None) -> list[dict[str, Any]]:
        """What has happened to a socket: all, or the events of one kind."""
        return [
            happened
            for happened in self.events
            if happened.get("name") == name and event in {None, happened["event"]}
        ]

    async def until(self, condition: Callable[[], Any], deadline: float = DEADLINE) -> Any:
        """Wait until something is so, and return it."""
        async with self._changed:
            try:
                async with asyncio.timeout(deadline):
                    while not (value := condition()):
                        await self._changed.wait()
                    return value
            except TimeoutError:
                raise AssertionError(f"not within {deadline:g} s: {self.events[-20:]}") from None

    async def expect(
        self, name: str, event: str, count: int = 1, deadline: float = DEADLINE, **details: Any
    ) -> dict[str, Any]:
        """The event of that number and kind, with these details, when it has happened."""

        def found() -> list[dict[str, Any]]:
            events = [e for e in self.of(name, event) if details.items() <= e.items()]
            return events[count - 1 :]

        return dict((await self.until(found, deadline))[0])

    async def end(self) -> None:
        """End Node."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js. Without it the test is skipped, but fails where ``CI`` is set."""
    path = shutil.which("node")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Node.js: install it")
        pytest.skip("no Node.js: install it")
    return path


@pytest.fixture
async def page(node: str) -> AsyncIterator[Page]:
    """A page."""
    page = await Page.start(node)
    yield page
    await page.end()
