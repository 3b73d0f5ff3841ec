"""What happens in a process is counted."""

import os
import subprocess
import sys
import types
from datetime import UTC, datetime, timedelta
from urllib.request import urlopen

import prometheus_client
import pytest

from channels import signals
from channels.contrib.prometheus import InvalidMetrics, listening
from channels.contrib.prometheus.client import CollectorRegistry
from channels.contrib.prometheus.definitions import Metrics
from channels.contrib.prometheus.listening import metrics
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.testing import WebsocketCommunicator
from tests.asgi import until
from tests.ports import free_port

ME = f"{__name__}.Echo"


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)

    async def chat_message(self, event):
        await self.send("told")


async def test_a_connection_and_its_messages(value):
    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    try:
        async with WebsocketCommunicator(Echo.as_asgi(), "/") as client:
            assert value("connections", consumer=ME) == 1
            await client.send_to("12345")
            assert await client.receive_from() == "12345"
            [channel] = layer.channels
            await layer.group_add("room", channel)
            await layer.group_send("room", {"type": "chat.message"})
            assert await client.receive_from() == "told"
            assert value("messages_sent_total", consumer=ME) == 2
        assert value("connections", consumer=ME) == 0
        assert value("handshakes_total", consumer=ME, outcome="accepted") == 1
        assert value("handshake_seconds_count", consumer=ME) == 1
        assert value("connection_seconds_count", consumer=ME) == 1
        assert value("connections_closed_total", consumer=ME, code="1000") == 1
        assert value("messages_received_total", consumer=ME) == 1
        assert value("received_bytes_total", consumer=ME) == 5
        assert value("sent_bytes_total", consumer=ME) == 9
        labels = {"consumer": ME, "message_type": "chat.message"}
        assert value("handler_seconds_count", **labels) == 1
        assert 0 < value("handler_seconds_sum", **labels) < 30
        assert value("layer_send_seconds_count", layer="default", to="group") == 1
        assert value("layer_messages_delivered_total", layer="default") == 1
        assert value("layer_messages_pending", layer="default") == 0
        assert value("sync_threads") > 0
        assert value("sync_threads_busy") == value("sync_handlers_waiting") == 0
        assert value("draining") == 0
    finally:
        channel_layers.set("default", old)


def emit(name, sender=Echo, **arguments):
    signals.emit(getattr(signals, name), sender, **arguments)


def test_everything_else_that_is_signalled(value):
    emit("connection_refused", scope={"type": "websocket"}, reason="?", status=403)
    assert value("connections_refused_total", protocol="websocket", status="403") == 1
    emit("limit_exceeded", scope={}, consumer=None, limit="rate", key_kind="user", action="closed")
    assert value("limits_exceeded_total", limit="rate", key_kind="user", action="closed") == 1
    for name, metric in (
        ("consumer_crashed", "crashes"),
        ("handler_cancelled", "handlers_cancelled"),
        ("send_dropped", "sends_dropped"),
        ("client_stalled", "clients_stalled"),
    ):
        emit(name, consumer=None, scope={})
        assert value(f"{metric}_total", consumer=ME) == 1
    emit("message_dropped", layer=None, channel="c", reason="expired", count=3)
    assert value("layer_messages_dropped_total", reason="expired") == 3
    emit("layer_gap", layer=None, reason="why", channels=4)
    assert value("layer_gaps_total") == 4
    where = {"broker": "b:1", "purpose": "receiving"}
    emit("broker_lost", **where, exception=OSError())
    assert (value("broker_losses_total", **where), value("broker_up", **where)) == (1, 0)
    emit("broker_recovered", **where, seconds=1)
    assert value("broker_up", **where) == 1
    emit("event_loop_lagged", seconds=0.3)
    assert value("event_loop_lag_seconds_bucket", le="0.5") == 1
    assert value("event_loop_lag_seconds_bucket", le="0.25") == 0
    emit("job_finished", channel="c", message_type="t", seconds=2, outcome="done")
    assert value("worker_job_seconds_sum", channel="c", outcome="done") == 2
    emit("listener_failed", worker=None, channel="c", exception=OSError())
    assert value("worker_listener_failures_total", channel="c") == 1
    emit("server_started")
    emit("server_stopping")


