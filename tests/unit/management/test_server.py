import errno
import signal
import socket
import threading
from unittest.mock import Mock

import pytest

from channels._runtime.termination import Termination
from channels.management.server import UvicornServer

pytestmark = pytest.mark.usefixtures("measured_processes")


def test_port_zero_is_any_free_port():
    server = UvicornServer(("127.0.0.1", 0), None)
    with server.socket:
        assert server.server_port == server.socket.getsockname()[1] > 0


def test_a_port_in_use_is_an_os_error_that_django_explains():
    with socket.create_server(("127.0.0.1", 0)) as first:
        with pytest.raises(OSError, match="in use") as error:
            UvicornServer(first.getsockname(), None)
        assert error.value.errno == errno.EADDRINUSE


def test_an_address_of_another_machine_is_an_os_error_that_django_explains():
    with pytest.raises(OSError, match="address") as error:
        UvicornServer(("192.0.2.1", 0), None)
    assert error.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize("address", ["::1", "::"])
def test_ipv6(address):
    server = UvicornServer((address, 0), None, ipv6=True)
    with server.socket:
        reachable = ["::1", "127.0.0.1"] if address == "::" else ["::1"]
        for host in reachable:
            with socket.create_connection((host, server.server_port), 5) as client:
                assert client.getpeername()[1] == server.server_port


def test_ending_without_a_server_does_nothing():
    before = signal.getsignal(signal.SIGINT), threading.active_count()
    UvicornServer.end(0)
    assert (signal.getsignal(signal.SIGINT), threading.active_count()) == before


def test_ctrl_c_while_the_application_starts_ends_the_server_before_it_serves(monkeypatch):
    monkeypatch.setattr(Termination, "disabled", Termination.disabled)  # the server sets it
    monkeypatch.setattr(threading, "Timer", Mock())  # would end this process
    steps = []

    async def application(scope, receive, send):
        steps.append((await receive())["type"])
        signal.raise_signal(signal.SIGINT)
        await send({"type": "lifespan.startup.complete"})
        steps.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    server = UvicornServer(("127.0.0.1", 0), None)
    server.set_app(application)
    with server.socket, pytest.raises(KeyboardInterrupt):
        server.serve_forever()
    assert steps[0] == "lifespan.startup"
