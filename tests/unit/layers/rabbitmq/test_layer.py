"""The options of the layer, and what it does with them."""

import asyncio

import pytest

from channels.exceptions import InvalidChannelLayerError
from channels.layers.rabbitmq import RabbitMQChannelLayer
from channels.layers.rabbitmq.layer import INBOX_CAPACITY


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"urls": []}, "urls must be a URL or a list of them, not list"),
        ({"urls": 5}, "urls must be a URL or a list of them, not int"),
        ({"urls": "redis://localhost"}, 'begin with "amqp://" or "amqps://"'),
        ({"urls": ["amqp://localhost", 5]}, 'begin with "amqp://" or "amqps://"'),
        ({"queue_type": "stream"}, 'queue_type must be "classic" or "quorum", not \'stream\''),
        ({"prefix": "x" * 101}, "prefix must have 100 characters at the most, not 101"),
        ({"prefix": 5}, "prefix"),
        ({"prefix": "*"}, "prefix may have letters and digits of ASCII, spaces and -_.:@#,/+"),
        ({"prefix": "caf\u00e9"}, "prefix may have letters and digits of ASCII"),
        ({"tls": "ca.pem"}, "tls must be an ssl.SSLContext"),
        ({"inbox_capacity": "5"}, "inbox_capacity"),
        ({"heartbeat": 0.5}, "heartbeat"),
        ({"response_timeout": "5"}, "response_timeout"),
    ],
)
def test_a_wrong_option_says_what_to_write(options, expected):
    with pytest.raises(InvalidChannelLayerError) as caught:
        RabbitMQChannelLayer(**options)
    assert expected in str(caught.value)


async def test_a_prefix_may_have_what_names_at_rabbitmq_may_have(make):
    layer = make(prefix="my site_1.2:@#,/+-")
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for send, name in ((layer.group_send, "room"), (layer.send, "jobs")):
        await send(name, {"type": "news"})
    assert await layer.receive(channel) == await layer.receive("jobs") == {"type": "news"}
    await layer.flush()


def test_options_that_are_right_are_taken():
    layer = RabbitMQChannelLayer(["amqps://rabbit/", "amqp://other/"], queue_type="quorum")
    assert (layer.queue_type, layer.inbox_capacity) == ("quorum", INBOX_CAPACITY)
    assert layer.prefix == "asgi"


async def test_its_connections_close_and_are_made_again(proxy, prefix):
    layer = RabbitMQChannelLayer(proxy.url, prefix, serializer_format="json")
    try:
        await layer.send("jobs", {"type": "job"})
        await layer.close_pools()
        async with asyncio.timeout(5):
            assert await layer.receive("jobs") == {"type": "job"}
    finally:
        await layer.flush()
        await layer.aclose()


async def test_a_message_that_waits_for_the_connection_outlives_the_closing_of_pools(proxy, prefix):
    layer = RabbitMQChannelLayer(proxy.url, prefix)
    proxy.stall()
    sending = asyncio.create_task(layer.group_send("room", {"type": "news"}))
    async with asyncio.timeout(5):
        while not proxy.connections:
            await asyncio.sleep(0)
        await layer.close_pools()
        proxy.flow()
        await sending
    assert not layer.statistics.dropped
    await layer.aclose()