def test_close_codes_that_clients_make_up_count_together(listener, value):
    for code in range(1000, 5000):
        emit("connection_closed", code=code, duration=1)
    assert value("connections_closed_total", consumer=ME, code="other") == 3950


def test_tasks(listener, value):
    result = types.SimpleNamespace(
        task=types.SimpleNamespace(module_path="tasks.add"),
        started_at=(now := datetime.now(UTC)),
        finished_at=now + timedelta(seconds=3),
        status=types.SimpleNamespace(value="SUCCESSFUL"),
    )
    listener._enqueued(task_result=result)
    assert value("tasks_enqueued_total", task="tasks.add") == 1
    listener._finished(task_result=result)
    result.started_at = None
    listener._finished(task_result=result)
    assert value("task_seconds_sum", task="tasks.add", status="SUCCESSFUL") == 3
    assert value("task_seconds_count", task="tasks.add", status="SUCCESSFUL") == 1


def test_a_worker_shows_its_metrics_at_its_port(value, settings, caplog):
    port = free_port()
    settings.CHANNELS_PROMETHEUS = {"worker_port": port}
    emit("worker_started", worker=None)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert b"channels_workers 1.0" in answer.read()
    emit("worker_started", worker=None)
    assert f"cannot be read at 127.0.0.1:{port}" in caplog.text
    emit("worker_stopping", worker=None)
    settings.CHANNELS_PROMETHEUS = {}
    emit("worker_started", worker=None)
    assert value("workers") == 2


def test_starting_again_changes_nothing(listener):
    assert listening.start() is listener is metrics()


def test_without_the_app_the_error_says_what_to_add(monkeypatch):
    monkeypatch.setattr(listening, "_listener", None)
    with pytest.raises(
        InvalidMetrics, match=r'add "channels\.contrib\.prometheus" to INSTALLED_APPS'
    ):
        metrics()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ([], "must be a dict"),
        ({"port": 1}, "some of registry, worker_address, worker_port"),
        ({"worker_port": "9000"}, "must be a number of a port, not '9000'"),
        ({"registry": "nowhere.registry"}, "No module named 'nowhere'"),
        ({"registry": "json.dumps"}, "must name a CollectorRegistry"),
    ],
)
def test_a_wrong_setting_says_what_is_wrong(setting, told, settings, monkeypatch):
    monkeypatch.setattr(listening, "_listener", None)
    settings.CHANNELS_PROMETHEUS = setting
    with pytest.raises(InvalidMetrics, match=told):
        listening.start()


def test_names_that_are_taken_are_told_with_what_to_write():
    taken = CollectorRegistry()
    Metrics(taken)
    with pytest.raises(InvalidMetrics, match="give Channels another one"):
        Metrics(taken)


def test_another_registry_may_be_named(listener, settings, monkeypatch):
    monkeypatch.setattr(listening, "_listener", None)
    settings.CHANNELS_PROMETHEUS = {"registry": "prometheus_client.REGISTRY"}
    assert listening._registry() is prometheus_client.REGISTRY


async def test_several_processes_write_into_one_folder_again_and_again(
    listener, monkeypatch, tmp_path
):
    monkeypatch.setenv(listening.MULTIPROCESS, str(tmp_path))
    monkeypatch.setattr(listening, "_INTERVAL", 0.01)
    calls = []
    monkeypatch.setattr(listener.mirror, "refresh", lambda: calls.append(1))
    listener.flush_from_now_on()
    listener.flush_from_now_on()
    await until(lambda: len(calls) > 2)
    listener._forked()
    assert listener._flusher is None


def test_a_process_without_the_package_says_what_to_install():
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import channels.contrib.prometheus.client"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert 'pip install "channels[prometheus]"' in done.stderr
