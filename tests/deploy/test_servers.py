"""Servers with several workers, as the guide starts them."""

import asyncio
import ssl
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.brokers import Broker
from tests.conformance.servers.http2 import Http2Connection
from tests.topologies.harness import Authority

from .clients import ORIGIN, Client, all_are_told, clients_of_all
from .guide import DOCUMENTED, FEW, deployed
from .harness import check_stop

pytestmark = pytest.mark.server

TOO_BIG = 65_537


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "hypercorn", "granian"])
async def test_workers_share_groups_and_end_in_good_order(
    server: str, tmp_path: Path, broker: Broker
) -> None:
    with deployed(server, tmp_path, broker, workers=DOCUMENTED) as process:
        clients = await clients_of_all(lambda: Client.connect(process.url), DOCUMENTED)
        await all_are_told(clients, {"n": 1})
        if server != "granian":  # which has no option for it
            await clients[-1].say("x" * TOO_BIG)
            assert await clients.pop().closed() == 1009
        await check_stop(process, clients, broker, lifespan=DOCUMENTED)
        assert process.process.returncode == 0


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
async def test_all_processes_get_the_signal_and_one_ends_first(
    server: str, tmp_path: Path, broker: Broker
) -> None:
    """As service managers send it unless told otherwise; the parent then passes it on again."""
    with deployed(server, tmp_path, broker, env={"DRAIN_SPREAD": "2"}) as process:
        clients = await clients_of_all(lambda: Client.connect(process.url), FEW)
        first = clients[0].pid
        idle = [client for client in clients if client.pid == first]
        busy = [client for client in clients if client.pid != first]
        await asyncio.gather(*(client.socket.close() for client in idle[1:]))
        await check_stop(process, [idle[0], *busy], broker, lifespan=FEW, everybody=True)


class TestCertificate:
    """Hypercorn with a certificate: HTTP/2, and WebSockets over either version."""

    async def test_it(self, tmp_path: Path, broker: Broker) -> None:
        authority = Authority(tmp_path)
        # Each client says in its own context which versions it speaks.
        one, two, three = (ssl.create_default_context(cafile=str(authority.ca)) for _ in range(3))
        process = deployed("hypercorn", tmp_path, broker, number=1)
        files = {"cert.pem": authority.cert, "key.pem": authority.key}
        process.words = [str(files.get(word, word)) for word in process.words]
        with process:
            origin = f"https://127.0.0.1:{process.address}"
            async with httpx.AsyncClient(http2=True, verify=one, trust_env=False) as http:
                answer = await http.get(f"{origin}/who/")
            assert answer.http_version == "HTTP/2"
            assert answer.json()["secure"]

            client = await Client.connect(f"wss://127.0.0.1:{process.address}", ssl=two)
            assert client.hello["http_version"] == "1.1"
            async with _Http2OverTls("127.0.0.1", process.address, three) as connection:
                stream = await connection.open_from(ORIGIN, "/ws/")
                assert stream.status == 200
                assert '"http_version": "2"' in str(await stream.recv())
                await client.say("hello")
                assert await stream.recv() == '"hello"'
                await stream.close(1000)
            await client.socket.close()
            await check_stop(process, [], broker, lifespan=FEW)


class _Http2OverTls(Http2Connection):
    def __init__(self, host: str, port: int | Path, trust: ssl.SSLContext) -> None:
        super().__init__(host, int(str(port)))
        self._trust = trust
        trust.set_alpn_protocols(["h2"])

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            self.host, self.port, ssl=self._trust
        )
        self.h2.initiate_connection()
        self.flush()
        self._task = asyncio.create_task(self._read())
        await self.until(lambda: self.ended or self.takes_websockets is not None)
        return self

    async def open_from(self, origin: str, path: str):
        headers = {":protocol": "websocket", "sec-websocket-version": "13", "origin": origin}
        return await self._ask("CONNECT", path, headers, end_stream=False)
