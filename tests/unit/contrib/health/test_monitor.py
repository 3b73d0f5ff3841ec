import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client
from django.urls import path

from channels._runtime.connections import connections
from channels._runtime.draining import Plan, drain
from channels.contrib.health import (
    Health,
    InvalidHealthCheck,
    is_ready,
    live,
    monitor,
    ready,
    set_ready,
)
from channels.layers import InMemoryChannelLayer

MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}

urlpatterns = [path("live", live), path("ready", ready)]


class Other(InMemoryChannelLayer):
    """Brings something else than was sent."""

    async def receive(self, channel):
        return {**await super().receive(channel), "token": "another"}


class Silent(InMemoryChannelLayer):
    """Brings nothing."""

    async def receive(self, channel):
        await asyncio.Event().wait()


class TestLiveness:
    async def test_the_process_and_its_event_loop(self):
        report = await Health().liveness()
        assert report.ok
        assert report.checks["process"].details["uptime_s"] >= 0
        assert set(report.checks["event_loop"].details) == {"max_ms", "p99_ms"}

    def test_a_loop_that_exists_for_one_call_is_not_measured(self):
        report = async_to_sync(Health().liveness)()
        assert set(report.checks) == {"process"}


class TestReadiness:
    async def test_every_layer_is_tried(self, settings):
        settings.CHANNEL_LAYERS = {"default": MEMORY, "other": MEMORY}
        report = await Health().readiness()
        assert report.ok
        assert set(report.checks) == {"serving", "layer:default", "layer:other"}

    async def test_layers_may_be_chosen(self, settings):
        settings.CHANNEL_LAYERS = {"default": MEMORY, "other": MEMORY}
        report = await Health(layers=["other"]).readiness()
        assert set(report.checks) == {"serving", "layer:other"}

    async def test_no_layers_at_all(self, settings):
        del settings.CHANNEL_LAYERS
        assert set((await Health().readiness()).checks) == {"serving"}

    @pytest.mark.parametrize(
        ("backend", "error"),
        [
            (f"{__name__}.Other", "the layer delivered another message than was sent"),
            (f"{__name__}.Silent", "no answer within 0.1 s"),
            ("no.such.Layer", "InvalidChannelLayerError: Cannot import BACKEND 'no.such.Layer'"),
        ],
    )
    async def test_a_layer_that_does_not_work(self, settings, backend, error):
        settings.CHANNEL_LAYERS = {"default": MEMORY, "broken": {"BACKEND": backend}}
        report = await Health(timeout=0.1).readiness()
        assert not report.ok
        assert report.checks["layer:default"].ok
        assert report.checks["layer:broken"].error.startswith(error)

    async def test_aliases_that_do_not_exist(self):
        report = await Health(layers=["nope"], databases=["nope"]).readiness()
        assert report.checks["layer:nope"].error == "CHANNEL_LAYERS has no 'nope'"
        assert report.checks["database:nope"].error == "DATABASES has no 'nope'"

    async def test_checks_run_at_the_same_time(self):
        met = threading.Barrier(2)
        checks = {"a": lambda: met.wait(5), "b": lambda: met.wait(5)}
        report = await Health(layers=[], checks=checks).readiness()
        assert report.ok

    async def test_a_probe_leaves_nothing_in_the_layer(self, settings):
        settings.CHANNEL_LAYERS = {"default": MEMORY}
        from channels.layers import channel_layers

        assert (await Health().readiness()).ok
        layer = channel_layers["default"]
        assert not layer.channels
        assert layer.statistics.sent == layer.statistics.delivered == 1

    async def test_no_free_thread_for_handlers_of_sync_consumers(self, monkeypatch):
        assert "sync_threads" not in (await Health(layers=[]).readiness()).checks
        monkeypatch.setattr(monitor, "full_for", lambda: 7.2)
        report = await Health(layers=[]).readiness()
        assert not report.ok
        assert report.checks["sync_threads"].error == (
            "no thread has been free for handlers of sync consumers for 7 s"
        )

    def test_callers_without_a_loop_that_stays_share_attempts_too(self):
        calls = []
        health = Health(layers=[], checks={"count": lambda: calls.append(True)})
        for _ in range(3):
            assert async_to_sync(health.readiness)().ok
        assert calls == [True]


class TestSetReady:
    async def test_out_of_service(self):
        calls = []
        health = Health(checks={"count": lambda: calls.append(True)})
        assert is_ready()
        set_ready(False)
        assert not is_ready()
        report = await health.readiness()
        assert {name: found.error for name, found in report.checks.items()} == {
            "serving": "draining"
        }
        assert not report.ok
        assert calls == []
        assert (await health.liveness()).ok
        set_ready(True)
        assert (await health.readiness()).ok

    async def test_the_reason_is_shown(self):
        set_ready(False, "migrating")
        assert (await Health().readiness()).checks["serving"].error == "migrating"

    async def test_a_process_that_was_told_to_end_is_out_of_service(self):
        here = connections.get()
        await drain(here, Plan())
        assert not is_ready()
        assert (await Health().readiness()).checks["serving"].error == "draining"
        set_ready(True)
        assert not is_ready()

    async def test_it_holds_for_the_whole_process(self):
        thread = threading.Thread(target=set_ready, args=(False,))
        thread.start()
        thread.join()
        assert not is_ready()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"layers": "default"}, "layers must be a list of aliases"),
        ({"databases": "default"}, "databases must be a list of aliases"),
        ({"checks": {"a": 1}}, "'a' must be a function"),
        ({"checks": {"": print}}, "name must be a text"),
        ({"checks": {3: print}}, "name must be a text"),
        ({"checks": {"serving": print}}, "is taken"),
        ({"checks": {"sync_threads": print}}, "is taken"),
        ({"checks": {"layer:default": print}}, "is taken"),
    ],
)
def test_what_cannot_be_checked(options, problem):
    with pytest.raises(InvalidHealthCheck, match=problem):
        Health(**options)


class TestViews:
    @pytest.fixture(autouse=True)
    def urls(self, settings):
        settings.ROOT_URLCONF = __name__
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ]

    @pytest.mark.parametrize("url", ["/live", "/ready"])
    def test_under_wsgi(self, url):
        client = Client(enforce_csrf_checks=True)
        response = client.get(url)
        assert response.status_code == 200
        assert response.json()["status"] == "ok"
        assert response["Cache-Control"] == "no-store"
        assert client.head(url).content == b""
        assert client.post(url).status_code == 405

    @pytest.mark.parametrize("url", ["/live", "/ready"])
    async def test_under_asgi(self, url):
        client = AsyncClient(enforce_csrf_checks=True)
        assert (await client.get(url)).status_code == 200
        assert (await client.post(url)).status_code == 405

    async def test_out_of_service(self):
        set_ready(False)
        assert (await AsyncClient().get("/ready")).status_code == 503
        assert (await AsyncClient().get("/live")).status_code == 200
