"""What goes through an open socket, in both directions, and how either side closes it."""

import pytest

from .site import Site

pytestmark = pytest.mark.server

MEBIBYTE = 2**20


@pytest.mark.parametrize(
    "frame",
    [
        "text",
        "Grüße 🙂\x00\n",
        b"bytes",
        bytes(range(256)),
        pytest.param("x" * MEBIBYTE, id="text-1MiB"),
        pytest.param(b"\x00" * MEBIBYTE, id="bytes-1MiB"),
    ],
)
async def test_echo(site: Site, flavour, frame):
    async with await site.connect(f"{flavour}/") as client:
        await client.send(frame)
        assert await client.recv() == frame


@pytest.mark.parametrize("frame", ["", b""], ids=["text", "bytes"])
async def test_empty_frames(site: Site, flavour, frame):
    """They reach the application everywhere: it answers, even if a server loses the answer."""
    async with await site.connect(f"{flavour}/") as client:
        await client.send(frame)
        await client.send("after")
        answers = [await client.recv() for _ in range(2 if site.can.empty_messages else 1)]
    assert answers == ([frame, "after"] if site.can.empty_messages else ["after"])


async def test_frames_keep_their_order(site: Site, flavour):
    async with await site.connect(f"{flavour}/") as client:
        for number in range(500):
            await client.send(str(number))
        assert [await client.recv() for _ in range(500)] == [str(n) for n in range(500)]


async def test_fragmented_messages_come_whole(site: Site, flavour):
    async with await site.connect(f"{flavour}/") as client:
        await client.send(["one ", "", "mess", "age"])
        assert await client.recv() == "one message"


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4001, 4999])
async def test_the_client_closes(site: Site, flavour, code):
    client = await site.connect(f"{flavour}/")
    await client.close(code, "because")
    left = await site.events.wait(client.key, "disconnect")
    assert left["code"] == (code if site.can.receives_close_code else 1006)
    assert left["reason"] == ("because" if site.can.receives_close_reason else None)


@pytest.mark.parametrize("code", [1000, 3000, 4001, 4999])
async def test_the_application_closes(site: Site, flavour, code):
    client = await site.connect(f"{flavour}/")
    await client.send(f"!close {code} weil Schluß ist")
    assert await client.closed() == (code, "weil Schluß ist" if site.can.sends_close_reason else "")
    await site.events.wait(client.key, "disconnect")


async def test_the_application_closes_with_a_code_of_the_protocol(site: Site, flavour, actor):
    client = await site.connect(f"{flavour}/")
    await client.send("!close 1001")
    # Refused by the server, it is a mistake in the handler, which ends the connection as others do.
    assert (await client.closed())[0] == site.code(1001)
    if not site.can.protocol_close_codes:
        await site.expect_crash(actor, f"/ws/{flavour}/", "Exception: invalid close code")


async def test_clients_that_send_nothing_are_closed(site: Site, flavour):
    clients = [await site.connect(f"{flavour}/") for _ in range(3)]
    await clients[0].send("!expel 4003")
    for client in clients:
        assert (await client.closed())[0] == 4003
        await site.events.wait(client.key, "disconnect")


async def test_layer_messages_reach_every_member(site: Site, flavour):
    clients = [await site.connect(f"{flavour}/") for _ in range(5)]
    await clients[0].send("!shout hello")
    assert [await client.recv() for client in clients] == ["hello"] * 5


async def test_text_that_is_no_utf8(site: Site, flavour):
    """The server's business; but the application must learn that the client has gone."""
    client = await site.connect(f"{flavour}/")
    await client.send(b"\xff\xfe", text=True)
    assert (await client.closed())[0] == site.can.protocol_error(1007)
    await site.events.wait(client.key, "disconnect")
    if site.can.traceback_for_invalid_utf8:
        await site.expect_line("Invalid UTF-8 sequence received from client.")
        site.expected_tracebacks += 1


async def test_bytes_that_are_no_frame(site: Site, flavour):
    client = await site.connect(f"{flavour}/")
    client.transport.write(b"\x83\x80\x00\x00\x00\x00")  # a reserved opcode (RFC 6455, 5.2)
    assert (await client.closed())[0] == site.can.protocol_error(1002)
    await site.events.wait(client.key, "disconnect")
