import signal

import pytest
from django.core.management import CommandError, call_command

from channels.layers import channel_layers
from channels.management.commands.runworker import Command
from channels.middleware import BaseMiddleware
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from channels.worker import Worker

from .project import Project

pytestmark = pytest.mark.usefixtures("measured_processes")


async def application(scope, receive, send):
    raise AssertionError("no message is sent here")


WITH_CHANNEL = ProtocolTypeRouter({"channel": ChannelNameRouter({"thumbs": application})})
WRAPPED = ProtocolTypeRouter(
    {"channel": BaseMiddleware(ChannelNameRouter({"thumbs": application}))}
)
WITHOUT_CHANNEL = ProtocolTypeRouter({"websocket": application})


class Noting(Worker):
    """A worker that only says what it was told to do."""

    def run(self):
        self.noted.append((self.application, self.channels, self.channel_layer))
        Noting.options = (self.concurrency, self.handler_timeout)
        Noting.health = (self.health_file, self.health_port, self.health_host)


class Noted(Command):
    worker_class = Noting


@pytest.fixture(autouse=True)
def noted(settings):
    settings.ASGI_APPLICATION = f"{__name__}.WITH_CHANNEL"
    Noting.noted = []
    return Noting.noted


def test_the_worker_gets_the_application_the_channels_and_the_layer(noted):
    call_command(Noted(), "thumbs", "other", "thumbs")
    assert noted == [(WITH_CHANNEL, ["thumbs", "other"], channel_layers["default"])]


def test_each_channel_may_have_a_concurrency_and_the_others_have_a_common_one(settings, noted):
    settings.ASGI_APPLICATION = f"{__name__}.WRAPPED"
    call_command(Noted(), "thumbs:4", "other", "--timeout", "2.5")
    assert Noting.options == ({"thumbs": 4, "other": 1}, 2.5)
    call_command(Noted(), "thumbs:4", "other", "--concurrency", "2")
    assert Noting.options == ({"thumbs": 4, "other": 2}, None)
    assert [channels for _, channels, _ in noted] == [["thumbs", "other"]] * 2


@pytest.mark.parametrize("number", ["0", "-1", "x", "", "1.5", "²"])
def test_a_concurrency_that_is_none(noted, number):
    for arguments in ([f"thumbs:{number}"], ["thumbs", f"--concurrency={number}"]):
        with pytest.raises(CommandError, match="is no whole number from 1"):
            call_command(Noted(), *arguments)
    assert noted == []


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "inf", "nan"])
def test_a_timeout_that_is_none(noted, seconds):
    with pytest.raises(CommandError, match="is no number of seconds above 0"):
        call_command(Noted(), "thumbs", f"--timeout={seconds}")
    assert noted == []


def test_where_the_worker_tells_how_it_is(noted):
    call_command(Noted(), "thumbs", "--health-file=/tmp/alive")
    assert Noting.health == ("/tmp/alive", None, None)
    call_command(Noted(), "thumbs", "--health-port=8002", "--health-host=127.0.0.1")
    assert Noting.health == (None, 8002, "127.0.0.1")


def test_an_option_that_the_worker_refuses(noted, tmp_path):
    with pytest.raises(CommandError, match="health_port must be a number from 1 to 65535"):
        call_command(Noted(), "thumbs", "--health-port=0")
    assert noted == []
    with pytest.raises(CommandError, match=r"The health file .* cannot be written: Is a"):
        call_command(Command(), "thumbs", f"--health-file={tmp_path}")


def test_a_worker_class_need_not_know_arguments_that_are_not_used(noted):
    class Old(Noting):
        def __init__(self, application, channels, channel_layer, max_applications=1000):
            super().__init__(application, channels, channel_layer, max_applications)

    class OldCommand(Command):
        worker_class = Old

    call_command(OldCommand(), "thumbs")
    assert len(noted) == 1


def test_another_layer_is_named_by_its_alias(noted, settings):
    backend = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    settings.CHANNEL_LAYERS = {"default": backend, "jobs": backend}
    call_command(Noted(), "thumbs", "--layer", "jobs")
    assert noted[0][2] is channel_layers["jobs"] is not channel_layers["default"]


