"""The guide's nginx in front of real servers."""

import asyncio
import re
import signal
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.brokers import Broker
from tests.ports import free_port
from tests.topologies.harness import Authority

from .clients import Client, all_are_told, clients_of_all, until
from .guide import DOCS, commands, deployed, on_port
from .harness import Deployed, check_stop
from .nginx import Nginx

pytestmark = pytest.mark.server

CLIENT = "127.0.0.2"  # not the proxy's address
HOST = {"host": "www.example.com"}


@contextmanager
def several(
    words: str, folder: Path, broker: Broker, options: tuple[str, ...] = ("", ""), **env: str
) -> Iterator[list[Deployed]]:
    """One process for each of ``options``, which are added to a command of the guides."""
    with ExitStack() as stack:
        processes = []
        for number, more in enumerate(options):
            own = folder / str(number)
            own.mkdir()
            port = free_port()
            process = Deployed(
                f"{on_port(words, port)} {more}", folder=own, broker=broker, address=port, env=env
            )
            stack.callback(lambda process=process: process.kill())
            process.start(wait=False)
            processes.append(process)
        for process in processes:
            process.wait_until_up()
        yield processes


def addresses(processes: list[Deployed]) -> list[str]:
    return [f"127.0.0.1:{process.address}" for process in processes]


def uvicorn() -> str:
    return commands("deploy-nginx.md", "python -m uvicorn")[0]


async def test_daphne_has_several_processes(tmp_path: Path, broker: Broker, nginx: str) -> None:
    (words,) = commands("deploy-servers.md", "python -m daphne")
    with (
        several(words, tmp_path, broker) as processes,
        Nginx(nginx, tmp_path / "nginx", free_port(), addresses(processes)) as proxy,
    ):
        clients = await clients_of_all(lambda: Client.connect(proxy.url), 2)
        await all_are_told(clients, {"n": 1})
        for process in processes:
            own = [client for client in clients if client.pid == process.process.pid]
            # Daphne has no lifespan. Groups have members in the other process still.
            await check_stop(process, own, broker, lifespan=0, alone=process is processes[-1])


class TestUvicorn:
    async def test_one_that_drains_is_passed_over(
        self, tmp_path: Path, broker: Broker, nginx: str
    ) -> None:
        with (
            several(uvicorn(), tmp_path, broker, DRAIN_SPREAD="3") as (going, staying),
            Nginx(nginx, tmp_path / "nginx", free_port(), addresses([going, staying])) as proxy,
        ):
            clients = await clients_of_all(lambda: Client.connect(proxy.url), 2)
            started = time.monotonic()
            going.signal(signal.SIGTERM)
            refused = await self.refused_by(going)
            assert refused.response.status_code == 503
            # It has the fewest connections, so nginx would prefer it.
            late = [await Client.connect(proxy.url) for _ in range(20)]
            async with httpx.AsyncClient() as http:
                readiness = await http.get(f"http://127.0.0.1:{going.address}/readyz")
            assert time.monotonic() - started < 3, "it still drains"
            assert readiness.status_code == 503
            assert "draining" in readiness.text
            assert {client.pid for client in late} == {staying.process.pid}
            own = [client for client in clients if client.pid == going.process.pid]
            assert {await client.closed() for client in own} == {1012}
            await asyncio.to_thread(going.ended)
            # Dead, it is passed over as well.
            last = await Client.connect(proxy.url)
            stayed = [*late, last, *(c for c in clients if c.pid == staying.process.pid)]
            await all_are_told(stayed, {"n": 1})
            await check_stop(staying, stayed, broker, lifespan=1)

    async def refused_by(self, process: Deployed) -> InvalidStatus:
        """Connect until it refuses, as it does from some moment on."""
        async with asyncio.timeout(10):
            while True:
                try:
                    client = await Client.connect(process.url)
                except InvalidStatus as refused:
                    return refused
                await client.socket.close()

    async def test_pings_keep_nginx_from_giving_up(
        self, tmp_path: Path, broker: Broker, nginx: str
    ) -> None:
        options = ("--ws-ping-interval 0.3", "")
        short = {"proxy_read_timeout 60s;": "proxy_read_timeout 1s;"}
        with (
            several(uvicorn(), tmp_path, broker, options) as (pinging, silent),
            Nginx(
                nginx, tmp_path / "nginx", free_port(), addresses([pinging, silent]), short
            ) as proxy,
        ):
            # Clients do not ping, or they would keep it open themselves.
            clients = await clients_of_all(
                lambda: Client.connect(proxy.url, ping_interval=None), 2, each=1
            )
            own = [client for client in clients if client.pid == silent.process.pid]
            assert {await client.closed() for client in own} == {1006}
            others = [client for client in clients if client.pid == pinging.process.pid]
            await asyncio.sleep(2)  # twice as long as nginx would wait without pings
            assert not any(client.reader.done() for client in others)

    async def test_events_are_streamed(self, tmp_path: Path, broker: Broker, nginx: str) -> None:
        with (
            several(uvicorn(), tmp_path, broker, ("",)) as (process,),
            Nginx(nginx, tmp_path / "nginx", free_port(), addresses([process])) as proxy,
        ):
            client = await Client.connect(proxy.url)
            address = f"http://127.0.0.1:{proxy.port}/events/"
            async with (
                httpx.AsyncClient(timeout=30, headers=HOST) as http,
                http.stream("GET", address) as response,
            ):
                lines = response.aiter_lines()
                assert await anext(lines) == "data: hello"
                assert await anext(lines) == ""
                await client.say({"n": 1})
                assert await anext(lines) == 'data: {"n": 1}'
                # A stream is ended like a WebSocket when the process ends.
                process.signal(signal.SIGTERM)
                assert [line async for line in lines] == [""]
            assert await client.closed() == 1012
            await asyncio.to_thread(process.ended)
            assert "Traceback" not in process.output


