"""System checks, with real settings, real modules and real sockets."""

import socket
import subprocess
import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder
from typing import Any

import pytest
from django.core import checks
from django.core.management import BaseCommand, call_command, get_commands
from django.core.management.commands.runserver import Command as DjangoRunserver
from django.test import override_settings

from channels.layers import InMemoryChannelLayer
from channels.layers.redis import RedisChannelLayer

from ..brokers import running

IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
LAYER = f"{__name__}.LoopbackLayer"


def run(*, deploy: bool = False) -> list[Any]:
    """What ``manage.py check --tag channels`` finds."""
    return checks.run_checks(tags=["channels"], include_deployment_checks=deploy)


def ids(*, deploy: bool = False) -> list[str]:
    found = run(deploy=deploy)
    for message in found:
        assert message.hint, message
    return [message.id for message in found]


def python(source: str) -> str:
    """What this program prints, run in another process."""
    command = [sys.executable, "-c", source]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def apps(*names: str) -> Any:
    get_commands.cache_clear()
    with override_settings(INSTALLED_APPS=names):
        yield
    get_commands.cache_clear()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """What ASGI_APPLICATION leads to."""


no_application = "a string"


@pytest.fixture(autouse=True)
def clean(settings, monkeypatch):
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    # Those of an optional part are there once any test has imported it.
    registry = checks.registry.registry
    own = {check for check in registry.registered_checks if "contrib" not in check.__module__}
    monkeypatch.setattr(registry, "registered_checks", own)
    settings.ASGI_APPLICATION = f"{__name__}.application"
    settings.CHANNEL_LAYERS = IN_MEMORY


def test_nothing_to_say_about_good_settings():
    assert ids() == []


@override_settings(DEBUG=True)
def test_nothing_to_say_about_good_settings_in_development():
    assert ids() == []


def test_the_checks_are_part_of_djangos(settings):
    settings.ASGI_APPLICATION = "no_such_module.application"
    with pytest.raises(Exception, match=r"channels\.E001"):
        call_command("check")


# -- ASGI_APPLICATION


def module(name: str, source: str, monkeypatch: Any, tmp_path: Any) -> None:
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("no_such_module.application", "No module named 'no_such_module'"),
        (f"{__name__}.nothing", "Cannot find 'nothing'"),
        (f"{__name__}.no_application", "is no application: 'a string'"),
        ("application", "Cannot find ASGI_APPLICATION"),
        (17, "it is 17"),
    ],
)
def test_an_application_that_cannot_be_found(settings, setting, reason):
    settings.ASGI_APPLICATION = setting
    assert ids() == ["channels.E001"]
    assert reason in run()[0].msg


def test_an_application_that_queries_at_import_may_be_migrated(settings, monkeypatch, tmp_path):
    source = "from django.db import OperationalError\nraise OperationalError('no such table: x')"
    module("querying_asgi", source, monkeypatch, tmp_path)
    settings.ASGI_APPLICATION = "querying_asgi.application"
    assert ids() == ["channels.W007"]
    assert "no such table" in run()[0].msg


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import missing_dependency", "No module named 'missing_dependency'"),
        ("def", "SyntaxError"),
        ("raise SystemExit('unconfigured')", "SystemExit: unconfigured"),
        (
            """
from channels.routing import ProtocolTypeRouter
class Chat:
    as_asgi = None
ProtocolTypeRouter({"websocket": Chat})
            """,
            "pass Chat.as_asgi()",
        ),
    ],
)
def test_an_application_whose_module_raises(settings, monkeypatch, tmp_path, source, reason):
    module("broken_asgi", source, monkeypatch, tmp_path)
    settings.ASGI_APPLICATION = "broken_asgi.application"
    assert ids() == ["channels.E001"]
    assert reason in run()[0].msg


