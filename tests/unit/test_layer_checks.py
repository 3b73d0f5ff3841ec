"""System checks of the options of layers: all that can be known without connecting."""

import re
import socket
import subprocess
import sys
from inspect import signature
from typing import Any, ClassVar

import pytest
from django.core import checks
from django.utils.module_loading import import_string

from channels.layers import InMemoryChannelLayer
from channels.layers.redis import RedisChannelLayer

MEMORY = "channels.layers.InMemoryChannelLayer"
STREAMS = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
RABBITMQ = "channels.layers.rabbitmq.RabbitMQChannelLayer"
BOTH = pytest.mark.parametrize("backend", [STREAMS, PUBSUB, f"{__name__}.OwnLayer"])


class OwnLayer(RedisChannelLayer):
    """A project's own."""


class LoudLayer:
    """A third party's, whose errors repeat what it was given."""

    def __init__(self, hosts: Any = None, secret_key: str = "") -> None:
        self.hosts, self.secret_key = hosts, secret_key

    async def new_channel(self) -> str:
        raise OSError(f"cannot connect with {self.hosts} and {self.secret_key}")


def found(settings: Any, backend: str, *, deploy: bool = False, **config: Any) -> list[Any]:
    settings.ASGI_APPLICATION = "tests.unit.test_checks.application"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    messages = checks.run_checks(tags=["channels"], include_deployment_checks=deploy)
    # Progress has it checked where its states can be, once it has been imported.
    return [message for message in messages if message.id != "channels.W020"]