def test_a_layer_that_is_not_configured(settings):
    with pytest.raises(CommandError, match=r"CHANNEL_LAYERS has no 'jobs'.*\(there is 'default'\)"):
        call_command(Noted(), "thumbs", "--layer", "jobs")
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(CommandError, match=r"CHANNEL_LAYERS has no 'default'.*\(it is empty\)"):
        call_command(Noted(), "thumbs")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"BACKEND": "no.such.Layer"}, "Cannot import BACKEND"),
        ({"CONFIG": {}}, "No BACKEND"),
        ({"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hots": []}}, "hots"),
        ({"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": "h"}}, "list"),
    ],
)
def test_a_layer_that_cannot_be_made(settings, config, told):
    settings.CHANNEL_LAYERS = {"default": config}
    with pytest.raises(
        CommandError, match=rf"CHANNEL_LAYERS\['default'\] cannot be used: .*{told}"
    ):
        call_command(Noted(), "thumbs")


def test_an_application_that_cannot_be_imported(settings):
    settings.ASGI_APPLICATION = "no.such.application"
    with pytest.raises(CommandError, match="ASGI_APPLICATION"):
        call_command(Noted(), "thumbs")


def test_channels_that_lead_nowhere(settings, noted, capsys):
    with pytest.raises(CommandError, match="has no thumps; it knows thumbs"):
        call_command(Noted(), "thumps")
    assert noted == []
    call_command(Noted(), "thumps", "thumbs")
    assert "has no thumps; it knows thumbs. Messages to others" in capsys.readouterr().err
    settings.ASGI_APPLICATION = f"{__name__}.WRAPPED"
    call_command(Noted(), "thumps")  # the middleware may know better
    assert len(noted) == 2


@pytest.mark.parametrize("name", ["with space", "x" * 200, "specific.abc!def", "prefix!"])
def test_a_name_that_is_not_valid(name, noted):
    with pytest.raises(CommandError, match="channel"):
        call_command(Noted(), "fine", name)
    assert noted == []


def test_no_channel_at_all():
    with pytest.raises(CommandError, match="required"):
        call_command(Noted())


def test_an_application_without_channel(settings, noted):
    settings.ASGI_APPLICATION = f"{__name__}.WITHOUT_CHANNEL"
    with pytest.raises(CommandError, match='has no "channel"'):
        call_command(Noted(), "thumbs")
    assert noted == []


def test_an_in_memory_layer_is_warned_of(capsys):
    call_command(Noted(), "thumbs")
    assert "carries no message from another process" in capsys.readouterr().err


def test_a_layer_with_a_broker_is_not_warned_of(noted, settings, capsys):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}
    call_command(Noted(), "thumbs")
    assert len(noted) == 1
    assert capsys.readouterr().err == ""


LAYER = """
from channels.layers import InMemoryChannelLayer

class Feeding(InMemoryChannelLayer):
    "Three messages are waiting."

    async def receive(self, channel):
        if channel == "thumbs" and not hasattr(self, "fed"):
            self.fed = True
            for n in range(3):
                await self.send("thumbs", {"type": "thumbs.make", "n": n})
        return await super().receive(channel)

class Broken(InMemoryChannelLayer):
    async def receive(self, channel):
        raise NotImplementedError("this layer cannot receive")
"""

CONSUMER = """
import time
from channels.consumer import SyncConsumer
from channels.middleware import BaseMiddleware
from channels.routing import ChannelNameRouter, ProtocolTypeRouter

class Thumbs(SyncConsumer):
    def thumbs_make(self, message):
        print("begun", message["n"], flush=True)
        time.sleep(0.5 if message["n"] == 2 else 0)
        print("made", message["n"], flush=True)

application = ProtocolTypeRouter({"channel": ChannelNameRouter({"thumbs": Thumbs.as_asgi()})})
"""


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    project.write("mysite/layer.py", LAYER)
    project.write("mysite/asgi.py", CONSUMER)
    project.append(
        "mysite/settings.py", 'CHANNEL_LAYERS = {"default": {"BACKEND": "mysite.layer.Feeding"}}'
    )
    return project


@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_drains_on_a_signal_and_exits_with_zero(project, number):
    with project.manage("runworker", "thumbs") as worker:
        worker.wait_for("begun 2")
        worker.process.send_signal(number)
        assert worker.wait() == 0
        assert [f"made {n}" in worker.output for n in range(3)] == [True] * 3
        assert "Traceback" not in worker.output


@pytest.mark.server
def test_the_process_fails_when_it_cannot_receive(project):
    project.append(
        "mysite/settings.py", 'CHANNEL_LAYERS = {"default": {"BACKEND": "mysite.layer.Broken"}}'
    )
    with project.manage("runworker", "thumbs") as worker:
        assert worker.wait() == 1
        assert "CommandError: Cannot receive from channel 'thumbs'" in worker.output
        assert "this layer cannot receive" in worker.output
