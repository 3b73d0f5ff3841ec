"""Behind the guide's nginx each client has limits of its own, whatever it says of itself."""

import json
from pathlib import Path

import pytest
import websockets

from tests.ports import free_port
from tests.processes import environment
from tests.servers import SERVERS, RunningServer

from .nginx import Nginx

pytestmark = pytest.mark.server

PATH = "/async/handshakes/"  # three handshakes for each address
ZONES = """
limit_conn_zone $binary_remote_addr zone=sockets:10m;
limit_req_zone $binary_remote_addr zone=handshakes:10m rate=60r/m;
"""
RULES = """
        limit_conn sockets 2;
        limit_req zone=handshakes burst=20 nodelay;
        limit_conn_status 429;
        limit_req_status 429;
"""


async def statuses(proxy: Nginx, address: str, number: int, path: str = PATH) -> list[int]:
    """What so many handshakes get, each of which says that it comes from elsewhere."""
    found = []
    for forged in range(number):
        headers = {"X-Forwarded-For": f"203.0.113.{forged}"}
        try:
            async with websockets.connect(
                proxy.url + path, local_addr=(address, 0), additional_headers=headers
            ):
                found.append(101)
        except websockets.InvalidStatus as error:
            found.append(error.response.status_code)
    return found


@pytest.mark.parametrize("name", SERVERS)
async def test_each_client_has_limits_of_its_own(name: str, tmp_path: Path, nginx: str) -> None:
    kind = SERVERS[name]
    kind.require()
    env = environment(LIMITS_TRUSTED=json.dumps(["127.0.0.1", "unix"]))
    application = "tests.integration.limits_site:application"
    with (
        RunningServer(kind, application, log=tmp_path / "log", env=env) as server,
        Nginx(nginx, tmp_path / "nginx", free_port(), [f"127.0.0.1:{server.port}"]) as proxy,
    ):
        refused = 429 if kind.can.denial_response else 403
        for address in ("127.0.0.5", "127.0.0.6"):
            assert await statuses(proxy, address, 5) == [101] * 3 + [refused] * 2


async def test_nginx_itself_refuses_clients(tmp_path: Path, nginx: str) -> None:
    env = environment(LIMITS_TRUSTED=json.dumps(["127.0.0.1"]))
    application = "tests.integration.limits_site:application"
    with RunningServer(SERVERS["uvicorn"], application, log=tmp_path / "log", env=env) as server:
        proxy = Nginx(nginx, tmp_path / "nginx", free_port(), [f"127.0.0.1:{server.port}"])
        site = tmp_path / "nginx" / "conf.d" / "mysite.conf"
        text = site.read_text()
        assert text.count("location / {") == 1
        site.write_text(ZONES + text.replace("location / {", f"location / {{{RULES}"))
        with proxy:
            path = "/async/echo/"
            open_url, address = proxy.url + path, ("127.0.0.7", 0)
            async with (
                websockets.connect(open_url, local_addr=address),
                websockets.connect(open_url, local_addr=address),
            ):
                assert await statuses(proxy, "127.0.0.7", 1, path) == [429]
            found = await statuses(proxy, "127.0.0.8", 30, path)
            assert found[:20] == [101] * 20
            assert 429 in found[20:]


def test_the_guide_shows_these_lines() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/howto/limits.md").read_text("utf-8")
    for line in ZONES.split("\n") + RULES.split("\n"):
        assert line.strip().replace("sockets 2;", "sockets 50;") in page