def test_a_missing_application_matters_to_runserver(settings):
    settings.ASGI_APPLICATION = None
    assert ids() == []
    settings.DEBUG = True
    assert ids() == ["channels.W001"]
    del settings.ASGI_APPLICATION
    assert ids() == ["channels.W001"]


# -- runserver


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (["channels", "django.contrib.staticfiles"], []),
        (["django.contrib.staticfiles", "channels"], ["channels.W002"]),
        (["plain_runserver", "channels"], ["channels.W002"]),
        (["broken_runserver", "channels"], ["channels.W002"]),
        (["channels", "plain_runserver"], []),
        (["extended_runserver", "channels"], []),
    ],
)
def test_whose_runserver_wins(installed, expected, monkeypatch, tmp_path):
    for name, source in {
        "plain_runserver": f"from {__name__} import PlainRunserver as Command",
        "broken_runserver": "1 / 0",
        "extended_runserver": "from channels.management.commands.runserver import Command as Base"
        "\nclass Command(Base): pass",
    }.items():
        commands = tmp_path / name / "management" / "commands"
        commands.mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        (commands / "runserver.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with apps(*installed):
        assert ids() == expected
        if expected:
            assert repr(installed[0]) in run()[0].msg


@pytest.mark.parametrize(
    "installed",
    [
        ["daphne", "channels", "django.contrib.staticfiles"],
        ["channels", "daphne", "django.contrib.staticfiles"],
        ["daphne", "django.contrib.staticfiles", "channels"],
    ],
)
def test_daphnes_runserver_will_do(installed):
    # In a process of its own, for Daphne installs Twisted's reactor.
    source = f"""
import django
from django.conf import settings
settings.configure(INSTALLED_APPS={installed!r})
django.setup()
from django.core.checks import run_checks
print([message.id for message in run_checks(tags=["channels"])])
"""
    assert python(source) == "[]"


class PlainRunserver(DjangoRunserver):
    """Another app's runserver, which does not know of ASGI."""


def test_a_command_object_counts_too(monkeypatch):
    class Own(BaseCommand):
        pass

    commands = {**get_commands(), "runserver": Own()}
    monkeypatch.setattr("django.core.management.get_commands", lambda: commands)
    assert ids() == ["channels.W002"]


def test_runserver_without_uvicorn(settings, monkeypatch):
    """As on a machine where it is not installed: no finder finds it."""

    class WithoutUvicorn:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            return None if name == "uvicorn" else PathFinder.find_spec(name, path, target)

    finders = [finder for finder in sys.meta_path if finder is not PathFinder]
    monkeypatch.setattr(
        sys,
        "meta_path",
        [f for f in finders if getattr(f, "__module__", "") == "_frozen_importlib"]
        + [WithoutUvicorn],
    )
    monkeypatch.delitem(sys.modules, "uvicorn", raising=False)
    assert ids() == []
    settings.DEBUG = True
    assert ids() == ["channels.W003"]


# -- CHANNEL_LAYERS


class LoopbackLayer:
    """A third party's layer: the four coroutines, and a connection to close."""

    closed = 0

    def __init__(self, address: str = "", *, capacity: int = 100) -> None:
        self._layer = InMemoryChannelLayer(capacity=capacity)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    async def close(self) -> None:
        type(self).closed += 1


class TcpLayer(LoopbackLayer):
    """Connects to a port where nobody listens."""

    async def send(self, channel: str, message: Any) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            socket.create_connection(unused.getsockname(), timeout=1)


class SilentLayer(LoopbackLayer):
    """Takes messages and delivers none."""

    async def send(self, channel: str, message: Any) -> None:
        pass


class UnmakeableLayer(LoopbackLayer):
    def __init__(self) -> None:
        raise ValueError("You must pass a list of hosts.")


class UncloseableLayer(LoopbackLayer):
    async def close(self) -> None:
        raise OSError("already gone")


@pytest.mark.parametrize(
    "layers", [None, [], "redis", {"default": None}, {"default": {}}, {"default": {"BACKEND": 1}}]
)
def test_malformed_layers(settings, layers):
    settings.CHANNEL_LAYERS = layers
    assert ids() == ["channels.E002"]
    assert ids(deploy=True) == ["channels.E002"]


def test_no_layers_are_fine(settings):
    settings.CHANNEL_LAYERS = {}
    assert ids(deploy=True) == []
    del settings.CHANNEL_LAYERS
    assert ids(deploy=True) == []


@pytest.mark.parametrize(
    ("layer", "expected", "words"),
    [
        ({"ROUTING": "mysite.routing"}, "channels.E003", "ROUTING"),
        ({"BACKEND": "channels.layers.Redis"}, "channels.E004", "Redis"),
        ({"BACKEND": "no_such_package.Layer"}, "channels.E004", "no_such_package"),
        ({"BACKEND": "Layer"}, "channels.E004", "Layer"),
        ({"CONFIG": {"hosts": []}}, "channels.E005", "'hosts'"),
        ({"TEST_CONFIG": {"hosts": []}}, "channels.E005", "TEST_CONFIG"),
        ({"CONFIG": ["hosts"]}, "channels.E002", "CONFIG"),
        ({"hosts": []}, "channels.W004", "hosts"),
        ({"OPTIONS": {}}, "channels.W004", "OPTIONS"),
    ],
)
def test_layers_that_cannot_be_made(settings, layer, expected, words):
    settings.CHANNEL_LAYERS = {"chat": {"BACKEND": LAYER, **layer}}
    assert ids() == [expected]
    [message] = run()
    assert words in message.msg
    assert "'chat'" in message.msg
    assert ids(deploy=True) == [expected]


@pytest.mark.parametrize("key", ["CONFIG", "TEST_CONFIG"])
def test_options_that_the_in_memory_layer_does_not_use(settings, key):
    """Settings for tests change the BACKEND, and keep the CONFIG; that works, and is told."""
    settings.CHANNEL_LAYERS = {"chat": {"BACKEND": MEMORY, key: {"capacity": 5, "hosts": ["pw"]}}}
    [message] = run()
    assert message.id == "channels.W004"
    assert f"{key} of channel layer 'chat' has hosts, which" in message.msg
    assert "pw" not in str(message)


def test_the_hint_names_the_arguments_of_the_backend(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYER, "CONFIG": {"adress": ""}}}
    assert "address, capacity" in run()[0].hint


