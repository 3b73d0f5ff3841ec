"""Which adapter a connection gets: that of its own server, and never another client's."""

import functools
import logging
import sys

import pytest

from channels._runtime.servers import Server, adapter_for, begins_with_help
from tests.unit.runtime.servers import standins
from tests.unit.runtime.servers.standins import SERVERS, Granian, make_scope

NAMES = {
    standins.Uvicorn: "uvicorn",
    standins.Hypercorn: "hypercorn",
    standins.Daphne: "daphne",
    Granian: "granian",
}


async def anything(*arguments):
    raise AssertionError("not to be called")


def middleware(send, neighbour=None):
    """As most wrap it; whatever it knows besides comes first."""
    a_neighbour = neighbour

    async def wrapped(message):
        await (a_neighbour or send)(message)
        await send(message)

    return wrapped


def package_of(server):
    return server.package


@pytest.fixture(params=SERVERS)
def make(request):
    return request.param


@pytest.mark.parametrize("kind", NAMES)
async def test_servers_are_recognised_by_the_module_of_their_objects(kind, caplog):
    client = kind()
    assert adapter_for(client.scope, client.send, client.receive).package == NAMES[kind]
    wrapped = middleware(middleware(client.send))
    assert adapter_for(client.scope, wrapped, client.receive).package == NAMES[kind]
    assert caplog.records == []


async def test_classes_that_projects_derive_from_a_servers_are_recognised_too(make):
    client = make()
    client.protocol.__class__ = type("Own", (type(client.protocol),), {"__module__": "project"})
    assert adapter_for(client.scope, client.send, client.receive).package == NAMES[make]


async def test_having_a_transport_makes_no_server(caplog):
    class Protocol:
        def __init__(self):
            self.transport = standins.Transport()

        async def send(self, message):
            raise AssertionError("nothing is sent")

    protocol, scope = Protocol(), make_scope()
    protocol.scope = scope
    server = adapter_for(scope, protocol.send, None)
    assert type(server) is Server
    assert not server.abort()
    assert protocol.transport.aborted == 0
    assert caplog.records == []


@pytest.mark.parametrize("send", [None, anything, print, middleware(anything)])
def test_everything_else_is_an_unknown_server(send, caplog):
    assert type(adapter_for(make_scope(), send, None)) is Server
    assert caplog.records == []


# Whose connection it is


def copied(client):
    return dict(client.scope, url_route={}), client.receive


def with_other_headers(client):
    return dict(client.scope, headers=[(b"x-real-ip", b"b")], client=("b", 0)), client.receive


def with_wrapped_receive(client):
    return dict(client.scope), anything


@pytest.mark.parametrize("change", [copied, with_other_headers, with_wrapped_receive])
async def test_a_connection_is_its_own_whatever_middleware_changes(make, change):
    client = make()
    scope, receive = change(client)
    server = adapter_for(scope, middleware(client.send), receive)
    assert server.package == NAMES[make]
    assert server.abort()
    assert client.transport.aborted == 1


async def test_a_connection_that_cannot_be_told_from_others_has_an_unknown_server(make, caplog):
    client = make()
    scope, _ = with_other_headers(client)
    assert type(adapter_for(scope, client.send, anything)) is Server
    assert caplog.records == []


@pytest.mark.parametrize("change", [copied, with_other_headers, with_wrapped_receive])
async def test_another_clients_connection_is_never_aborted(make, change):
    """A middleware closes over another client's ``send``, which is found first."""
    client, neighbour = make(), make()
    scope, receive = change(client)
    send = middleware(client.send, neighbour.send)
    server = adapter_for(scope, send, receive)
    assert server.abort()
    assert (client.transport.aborted, neighbour.transport.aborted) == (1, 0)


async def test_without_its_own_object_no_other_clients_is_taken(make):
    client, neighbour = make(), make()

    async def hidden(message):
        raise AssertionError("nothing is sent")

    server = adapter_for(client.scope, middleware(hidden, neighbour.send), client.receive)
    assert type(server) is Server
    assert not server.abort()
    assert neighbour.transport.aborted == 0


async def test_scopes_without_headers_are_not_all_the_same(make):
    client, neighbour = make(), make()
    del client.scope["headers"]
    neighbour.scope["headers"] = neighbour.protocol.clean_headers = None
    server = adapter_for(client.scope, middleware(client.send, neighbour.send), None)
    assert not server.abort()
    assert neighbour.transport.aborted == 0


# Objects that are not as expected


def without(path):
    """Take away what stands at the end of a path of attributes."""

    def change(client):
        *steps, last = path.split(".")
        here = functools.reduce(getattr, steps, client)
        here.__dict__.pop(last)

    return change


CHANGES = {
    "uvicorn without scope": (standins.Uvicorn, without("protocol.scope")),
    "uvicorn without transport": (standins.Uvicorn, without("protocol.transport")),
    "hypercorn without scope": (standins.Hypercorn, without("protocol.scope")),
    "hypercorn without queue": (standins.Hypercorn, without("protocol.app_put")),
    "hypercorn without send": (standins.Hypercorn, without("protocol.send")),
    "hypercorn without handshake": (standins.Hypercorn, without("protocol.handshake")),
    "hypercorn without buffer": (standins.Hypercorn, without("protocol.buffer")),
    "hypercorn without writer": (standins.Hypercorn, without("tcp.writer")),
    "daphne without headers": (standins.Daphne, without("protocol.clean_headers")),
    "daphne without queue": (standins.Daphne, without("protocol.application_queue")),
    "daphne without transport": (standins.Daphne, without("protocol.transport")),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_server_with_other_objects_is_unknown_and_the_log_says_so_once(change, caplog):
    kind, spoil = CHANGES[change]
    for _ in range(3):
        client = kind()
        spoil(client)
        server = adapter_for(client.scope, middleware(client.send), client.receive)
        assert type(server) is Server
        assert not server.abort()
    [record] = caplog.records
    assert (record.name, record.levelno) == ("channels.servers", logging.WARNING)
    assert record.getMessage().startswith(NAMES[kind])
    assert "is not as Channels knows it" in record.getMessage()
    assert record.exc_info is None


@pytest.mark.parametrize(
    "missing",
    ["abort", "get_extra_info", "get_write_buffer_size"],
)
@pytest.mark.parametrize("kind", [standins.Uvicorn, standins.Hypercorn])
async def test_a_transport_that_lacks_a_method_makes_the_server_unknown(kind, missing, caplog):
    class Poor:
        def __getattr__(self, name):
            if name == missing:
                raise AttributeError(name)
            return anything

    client = kind(transport=Poor())
    assert type(adapter_for(client.scope, client.send, client.receive)) is Server
    assert missing in caplog.text


# When it has to be chosen


@pytest.fixture(params=["daphne.ws_protocol", "hypercorn.protocol.ws_stream"])
def imported(monkeypatch, request):
    monkeypatch.setitem(sys.modules, request.param, object())


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(
    ("scope_type", "helped"), [("websocket", True), ("http", True), ("x", False)]
)
def test_connections_begin_with_help_where_a_server_that_needs_it_is_imported(scope_type, helped):
    assert begins_with_help(make_scope(scope_type)) is helped


def test_without_such_a_server_no_adapter_is_chosen_before_it_is_needed(monkeypatch):
    monkeypatch.delitem(sys.modules, "daphne.ws_protocol", raising=False)
    monkeypatch.delitem(sys.modules, "hypercorn.protocol.ws_stream", raising=False)
    assert not begins_with_help(make_scope())
