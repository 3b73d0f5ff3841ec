"""The addresses that the documentation shows, with real servers behind them."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from ..brokers import Broker
from ..ports import free_port
from .harness import Authority, Cluster, Replicated, running, valkey


class Stage(contextlib.ExitStack):
    """Leads connections to addresses in the documentation to servers of our own.

    It stands in for what a machine's name service and file system would say; what it leads to is
    real.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ports: dict[tuple[str, int], int] = {}
        self._sockets: dict[str, str] = {}

    def __enter__(self) -> Self:
        loops = asyncio.BaseEventLoop
        connect = loops.create_connection

        async def create_connection(loop, factory, host=None, port=None, **options):
            real = self._ports.get((host, port))
            if real is not None:
                if options.get("ssl"):
                    options.setdefault("server_hostname", host)
                host, port = "127.0.0.1", real
            return await connect(loop, factory, host, port, **options)

        unix = asyncio.unix_events._UnixSelectorEventLoop
        connect_to_socket = unix.create_unix_connection

        async def create_unix_connection(loop, factory, path=None, **options):
            return await connect_to_socket(loop, factory, self._sockets.get(path, path), **options)

        loops.create_connection = create_connection
        unix.create_unix_connection = create_unix_connection
        self.callback(setattr, loops, "create_connection", connect)
        self.callback(setattr, unix, "create_unix_connection", connect_to_socket)
        return self

    @contextlib.contextmanager
    def at(self, *places: int | str | tuple[str, int], rules: str = "") -> Iterator[None]:
        """Servers at ports of this machine, at sockets or at hosts with ports."""
        with contextlib.ExitStack() as stack:
            for place in places:
                broker = Broker(valkey())
                stack.callback(broker.remove)
                socket = broker.folder / "socket"
                broker.options = ("--unixsocket", str(socket))
                broker.start()
                if rules:
                    broker.cli(*rules.split())
                if isinstance(place, str):
                    self._sockets[place] = str(socket)
                else:
                    address = ("127.0.0.1", place) if isinstance(place, int) else place
                    self._ports[address] = broker.port
            yield
        self._ports.clear()
        self._sockets.clear()

    @contextlib.contextmanager
    def sentinels(self, *names: str) -> Iterator[None]:
        with running(Replicated()) as topology:
            for name, sentinel in zip(names, topology.sentinels, strict=True):
                self._ports[name, 26379] = sentinel.port
            yield
        self._ports.clear()

    @contextlib.contextmanager
    def cluster(self, *names: str) -> Iterator[None]:
        with running(Cluster(replicas=False)) as topology:
            for name, node in zip(names, topology.nodes, strict=True):
                self._ports[name, 6379] = node.port
            yield
        self._ports.clear()

    @contextlib.contextmanager
    def tls(self, name: str, port: int, folder: str) -> Iterator[None]:
        """A server that asks for a client's certificate; ``folder`` gets what the client needs."""
        authority = Authority(Path(folder), name)
        with self.at(port), TlsFront(authority, self._ports["127.0.0.1", port]) as front:
            self._ports[name, port] = front.port
            yield


class TlsFront:
    """Takes the TLS off connections, and passes them on to a server that has none.

    Args:
        authority: signed the certificate that it shows.
        behind: the port of the server.
        asks_clients: whether clients must show a certificate of this authority.
    """

    def __init__(self, authority: Authority, behind: int, *, asks_clients: bool = True) -> None:
        self.port = free_port()
        self._behind = behind
        self._context = ssl.create_default_context(
            ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca)
        )
        self._context.verify_mode = ssl.CERT_REQUIRED if asks_clients else ssl.CERT_NONE
        self._context.load_cert_chain(authority.cert, authority.key)
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(5)
        self._loop.close()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
        self._ready.set()
        await self._over.wait()
        server.close()
        # None is cancelled: of a cancelled one asyncio writes a traceback, before Python 3.12.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    async def _serve(self, reader, writer) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._behind)

        async def pass_on(source, target) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()

        ways = (
            asyncio.create_task(pass_on(reader, far_writer)),
            asyncio.create_task(pass_on(far_reader, writer)),
        )
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait((*ways, over), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        for end in (writer, far_writer):
            end.transport.abort()
        await asyncio.wait(ways)