def test_a_backend_that_cannot_be_inspected_is_left_to_itself(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "builtins.dict", "CONFIG": {"a": 1}}}
    assert ids() == []


def test_secrets_are_not_shown(settings):
    settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": ["redis://:secret@localhost"]}}}
    assert ids() == ["channels.E002"]
    settings.CHANNEL_LAYERS["default"]["BACKEND"] = LAYER
    assert ids() == ["channels.E005"]
    assert "secret" not in str(run())


@pytest.mark.parametrize(
    ("processes", "expected"), [("4", ["channels.W005"]), ("1", []), ("", []), ("auto", [])]
)
def test_several_processes_with_a_layer_in_memory(monkeypatch, processes, expected):
    monkeypatch.setenv("WEB_CONCURRENCY", processes)
    assert ids() == expected
    assert ids(deploy=True) == (expected or ["channels.W006"])


def test_a_layer_in_memory_is_mentioned_under_deploy_whatever_its_name(settings):
    for backend in ("channels.layers.InMemoryChannelLayer", f"{__name__}.OwnInMemoryLayer"):
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
        assert ids() == []
        assert ids(deploy=True) == ["channels.W006"]


class OwnInMemoryLayer(InMemoryChannelLayer):
    pass


def test_several_processes_with_a_broker(settings, monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYER}}
    assert ids(deploy=True) == []


# -- The round trip of check --deploy


