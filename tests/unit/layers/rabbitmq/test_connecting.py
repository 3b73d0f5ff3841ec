"""Connections: to which node, and what errors mean."""

import asyncio

import pytest
from aiormq import exceptions as amqp
from pamqp import commands, frame

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.rabbitmq.connecting import Nodes, explain, is_transient

from ....asgi import until

NOWHERE = "amqp://guest:guest@127.0.0.1:1/"

# Frames as clients send them: the class and the method.
START_OK, CHANNEL_OPEN = b"\x00\x0a\x00\x0b", b"\x00\x14\x00\x0a"


# Nodes


async def test_the_next_node_is_tried_after_one_that_is_down(make_nodes, rabbitmq):
    nodes = make_nodes(NOWHERE, rabbitmq.url)
    assert nodes.name == "RabbitMQ at 127.0.0.1:1"
    with pytest.raises(OSError, match="Connect call failed") as caught:
        await nodes.connect("testing")
    assert is_transient(caught.value)
    assert nodes.name == f"RabbitMQ at 127.0.0.1:{rabbitmq.port}"
    link = await nodes.connect("testing")
    assert link.is_open
    await link.aclose()
    assert nodes.name == f"RabbitMQ at 127.0.0.1:{rabbitmq.port}", "it worked last"


def test_the_name_of_a_node_has_the_standard_port_and_no_password(make_nodes):
    assert make_nodes("amqp://somebody:secret@rabbit/").name == "RabbitMQ at rabbit:5672"


async def test_a_virtual_host_that_is_refused_again_and_again_is_not_there(make_nodes, rabbitmq):
    nodes = make_nodes(f"{rabbitmq.url}nowhere")
    for _ in range(3):
        with pytest.raises(ConnectionError, match="not there") as caught:
            await nodes.connect("testing")
        assert is_transient(caught.value)
    with pytest.raises(amqp.ConnectionNotAllowed) as refused:
        await nodes.connect("testing")
    assert not is_transient(refused.value)


async def test_another_answer_than_the_protocol_has_is_passed_on(make_nodes, proxy):
    def interrupt(data):
        if START_OK in data:
            proxy.say(frame.marshal(commands.Connection.OpenOk(), 0))

    proxy.on_request = interrupt
    nodes = make_nodes(proxy.url)
    with pytest.raises(amqp.InvalidFrameError):
        await nodes.connect("testing")


async def test_a_connection_without_a_channel_is_closed(make_nodes, proxy):
    def stall(data):
        if CHANNEL_OPEN in data:
            proxy.stall()

    proxy.on_request = stall
    nodes = make_nodes(proxy.url, response_timeout=1.0)  # it connects within that
    with pytest.raises(TimeoutError):
        await nodes.connect("testing")
    proxy.flow()
    await until(lambda: not proxy.open)
    assert proxy.connections == 1


async def test_wrong_credentials_are_refused(make_nodes, rabbitmq):
    nodes = make_nodes(rabbitmq.url.replace("guest:guest", "guest:wrong"))
    with pytest.raises(amqp.AMQPError) as caught:
        await nodes.connect("testing")
    assert not is_transient(caught.value)
    assert "refused the credentials" in str(explain(caught.value))


# Errors


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (amqp.AuthenticationError("guest"), "look at user and password"),
        (amqp.ProbableAuthenticationError("guest"), "look at user and password"),
        (amqp.ConnectionNotAllowed(530, "/nowhere"), "rabbitmqctl add_vhost"),
        (amqp.ChannelAccessRefused(403, "no"), "refused a queue, as the user's permissions"),
        (amqp.ChannelPreconditionFailed(406, "other"), "RabbitMQ refused a queue: "),
        (ValueError(), "RabbitMQ refused a queue: ValueError"),
    ],
)
def test_what_will_not_pass_is_explained(error, expected):
    assert not is_transient(error)
    explained = explain(error, "a queue")
    assert type(explained) is BrokerError
    assert expected in str(explained)


@pytest.mark.parametrize(
    "error", [amqp.ChannelClosed(), OSError(), TimeoutError(), asyncio.CancelledError()]
)
def test_what_may_pass_is_tried_again(error):
    assert is_transient(error)


def test_an_error_of_ours_is_told_as_it_is():
    error = BrokerUnavailable("wait")
    assert explain(error) is error


async def test_a_server_that_speaks_no_tls_is_an_error_that_says_so(rabbitmq):
    nodes = Nodes([rabbitmq.url.replace("amqp:", "amqps:")], None, 10, 5.0)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever aiormq makes of it
        await nodes.connect("test")
    assert not is_transient(caught.value)
    assert "TLS with RabbitMQ failed" in str(explain(caught.value))
