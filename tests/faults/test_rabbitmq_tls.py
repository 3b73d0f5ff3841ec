"""Over TLS: certificates of an authority of our own, of clients, of nobody who is trusted."""

import asyncio
import ssl
import uuid

import pytest
import uvloop

from channels.exceptions import BrokerError
from channels.layers.rabbitmq import RabbitMQChannelLayer

from ..ports import free_port
from ..rabbit import running
from ..topologies.harness import Authority

pytestmark = pytest.mark.server

# The certificate has the name localhost, which is the user's for those that show it.
_CONFIG = """
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {authority.ca}
ssl_options.certfile = {authority.cert}
ssl_options.keyfile = {authority.key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = EXTERNAL
ssl_cert_login_from = common_name
default_user = localhost
default_pass = secret
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def port(authority):
    port = free_port()
    config = _CONFIG.format(port=port, authority=authority)
    with running(config=config, plugins=("rabbitmq_auth_mechanism_ssl",)):
        yield port


def trusting(authority, *, own_certificate=False):
    context = ssl.create_default_context(cafile=authority.ca)
    if own_certificate:
        context.load_cert_chain(authority.cert, authority.key)
    return context


async def check_exchange(url, tls):
    """Send to a group, a channel and a named channel, with a message that has many frames."""
    layer = RabbitMQChannelLayer(url, uuid.uuid4().hex, tls=tls)
    try:
        async with asyncio.timeout(20):
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            for size in (10, 3_000_000):
                message = {"type": "news", "text": "x" * size}
                await layer.group_send("room", message)
                assert await layer.receive(channel) == message
                await layer.send("jobs", message)
                assert await layer.receive("jobs") == message
            await layer.flush()
    finally:
        await layer.aclose()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_messages_pass_when_the_authority_is_trusted(port, authority, run):
    run(check_exchange(f"amqps://localhost:secret@127.0.0.1:{port}/", trusting(authority)))


async def test_a_certificate_of_the_client_takes_the_place_of_a_password(port, authority):
    url = f"amqps://127.0.0.1:{port}/?auth=external"
    await check_exchange(url, trusting(authority, own_certificate=True))
    with pytest.raises(BrokerError, match="refused the credentials"):
        await check_exchange(url, trusting(authority))


async def test_a_certificate_of_another_authority_is_an_error_that_says_so(
    port, authority, tmp_path
):
    url = f"amqps://localhost:secret@127.0.0.1:{port}/"
    for tls in (trusting(Authority(tmp_path)), None):
        with pytest.raises(BrokerError, match=r"TLS with RabbitMQ failed.*CERTIFICATE_VERIFY"):
            await check_exchange(url, tls)