def test_a_layer_that_carries_messages_is_fine_and_closed(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": LAYER}}
    closed = LoopbackLayer.closed
    assert ids(deploy=True) == []
    assert LoopbackLayer.closed == closed + 1


def test_a_layer_that_cannot_be_closed_carries_messages_all_the_same(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{__name__}.UncloseableLayer"}}
    assert ids(deploy=True) == []


class OwnRedisLayer(RedisChannelLayer):
    pass


@pytest.mark.parametrize(
    "backend",
    [
        f"{__name__}.OwnRedisLayer",
        "channels_redis.core.RedisChannelLayer",
        "channels_redis.pubsub.RedisPubSubChannelLayer",
    ],
)
def test_a_server_that_evicts_keys(settings, backend):
    with running("valkey") as broker, running("valkey") as other:
        config = {"hosts": [broker.url, other.address]}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
        assert ids(deploy=True) == []
        for policy in ("allkeys-lru", "volatile-ttl"):
            broker.cli("CONFIG", "SET", "maxmemory-policy", policy)
            [message] = run(deploy=True)
            assert message.id == "channels.W010"
            assert f"127.0.0.1:{broker.port} evicts" in message.msg
            assert policy in message.msg
        assert ids() == []
        assert not [key for key in broker.cli("KEYS", "*") if b":inbox:" in key], "it was closed"


def test_a_server_that_does_not_tell_whether_it_evicts(settings):
    with running("valkey", "--maxmemory-policy", "allkeys-lru") as broker:
        broker.cli("ACL", "SETUSER", "default", "-info")
        config = {"hosts": [broker.url]}
        settings.CHANNEL_LAYERS = {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": config,
            }
        }
        assert ids(deploy=True) == []


@pytest.mark.parametrize(
    ("backend", "config"),
    [
        ("channels_redis.core.RedisChannelLayer", {"hosts": ["redis://:secret@127.0.0.1:1/0"]}),
        (
            "channels_redis.pubsub.RedisPubSubChannelLayer",
            {"hosts": ["redis://:secret@127.0.0.1:1/0"]},
        ),
        (
            "channels.layers.rabbitmq.RabbitMQChannelLayer",
            {"urls": "amqp://guest:secret@127.0.0.1:1/"},
        ),
    ],
)
def test_a_server_that_is_down_is_told_of_once_and_only_under_deploy(
    backend, config, settings, monkeypatch
):
    monkeypatch.setattr("channels.layer_checks._ROUND_TRIP_TIMEOUT", 0.5)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    assert ids() == []
    [message] = run(deploy=True)
    assert message.id == "channels.E006"
    assert "no message came back within 0.5 seconds; " in message.msg
    assert " at 127.0.0.1:1: " in message.msg
    assert "Connect call failed" in message.msg
    assert "secret" not in message.msg


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("TcpLayer", "ConnectionRefusedError"),
        ("SilentLayer", "no message came back within 0.1 seconds"),
        ("UnmakeableLayer", "You must pass a list of hosts."),
    ],
)
def test_a_layer_that_carries_none(settings, monkeypatch, layer, reason):
    monkeypatch.setattr("channels.layer_checks._ROUND_TRIP_TIMEOUT", 0.1)
    settings.CHANNEL_LAYERS = {
        "good": {"BACKEND": LAYER},
        "bad": {"BACKEND": f"{__name__}.{layer}"},
    }
    assert ids() == []
    [message] = run(deploy=True)
    assert message.id == "channels.E006"
    assert "'bad'" in message.msg
    assert reason in message.msg


# -- CHANNELS_DRAIN


