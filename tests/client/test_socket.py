"""The client against a real server, and what happens to servers and networks."""

import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from channels.close_codes import sequel

from ..proxy import Blocker, Proxy
from ..servers import SERVERS, RunningServer
from .conftest import Page

pytestmark = pytest.mark.server

# Delays that tests can wait for.
QUICK = {"minDelay": 50, "maxDelay": 400, "spread": 200, "connectTimeout": 3000}


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    kind = SERVERS["uvicorn"]
    log = tmp_path_factory.mktemp("server") / "server.log"
    with RunningServer(kind, "tests.client.asgi:application", log=log, env={}) as server:
        yield server


@pytest.fixture
def server(shared_server: RunningServer) -> RunningServer:
    """A server that runs, and that the test may kill."""
    if not shared_server.is_up():
        shared_server.kill()
        shared_server.start()
    return shared_server


@pytest.fixture
async def proxy(server: RunningServer) -> AsyncIterator[Proxy]:
    """Stands between the page and the server."""
    async with Proxy(("127.0.0.1", server.port)) as proxy:
        yield proxy


def url_of(at: RunningServer | Proxy, query: str = "") -> str:
    return f"http://127.0.0.1:{at.port}/ws/echo/{query}"


async def opened(page: Page, at: Any, name: str = "a", query: str = "", **options: Any) -> None:
    page.do("open", name=name, url=url_of(at, query), options=QUICK | options)
    await page.expect(name, "open")


async def test_it_works_like_a_websocket(page: Page, server: RunningServer) -> None:
    page.do("open", name="a", url=url_of(server), protocols=["one", "two"], options=QUICK)
    assert (await page.expect("a", "open"))["protocol"] == "one"
    page.do("send", name="a", data="hello")
    page.do("send", name="a", data=[1, 2, 255])
    await page.expect("a", "message", data="echo hello")
    await page.expect("a", "message", data={"bytes": [1, 2, 255], "kind": "Blob"})
    page.do("set", name="a", key="binaryType", value="arraybuffer")
    page.do("send", name="a", data=[3])
    await page.expect("a", "message", data={"bytes": [3], "kind": "ArrayBuffer"})
    page.do("close", name="a", code=3001, reason="enough")
    closed = await page.expect("a", "close")
    assert (closed["code"], closed["reason"], closed["state"]) == (3001, "enough", 3)
    assert closed["reconnects"] is False
    assert page.of("a", "status")[-1]["status"] == "closed"


async def test_what_a_page_may_not_do_is_told_as_websockets_do(
    page: Page, server: RunningServer
) -> None:
    await opened(page, server)
    page.do("close", name="a", code=1001)
    assert "InvalidAccessError" in (await page.expect("a", "thrown"))["error"]
    page.do("open", name="b", url="http://[", options={})
    assert "TypeError" in (await page.expect("b", "thrown"))["error"]


async def test_it_comes_back_when_the_server_was_killed(page: Page, server: RunningServer) -> None:
    await opened(page, server)
    server.kill()
    closed = await page.expect("a", "close")
    assert (closed["code"], closed["reconnects"], closed["state"]) == (1006, True, 0)
    page.do("send", name="a", data="meanwhile")
    server.start()
    await page.expect("a", "open", 2)
    await page.expect("a", "message", data="echo meanwhile")


async def test_it_comes_back_when_the_server_restarts(page: Page, server: RunningServer) -> None:
    await opened(page, server)
    server.terminate()
    # Node.js forgets the code if the connection ends at the same moment. tests/e2e has a browser.
    assert (await page.expect("a", "close"))["code"] in {1012, 1006}
    server.wait()
    server.start()
    await page.expect("a", "open", 2)


