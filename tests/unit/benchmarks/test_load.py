import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.server import serve

from benchmarks.load import PING, TEXT, Load, encode, split


def server_frame(opcode, payload):
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


payloads = st.one_of(
    st.binary(max_size=200), st.sampled_from([b"x" * n for n in (125, 126, 65535, 65536)])
)


@given(
    frames=st.lists(st.tuples(st.sampled_from([TEXT, PING]), payloads), max_size=5),
    cut=st.integers(min_value=0),
)
def test_frames_are_found_wherever_the_network_cuts_the_stream(frames, cut):
    data = b"".join(server_frame(*frame) for frame in frames)
    cut %= len(data) + 1
    first, rest = split(data[:cut])
    second, nothing = split(rest + data[cut:])
    assert first + second == frames
    assert nothing == b""


@contextmanager
def running(handler):
    """A real WebSocket server, from another implementation, on a port of its own."""
    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
    thread.join()


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_message_of_any_size_comes_back_as_it_was_sent(size):
    received = []

    def echo(connection):
        for message in connection:
            connection.send(message)

    with running(echo) as port, Load(port) as load:
        (client,) = load.connect(["/"], lambda client, payload: received.append(payload))
        client.send(b"x" * size)
        assert load.run(lambda: bool(received))
        load.close([client])
    assert received == [b"x" * size]
    assert (load.opened, load.ended, load.cut) == (1, 1, 0)


def test_pings_are_answered():
    answered = threading.Event()

    def ping(connection):
        if connection.ping(b"still there?").wait(5):
            answered.set()

    with running(ping) as port, Load(port) as load:
        load.connect(["/"], lambda client, payload: None)
        assert load.run(lambda: load.ended == 1)
    assert answered.is_set()


def test_connections_that_the_server_ends_are_counted():
    with running(lambda connection: connection.close()) as port, Load(port) as load:
        load.connect(["/"] * 3, lambda client, payload: None)
        assert load.run(lambda: load.ended == 3)
    assert load.cut == 3


def test_connections_take_turns_between_the_servers():
    def serving(connection):
        connection.send("hello")
        for _ in connection:
            pass

    with running(serving) as one, running(serving) as other, Load(one, other) as load:
        clients = load.connect(["/"] * 4, lambda client, payload: None)
        ports = [client.socket.getpeername()[1] for client in clients]
        load.close(clients)
    assert ports == [one, other, one, other]


def test_a_refused_handshake_is_an_error_that_shows_the_answer():
    def refuse(connection, request):
        return connection.respond(403, "not you")

    with serve(lambda connection: None, "127.0.0.1", 0, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with (
            Load(server.socket.getsockname()[1]) as load,
            pytest.raises(ConnectionError, match="403 Forbidden"),
        ):
            load.connect(["/"], lambda client, payload: None)
        server.shutdown()
    thread.join()


def test_a_silent_server_is_given_up():
    def say_nothing(connection):
        for _ in connection:
            pass

    with running(say_nothing) as port, Load(port, patience=0.2) as load:
        load.connect(["/"], lambda client, payload: None)
        assert not load.run(lambda: False)


def test_client_frames_are_masked_as_servers_demand():
    assert encode(b"hi") == b"\x81\x82\0\0\0\0hi"