@pytest.mark.parametrize(
    "setting",
    [None, {}, {"SPREAD": None}, {"NOTICE": 1, "SPREAD": 2.5, "DEADLINE": 4}],
)
def test_a_good_way_to_drain(settings, setting):
    settings.CHANNELS_DRAIN = setting
    assert ids() == []


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (17, "must be None, or a dict"),
        ({"PATIENCE": 1}, "with the keys NOTICE, SPREAD and DEADLINE"),
        ({"NOTICE": "soon"}, "CHANNELS_DRAIN['NOTICE'] must be a number of seconds, not 'soon'"),
        ({"NOTICE": None}, "CHANNELS_DRAIN['NOTICE'] must be a number of seconds"),
        ({"DEADLINE": -1}, "CHANNELS_DRAIN['DEADLINE'] must be a number of seconds"),
        ({"DEADLINE": float("nan")}, "CHANNELS_DRAIN['DEADLINE'] must be a number of seconds"),
        ({"SPREAD": True}, "CHANNELS_DRAIN['SPREAD'] must be a number of seconds"),
        ({"NOTICE": 5, "SPREAD": 5}, "must not exceed the DEADLINE, which is 8 s"),
    ],
)
def test_no_way_to_drain(settings, setting, reason):
    settings.CHANNELS_DRAIN = setting
    [message] = run()
    assert message.id == "channels.E007"
    assert reason in message.msg


# -- CHANNELS_SYNC_THREADS


def test_a_number_of_threads(settings):
    settings.CHANNELS_SYNC_THREADS = 4
    assert ids() == []


@pytest.mark.parametrize("setting", [0, -1, "many", "8", True, 2.5, None])
def test_no_number_of_threads(settings, setting):
    settings.CHANNELS_SYNC_THREADS = setting
    [message] = run()
    assert message.id == "channels.E008"
    assert message.msg == f"CHANNELS_SYNC_THREADS must be a whole number from 1, not {setting!r}."


@pytest.mark.parametrize("setting", [-1, "many", True, None])
def test_no_number_of_threads_in_the_background(settings, setting):
    settings.CHANNELS_BACKGROUND_THREADS = setting
    [message] = run()
    assert message.id == "channels.E008"
    assert message.msg.startswith("CHANNELS_BACKGROUND_THREADS must be a whole number from 0")


# -- Options

MEMORY = "channels.layers.InMemoryChannelLayer"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"capacity": "100"}, "capacity must be a whole number, not '100'"),
        ({"expiry": "60"}, "expiry must be a number of seconds, not '60'"),
        ({"group_expiry": None}, "group_expiry must be a number of seconds, not None"),
        ({"channel_capacity": {"a*": "x"}}, "channel_capacity['a*'] must be a whole number"),
        ({"overflow": "drop"}, "Unknown overflow policy 'drop'"),
    ],
)
def test_options_that_a_layer_refuses(settings, config, reason):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MEMORY, "CONFIG": config}}
    [message] = run()
    assert message.id == "channels.E005"
    assert reason in message.msg


@pytest.mark.parametrize("config", [{"capacity": 0}, {"expiry": -1}, {"group_expiry": 0}])
def test_options_with_which_no_message_arrives(settings, config):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": MEMORY, "CONFIG": config}}
    [message] = run()
    assert message.id == "channels.W008"
    [(name, value)] = config.items()
    assert f"carries no message with {name} = {value} in CONFIG" in message.msg


# -- Cost


def test_importing_the_checks_imports_neither_layers_nor_routing_nor_commands():
    source = (
        "import sys, channels.checks; "
        "print([m for m in sys.modules if m in ('channels.layers', 'channels.routing', 'uvicorn', "
        "'django.core.management')])"
    )
    assert python(source) == "[]"


# -- Packages


def test_another_distribution_that_brings_channels_redis(monkeypatch, tmp_path):
    metadata = tmp_path / "channels_redis-4.3.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: channels_redis\nVersion: 4.3.0\n")
    assert ids() == []
    monkeypatch.syspath_prepend(tmp_path)
    [message] = run()
    assert message.id == "channels.W009"
    assert "channels_redis 4.3.0" in message.msg
    assert "pip uninstall channels_redis" in message.hint