@pytest.mark.parametrize(
    ("code", "comes_back"),
    [(1000, False), (1008, False), (1011, True), (1013, True), (4000, True), (4401, False)],
)
async def test_it_comes_back_as_the_close_code_says(
    page: Page, server: RunningServer, code: int, comes_back: bool
) -> None:
    await opened(page, server)
    page.do("send", name="a", data=f"close {code} because")
    closed = await page.expect("a", "close")
    assert (closed["code"], closed["reason"]) == (code, "because")
    assert closed["reconnects"] is comes_back
    if comes_back:
        await page.expect("a", "open", 2)
    else:
        assert page.of("a", "status")[-1]["status"] == "failed"
        page.do("send", name="a", data="too late")
        assert (await page.expect("a", "drop"))["data"] == "too late"
        page.do("reconnect", name="a")
        await page.expect("a", "open", 2)


async def test_both_sides_have_the_same_table(page: Page) -> None:
    page.do("sequels")
    told = await page.until(lambda: [e for e in page.events if e["event"] == "sequels"])
    assert told[0]["codes"] == {str(code): str(sequel(code)) for code in range(1000, 5000)}


async def test_it_stops_when_what_the_page_sends_is_refused_again_and_again(
    page: Page, server: RunningServer
) -> None:
    await opened(page, server)
    for number in range(1, 4):
        page.do("send", name="a", data="close 1007 that is no JSON")
        closed = await page.expect("a", "close", number)
        assert closed["reconnects"] is (number < 3)
        if number < 3:
            await page.expect("a", "open", number + 1)
    assert page.of("a", "status")[-1]["status"] == "failed"


async def test_what_does_not_fit_into_the_queue_is_told(page: Page, server: RunningServer) -> None:
    await opened(page, server, queue=2)
    server.kill()
    await page.expect("a", "close")
    for number in range(4):
        page.do("send", name="a", data=f"{number}")
    dropped = [(await page.expect("a", "drop", n))["data"] for n in (1, 2)]
    assert dropped == ["2", "3"]
    server.start()
    await page.expect("a", "message", data="echo 1")
    assert [e["data"] for e in page.of("a", "message")[-2:]] == ["echo 0", "echo 1"]


async def test_a_link_that_is_dead_is_noticed_and_replaced(
    page: Page, proxy: Proxy, server: RunningServer
) -> None:
    """Nothing comes and nothing goes, and nobody says so."""
    await opened(page, proxy, heartbeat=200, heartbeatTimeout=300)
    proxy.stall()
    closed = await page.expect("a", "close")
    assert (closed["code"], closed["reason"]) == (1006, "The server is silent")
    proxy.flow()
    await page.expect("a", "open", 2)


async def test_a_server_that_has_nothing_to_say_is_kept(page: Page, server: RunningServer) -> None:
    await opened(page, server, heartbeat=50, heartbeatTimeout=2000)
    page.do("send", name="a", data="ponder 1")  # a handler that takes long is no dead link
    await page.expect("a", "message", data="pondered")
    assert page.of("a", "close") == []
    assert [e["data"] for e in page.of("a", "message")][1:] == ["pondered"], "no pongs"


async def test_a_stopped_server_is_noticed_and_one_that_goes_on_is_found_again(
    page: Page, server: RunningServer
) -> None:
    await opened(page, server, heartbeat=200, heartbeatTimeout=300, connectTimeout=500)
    server.process.send_signal(signal.SIGSTOP)
    try:
        await page.expect("a", "close", 2)
    finally:
        server.process.send_signal(signal.SIGCONT)
    await page.expect("a", "open", 2)


async def test_it_comes_back_when_the_machine_wakes_up(page: Page, server: RunningServer) -> None:
    """While it slept, no timer ran, and the server has been replaced."""
    await opened(page, server, heartbeat=200, heartbeatTimeout=300)
    page.process.send_signal(signal.SIGSTOP)
    server.kill()
    server.start()
    page.process.send_signal(signal.SIGCONT)
    await page.expect("a", "open", 2)


async def test_a_slow_network_is_no_dead_one(
    page: Page, proxy: Proxy, server: RunningServer
) -> None:
    proxy.latency = 0.3
    await opened(page, proxy, connectTimeout=10_000, heartbeat=100, heartbeatTimeout=10_000)
    for number in range(5):
        page.do("send", name="a", data=f"{number}")
    await page.expect("a", "message", data="echo 4")
    assert page.of("a", "close") == []


