"""Requests that are too large are refused, whatever their clients go on sending."""

import asyncio
import contextlib
from typing import Self

import pytest

from .site import DEADLINE, Site, until

pytestmark = pytest.mark.server

MEBIBYTE = 2**20
PART = 2**16
LIMIT = MEBIBYTE  # of the consumer
REFUSED = "the body has more than 1048576 bytes"


class Upload:
    """A client that sends a request as it likes, and reads what it gets."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.sent = 0
        self.received = b""
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        port = self.site.server.port
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.reading.cancel()
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def begin(self, *headers: str) -> None:
        lines = [
            f"POST {self.site.root}/consumer/upload/ HTTP/1.1",
            f"Host: 127.0.0.1:{self.site.server.port}",
            *headers,
        ]
        await self.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.sent += len(data)

    async def pour(self, part: bytes) -> None:
        """Send until the server does not take any more."""
        with contextlib.suppress(OSError):
            while not self.ended.is_set():
                await self.write(part)

    async def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self.reader.read(PART):
                self.received += data
        self.ended.set()

    async def status(self) -> int:
        await until(lambda: b"\r\n\r\n" in self.received, "an answer")
        return int(self.received.split()[1])

    async def end(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.ended.wait()


async def test_a_body_of_just_the_limit(site: Site):
    response = await site.http.post("/consumer/upload/", content=b"a" * LIMIT)
    assert (response.status_code, response.text) == (200, str(LIMIT))


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "announced"])
async def test_a_body_beyond_the_limit(site: Site, chunked):
    async def parts():
        for _ in range(17):
            yield b"a" * PART

    content = parts() if chunked else b"a" * 17 * PART
    response = await site.http.post("/consumer/upload/", content=content)
    assert response.status_code == 413
    await site.expect_line("WARNING channels.handshake", REFUSED)
    # And the server goes on, on this connection or another.
    response = await site.http.post("/consumer/upload/", content=b"abc")
    assert response.text == "3"


async def test_a_body_that_never_ends(site: Site):
    part = b"%x\r\n%s\r\n" % (PART, b"a" * PART)
    if not site.can.streams_requests:
        async with Upload(site) as upload:
            await upload.begin("Transfer-Encoding: chunked")
            await upload.write(part * 20)
            # The application does not hear of it while it goes on.
            assert (await site.http.post("/consumer/upload/", content=b"abc")).text == "3"
            assert upload.received == b""
            await upload.write(b"0\r\n\r\n")
            assert await upload.status() == 413
        await site.expect_line("WARNING channels.handshake", REFUSED)
        return
    before = site.server.resident_bytes()
    async with Upload(site) as upload, asyncio.TaskGroup() as tasks:
        await upload.begin("Transfer-Encoding: chunked")
        tasks.create_task(upload.pour(part))
        assert await upload.status() == 413
        await upload.end()
        assert upload.received.count(b"HTTP/1.1") == 1
    assert site.server.resident_bytes() - before < 64 * MEBIBYTE
    await site.expect_line("WARNING channels.handshake", REFUSED)


async def test_a_body_that_is_announced_is_not_waited_for(site: Site):
    if not site.can.streams_requests:
        pytest.skip("the application does not hear of such a request")
    async with Upload(site) as upload:
        await upload.begin(f"Content-Length: {2**40}", "Expect: 100-continue")
        assert await upload.status() in {100, 413}
        await until(lambda: b" 413 " in upload.received, "a refusal")
        await upload.end()
        assert upload.sent < 1000
    await site.expect_line("WARNING channels.handshake", REFUSED)


async def test_many_endless_bodies_are_few_lines_in_the_log(site: Site):
    """However many clients send them."""
    body = b"a" * (LIMIT + 1)
    for _ in range(30):
        assert (await site.http.post("/consumer/upload/", content=body)).status_code == 413
    refusals = [line for line in site.log if REFUSED in line]
    assert len(refusals) <= 10
    site.expected.extend(refusals)
    site.tolerated.append("such lines; the others were left out")
