"""A TCP proxy that does to connections what networks do: delay, cut, stall, swallow, refuse."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from typing import Self

_CHUNK, _CHUNKS = 65536, 64


class _Pipe:
    """One client's connection and the server's half of it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server

    def close(self, *, reset: bool) -> None:
        for writer in (self.client, self.server):
            if reset:
                # With no time to linger, closing sends RST and drops what is unsent.
                sock = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


class Proxy:
    """Stands between a client and ``target``; use it as an asynchronous context manager.

    Attributes:
        latency: seconds by which everything is delayed, in each direction.
        on_request: is shown what a client sends, before the server gets it, and may do anything,
            such as to cut.
        on_reply: the same for what the server sends.
        connections: how many have been made so far.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.latency = 0.0
        self.on_request: Callable[[bytes], object] | None = None
        self.on_reply: Callable[[bytes], object] | None = None
        self.connections = 0
        self.port = 0
        self._pipes: set[_Pipe] = set()
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._pipes)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for _ in range(3):  # what was accepted just before has a task some turns later
            self.cut()
            for task in list(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            await asyncio.sleep(0)

    # Faults

    def cut(self, *, reset: bool = True, share: float = 1.0, chance: random.Random | None = None):
        """Break connections: all, or a random share of them. Returns how many."""
        chosen = [pipe for pipe in self._pipes if chance is None or chance.random() < share]
        return self._cut(chosen, reset)

    def cut_from(self, port: int) -> int:
        """Break the connection that the server sees coming from ``port``. Returns how many."""
        ports = {pipe: pipe.server.get_extra_info("sockname")[1] for pipe in self._pipes}
        return self._cut([pipe for pipe in self._pipes if ports[pipe] == port], True)

    def _cut(self, chosen: list[_Pipe], reset: bool) -> int:
        for pipe in chosen:
            self._pipes.discard(pipe)
            pipe.close(reset=reset)
        return len(chosen)

    def say(self, data: bytes) -> int:
        """Send ``data`` to every client, as if the server had. Returns to how many."""
        for pipe in self._pipes:
            pipe.client.write(data)
        return len(self._pipes)

    def stall(self) -> None:
        """Pass nothing on, and keep every connection; new ones are accepted and stall too."""
        self._flowing.clear()

    def flow(self) -> None:
        """End a stall. What was sent meanwhile is passed on."""
        self._flowing.set()

    def refuse(self) -> None:
        """Break every connection as soon as it is made."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """End the refusal."""
        self._refusing = False

    # Carrying

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        pipe: _Pipe | None = None
        try:
            if self._refusing:
                client.transport.abort()
                return
            back, server = await asyncio.open_connection(*self.target)
            pipe = _Pipe(client, server)
            self._pipes.add(pipe)
            there = asyncio.create_task(self._carry(reader, server, lambda: self.on_request))
            here = asyncio.create_task(self._carry(back, client, lambda: self.on_reply))
            try:
                await asyncio.wait((there, here), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for carrier in (there, here):
                    carrier.cancel()
                await asyncio.wait((there, here))
        except OSError:  # the server is down
            client.transport.abort()
        except asyncio.CancelledError:
            client.transport.abort()
        finally:
            self._tasks.discard(task)
            if pipe is not None and pipe in self._pipes:
                self._pipes.discard(pipe)
                pipe.close(reset=False)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hook: Callable[[], Callable[[bytes], object] | None],
    ) -> None:
        """Pass on what comes, as late as it should be, in order."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)

        async def read() -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(_CHUNK):
                    await under_way.put((loop.time() + self.latency, data))
            await under_way.put((0.0, b""))

        reading = asyncio.create_task(read())
        try:
            with contextlib.suppress(OSError):
                while (item := await under_way.get())[1]:
                    due, data = item
                    if due > loop.time():
                        await asyncio.sleep(due - loop.time())
                    await self._flowing.wait()
                    if (look := hook()) is not None:
                        look(data)
                    if writer.transport.is_closing():
                        return
                    writer.write(data)
                    await writer.drain()
        finally:
            reading.cancel()


class Blocker(Proxy):
    """Passes requests on, but no handshakes of WebSockets."""

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(target)
        self.on_request = self._look

    def _look(self, data: bytes) -> None:
        if b"upgrade: websocket" in data.lower():
            self.cut()