async def test_a_server_that_never_answers_is_given_up(
    page: Page, proxy: Proxy, server: RunningServer
) -> None:
    proxy.stall()
    page.do("open", name="a", url=url_of(proxy), options=QUICK | {"connectTimeout": 200})
    await page.expect("a", "close", 2)
    proxy.flow()
    await page.expect("a", "open")


async def test_it_does_not_wait_when_the_network_is_back(
    page: Page, proxy: Proxy, server: RunningServer
) -> None:
    await opened(page, proxy, minDelay=1_000_000, maxDelay=1_000_000, fallback=False)
    proxy.refuse()
    await page.expect("a", "close")
    proxy.accept()
    page.do("global", type="online")
    await page.expect("a", "open", 2)


async def test_each_attempt_gets_a_fresh_token(page: Page, server: RunningServer) -> None:
    base = url_of(server)
    before = [f"{base}?token=right", "throw", {"url": f"{base}?token=right", "protocols": "p"}]
    page.do("open", name="a", url=base, options=QUICK, before=before)
    await page.expect("a", "open")
    page.do("send", name="a", data="close 1011 again")
    await page.expect("a", "close", code=1011)
    await page.expect("a", "close", code=1006)  # there was no token
    assert (await page.expect("a", "open", 2))["protocol"] == "p"
    assert [e["attempt"] for e in page.of("a", "before")] == [0, 1, 2]
    assert page.of("a", "before")[1]["code"] == 1011


async def test_a_page_may_give_up_before_an_attempt(page: Page, server: RunningServer) -> None:
    page.do("open", name="a", url=url_of(server), options=QUICK, before=[False])
    assert (await page.expect("a", "close"))["reconnects"] is False
    assert page.of("a", "status")[-1]["status"] == "failed"


async def test_a_token_that_is_refused_ends_the_attempts(page: Page, server: RunningServer) -> None:
    page.do("open", name="a", url=url_of(server, "?token=wrong"), options=QUICK)
    await page.expect("a", "close", reconnects=False)
    assert page.of("a", "status")[-1]["status"] == "failed"
    assert len(page.of("a", "close")) >= 4, "three handshakes, and a request for a stream"


async def test_it_falls_back_to_events_where_websockets_are_blocked(
    page: Page, server: RunningServer
) -> None:
    async with Blocker(("127.0.0.1", server.port)) as proxy:
        page.do("open", name="a", url=url_of(proxy), protocols=["one"], options=QUICK)
        opened = await page.expect("a", "open")
        assert (opened["transport"], opened["protocol"]) == ("sse", "one")
        assert len(page.of("a", "close")) >= 3
        for data in ("hello", "zwei\nZeilen\r\u2028ü", [0, 255]):
            page.do("send", name="a", data=data)
        await page.expect("a", "message", data="echo hello")
        await page.expect("a", "message", data="echo zwei\nZeilen\r\u2028ü")
        await page.expect("a", "message", data={"bytes": [0, 255], "kind": "Blob"})
        for number in range(50):
            page.do("send", name="a", data=f"{number}")
        await page.expect("a", "message", data="echo 49")
        texts = [e["data"] for e in page.of("a", "message")]
        assert texts[-50:] == [f"echo {number}" for number in range(50)]
        page.do("send", name="a", data="close 4400 wrong")
        closed = await page.expect("a", "close", code=4400)
        assert (closed["reason"], closed["reconnects"]) == ("wrong", False)
        page.do("reconnect", name="a")
        assert (await page.expect("a", "open", 2))["transport"] == "sse"
        page.do("close", name="a", code=3333)
        await page.expect("a", "close", state=3, reconnects=False, code=3333)