@pytest.fixture
def listener():
    """A port, and whether anybody has connected to it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0)
        yield listening


@BOTH
def test_nothing_is_said_of_good_options_and_nobody_is_connected_to(settings, backend, listener):
    host = listener.getsockname()
    assert found(settings, backend, hosts=[host], capacity=10, expiry=float("inf")) == []
    with pytest.raises(BlockingIOError):
        listener.accept()


@BOTH
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"hosts": "redis://localhost"}, "You must pass a list of Redis hosts"),
        ({"hosts": 6379}, "hosts must be a list"),
        ({"hosts": [("h", 6379, "pw")]}, "hosts[0]: Cannot understand this tuple"),
        ({"hosts": [{"host": "h", "pasword": "x"}]}, "Did you mean 'password'?"),
        ({"hosts": [{"sentinels": [("s", 1)]}]}, "master_name"),
        ({"prefix": None}, "prefix must be a text, not None"),
        ({"prefix": "\ud800"}, "prefix must be a text"),
        ({"capacity": "100"}, "capacity must be a whole number, not '100'"),
        ({"capacity": 1.5}, "capacity must be a whole number"),
        ({"expiry": "soon"}, "expiry must be a number of seconds, not 'soon'"),
        ({"group_expiry": None}, "group_expiry must be a number of seconds"),
        ({"channel_capacity": [("a", 1)]}, "channel_capacity must be a dict"),
        ({"channel_capacity": {1: 1}}, "must be a glob or a compiled regular expression"),
        ({"channel_capacity": {"a*": "x"}}, "channel_capacity['a*'] must be a whole number"),
        ({"serializer_format": "pickle"}, "pickle"),
        ({"serializer_format": None}, "serializer_format must be a text"),
        ({"overflow": "drop"}, "Unknown overflow policy 'drop'"),
    ],
)
def test_options_that_are_wrong(settings, backend, config, reason):
    [message] = found(settings, backend, **config)
    assert message.id == "channels.E005"
    assert reason in message.msg
    assert "'default'" in message.msg


@pytest.mark.parametrize(
    ("backend", "config", "reason"),
    [
        (STREAMS, {"lease": "soon"}, "lease must be a number of seconds above 0, not 'soon'"),
        (STREAMS, {"inbox_capacity": "1"}, "inbox_capacity must be a whole number"),
        (PUBSUB, {"on_disconnect": "notify"}, "on_disconnect must be a function, not 'notify'"),
        (PUBSUB, {"on_reconnect": 1}, "on_reconnect must be a function"),
    ],
)
def test_options_that_only_one_has(settings, backend, config, reason):
    [message] = found(settings, backend, **config)
    assert message.id == "channels.E005"
    assert reason in message.msg


@BOTH
@pytest.mark.parametrize(
    "config",
    [{"capacity": 0}, {"expiry": -1}, {"group_expiry": 0}, {"channel_capacity": {"jobs.*": 0}}],
)
def test_options_with_which_nothing_arrives(settings, backend, config):
    [message] = found(settings, backend, **config)
    assert message.id == "channels.W008"
    assert next(iter(config)) in message.msg


@BOTH
def test_a_capacity_of_zero_is_told_by_the_pattern_that_the_settings_have(settings, backend):
    [message] = found(settings, backend, channel_capacity={"jobs.*": 0, re.compile("x+"): 0})
    assert "channel_capacity for 'jobs.*' = 0, channel_capacity for 'x+' = 0 in" in message.msg


@BOTH
@pytest.mark.parametrize("key", ["key", "s", "list"])
def test_a_short_key_is_hidden_without_making_the_error_unreadable(settings, backend, key):
    [message] = found(settings, backend, symmetric_encryption_keys=key)
    assert "symmetric_encryption_keys must be a" in message.msg
    assert "possible keys" in message.msg
    assert f" {key} " not in message.msg


@BOTH
def test_an_option_that_is_misspelt_is_told_with_what_may_be_meant(settings, backend):
    [message] = found(settings, backend, capasity=10)
    assert message.id == "channels.E005"
    assert "'capasity'" in message.msg
    assert message.hint.startswith("capasity perhaps means capacity. The backend takes: hosts, ")


# Every option of every layer, with a value of 0, a negative one, and one of the wrong type.
NUMBER = {0: "W008", -1: "W008", "1": "E005"}
NO_NUMBER = {0: "E005", -1: "E005"}
OPTIONS: dict[str, dict[Any, str]] = {
    "capacity": {**NUMBER, 1.5: "E005"},
    "inbox_capacity": {**NO_NUMBER, "1": "E005", 1.5: "E005"},
    "schedule_capacity": {
        -1: "E005",
        "1": "E005",
        1.5: "E005",
    },  # with 0, nothing can be sent later
    "expiry": {**NUMBER, 0.0: "W008", None: "E005"},
    "group_expiry": {**NUMBER, 0.0: "W008", None: "E005"},
    "lease": {**NO_NUMBER, 0.0: "E005", "1": "E005", None: "E005"},
    "heartbeat": {**NO_NUMBER, 65_535: "E005", "1": "E005", 1.5: "E005"},
    "response_timeout": {**NO_NUMBER, 0.0: "E005", "1": "E005", None: "E005"},
    "queue_type": {**NO_NUMBER, "mirrored": "E005", None: "E005"},
    "urls": {**NO_NUMBER, "": "E005", "redis://localhost": "E005", None: "E005"},
    "tls": {**NO_NUMBER, True: "E005", "ca.pem": "E005"},
    "hosts": {**NO_NUMBER, "redis://localhost": "E005"},
    "prefix": {**NO_NUMBER, None: "E005"},
    "symmetric_encryption_keys": {**NO_NUMBER, "key": "E005", "": "E005"},
    "serializer_format": {**NO_NUMBER, None: "E005"},
    "overflow": {**NO_NUMBER, "drop": "E005"},
    "on_disconnect": {**NO_NUMBER, "notify": "E005"},
    "on_reconnect": {**NO_NUMBER, "notify": "E005"},
    "sharded": {**NO_NUMBER, "False": "E005"},
    "channel_capacity": {**NO_NUMBER, "x": "E005"},
    "random_prefix_length": {},  # it means nothing, so nothing is wrong
}
TAKEN = {
    backend: [name for name in signature(import_string(backend)).parameters if name != "others"]
    for backend in (MEMORY, STREAMS, PUBSUB, RABBITMQ)
}
WRONG = [
    (backend, name, value, expected)
    for backend, names in TAKEN.items()
    for name in names
    for value, expected in OPTIONS[name].items()
]


@pytest.mark.parametrize(("backend", "name", "value", "expected"), WRONG)
def test_each_option_of_each_layer(settings, backend, name, value, expected):
    [message] = found(settings, backend, **{name: value})
    assert message.id == f"channels.{expected}"
    assert name in message.msg


@pytest.mark.parametrize("backend", [MEMORY, STREAMS, PUBSUB, RABBITMQ])
@pytest.mark.parametrize(("count", "expected"), [(0, "W008"), (-1, "W008"), ("1", "E005")])
def test_the_capacities_of_single_channels(settings, backend, count, expected):
    [message] = found(settings, backend, channel_capacity={"jobs.*": count})
    assert message.id == f"channels.{expected}"
    assert "jobs.*" in message.msg


@pytest.mark.parametrize(
    ("backend", "expected"),
    [(MEMORY, "W004"), (STREAMS, "E005"), (PUBSUB, "E005"), (RABBITMQ, "E005")],
)
def test_an_unknown_option_of_each_layer(settings, backend, expected):
    [message] = found(settings, backend, nonsense=1)
    assert message.id == f"channels.{expected}"
    assert "nonsense" in message.msg


def test_what_the_errors_of_others_repeat_is_shown_without_passwords(settings):
    messages = found(
        settings, f"{__name__}.LoudLayer", deploy=True, secret_key="hidden",
        hosts=["redis://user:p%40ss@h:1", {"host": "g", "password": "worse"}],
    )  # fmt: skip
    [message] = [message for message in messages if message.id == "channels.E006"]
    assert "cannot connect with" in message.msg
    for secret in ("p%40ss", "p@ss", "hidden", "worse"):
        assert secret not in message.msg


@pytest.mark.usefixtures("measured_processes")
def test_without_redis_py_the_error_says_what_to_install():
    """In a process of its own, where no finder finds it."""
    source = f"""
import sys
class WithoutRedis:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "redis":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, WithoutRedis)
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={{"default": {{"BACKEND": {STREAMS!r}}}}},
)
django.setup()
from django.core.checks import run_checks
for message in run_checks(tags=["channels"]):
    print(message.id, message.msg)
"""
    run = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    assert "channels.E004" in run.stdout
    assert 'pip install "channels[redis]"' in run.stdout


class LateLayer:
    """A third party's, which gives up by itself."""

    async def new_channel(self) -> str:
        raise TimeoutError("the broker was given up after 2 seconds")


class SecretiveLayer(InMemoryChannelLayer):
    """It says that it has a broker, and cannot tell what that is like."""

    supports_processes: ClassVar[bool] = True
    asked: ClassVar[list[str]] = []

    async def check_broker(self, alias: str) -> list[Any]:
        self.asked.append(alias)
        raise PermissionError("not for you")


def test_a_timeout_of_the_layer_itself_is_told_in_its_words(settings):
    [message] = [m for m in found(settings, f"{__name__}.LateLayer", deploy=True) if "E006" in m.id]
    assert "given up after 2 seconds" in message.msg
    assert "no message came back" not in message.msg


def test_nothing_is_said_of_a_broker_that_cannot_be_looked_at(settings, monkeypatch):
    monkeypatch.setattr(SecretiveLayer, "asked", [])
    assert found(settings, f"{__name__}.SecretiveLayer", deploy=True) == []
    assert SecretiveLayer.asked == ["default"]