async def test_who_does_not_read_a_stream_holds_it_back(
    tmp_path: Path, broker: Broker, nginx: str
) -> None:
    with (
        several(uvicorn(), tmp_path, broker, ("",)) as (process,),
        Nginx(nginx, tmp_path / "nginx", free_port(), addresses([process])) as proxy,
    ):

        def poured() -> int:
            return len([event for event in process.events if event["event"] == "poured"])

        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1024)
        writer.write(b"GET /events/?pour HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
        await until(poured, "the stream flows")
        before = 0
        while (now := poured()) > before:
            before = now
            await asyncio.sleep(1)
        assert now < 64
        writer.transport.abort()
        await asyncio.to_thread(process.stop)
        assert "Traceback" not in process.output, process.output


def proxied(server: str, folder: Path) -> None:
    """A module whose application believes the proxy, as the guide says."""
    page = (DOCS / "deploy-servers.md").read_text("utf-8")
    blocks = re.findall(r"^  ```python\n(.*?)^  ```", page, re.DOTALL | re.MULTILINE)
    (code,) = [block for block in blocks if f"from {server}" in block]
    lines = [line.removeprefix("  ") for line in code.splitlines()]
    text = "\n".join(["from mysite.asgi import application", *lines])
    (folder / "proxied.py").write_text(text)


@pytest.mark.parametrize("server", ["uvicorn", "daphne", "hypercorn", "granian"])
async def test_address_host_and_scheme_reach_the_project(
    server: str, tmp_path: Path, broker: Broker, nginx: str
) -> None:
    """Over TLS, and from a client that tries to be somebody else."""
    authority = Authority(tmp_path)
    (tls,) = re.findall(
        r"^```nginx\n +(listen 443.*?)^```",
        (DOCS / "deploy-nginx.md").read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    port = free_port()
    tls = tls.replace("443", f"127.0.0.1:{port}")
    tls = tls.replace("/etc/ssl/mysite/cert.pem", str(authority.cert))
    tls = tls.replace("/etc/ssl/mysite/key.pem", str(authority.key))
    process = deployed(server, tmp_path, broker, workers=1, env={"PYTHONPATH": str(tmp_path)})
    if server in ("hypercorn", "granian"):
        proxied(server, tmp_path)
        process.words[process.words.index("mysite.asgi:application")] = "proxied:application"
    lies = {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "http"}
    with (
        process,
        Nginx(
            nginx, tmp_path / "nginx", port, [f"127.0.0.1:{process.address}"],
            {f"listen 127.0.0.1:{port};": tls},
        ) as proxy,
    ):  # fmt: skip
        trust = ssl.create_default_context(cafile=str(authority.ca))
        transport = httpx.AsyncHTTPTransport(verify=trust, local_address=CLIENT, http2=True)
        async with httpx.AsyncClient(transport=transport, timeout=30) as http:
            answer = await http.get(f"https://127.0.0.1:{port}/who/", headers={**HOST, **lies})
        assert answer.json() == {"client": CLIENT, "host": "www.example.com", "secure": True}
        assert answer.http_version == "HTTP/2"

        options = {
            "ssl": ssl.create_default_context(cafile=str(authority.ca)),
            "local_addr": (CLIENT, 0),
            "additional_headers": lies,
        }
        url = proxy.url.replace("ws:", "wss:")
        client = await Client.connect(url, **options)
        assert client.hello["client"] == CLIENT
        if server == "uvicorn":
            assert client.hello["scheme"] == "wss"
        with pytest.raises(InvalidStatus) as refused:
            await Client.connect(url, **options, origin="https://elsewhere.example")
        assert refused.value.response.status_code == 403
        await client.socket.close()
        await client.closed()
        await asyncio.to_thread(process.stop)
        assert "Traceback" not in process.output, process.output