async def test_a_403_that_is_not_the_applications_is_no_refusal(
    page: Page, server: RunningServer
) -> None:
    """Django's protection against CSRF answers so where a project offers no fallback."""
    async with Blocker(("127.0.0.1", server.port)) as proxy:
        page.do("open", name="a", url=f"http://127.0.0.1:{proxy.port}/ws/none/", options=QUICK)
        await page.expect("a", "close", 6)
        assert page.of("a", "status")[-1]["status"] != "failed"


async def test_a_fallback_comes_back_when_its_server_restarts(
    page: Page, server: RunningServer
) -> None:
    async with Blocker(("127.0.0.1", server.port)) as proxy:
        await opened(page, proxy)
        server.terminate()
        await page.expect("a", "close", code=1012)
        server.wait()
        server.start()
        await page.expect("a", "open", 2)


async def test_a_websocket_is_tried_again_when_a_fallback_has_ended(
    page: Page, server: RunningServer
) -> None:
    async with Blocker(("127.0.0.1", server.port)) as proxy:
        await opened(page, proxy)
        assert page.of("a", "open")[0]["transport"] == "sse"
        proxy.on_request = None  # it blocks nothing any more
        page.do("send", name="a", data="close 1011 again")
        assert (await page.expect("a", "open", 2))["transport"] == "websocket"


async def test_a_server_that_is_down_is_no_reason_for_the_fallback(
    page: Page, server: RunningServer
) -> None:
    await opened(page, server)
    server.kill()
    await page.expect("a", "close", 6)
    server.start()
    assert (await page.expect("a", "open", 2))["transport"] == "websocket"


async def test_many_come_back_spread(page: Page, server: RunningServer) -> None:
    for number in range(50):
        page.do("open", name=f"s{number}", url=url_of(server), options=QUICK | {"spread": 1000})
    for number in range(50):
        await page.expect(f"s{number}", "open")
    server.terminate()
    server.wait()
    server.start()
    times = [(await page.expect(f"s{number}", "open", 2))["at"] for number in range(50)]
    assert max(times) - min(times) > 100, "not all at once"


async def test_closing_while_it_waits_ends_it_at_once(page: Page, server: RunningServer) -> None:
    await opened(page, server, minDelay=1_000_000, maxDelay=1_000_000)
    server.kill()
    await page.expect("a", "close")
    page.do("send", name="a", data="never sent")
    page.do("close", name="a")
    assert (await page.expect("a", "close", 2))["state"] == 3
    assert (await page.expect("a", "drop"))["data"] == "never sent"
    assert page.of("a", "status")[-1]["status"] == "closed"


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_tokens_are_shown_and_refreshed(
    page: Page, server: RunningServer, transport: str
) -> None:
    async with Blocker(("127.0.0.1", server.port)) as proxy:
        if transport == "websocket":
            proxy.on_request = None  # it blocks nothing
        url = f"http://127.0.0.1:{proxy.port}/ws/signed/"
        page.do("open", name="a", url=url, protocols=["channels.bearer", "a-100"], options=QUICK)
        opened = await page.expect("a", "open")
        assert (opened["transport"], opened["protocol"]) == (transport, "channels.bearer")
        await page.expect("a", "message", data="7")
        page.do("refresh", name="a", token="b-500")
        assert 490 < (await page.expect("a", "token"))["expiresIn"] <= 500
        page.do("refresh", name="a", token="away")
        await page.expect("a", "token", error="unavailable")
        page.do("refresh", name="a", token="bad")
        await page.expect("a", "close", code=4401, reconnects=False)
        assert len(page.of("a", "message")) == 1


async def test_an_expired_token_is_replaced_with_a_fresh_one(
    page: Page, server: RunningServer
) -> None:
    url = f"http://127.0.0.1:{server.port}/ws/signed/"
    before = [{"protocols": ["channels.bearer", f"a-{seconds}"]} for seconds in (0.5, 500)]
    page.do("open", name="a", url=url, options=QUICK, before=before)
    assert (await page.expect("a", "close", code=4419))["reconnects"] is True
    await page.expect("a", "open", 2)
    await page.expect("a", "message", 2, data="7")
    assert page.of("a", "before")[1]["code"] == 4419
