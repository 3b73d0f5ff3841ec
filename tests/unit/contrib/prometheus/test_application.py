"""The metrics over HTTP, for those that may read them and nobody else."""

import os
import subprocess
import sys

import pytest

from channels.contrib.prometheus import InvalidMetrics, MetricsApplication, listening
from channels.contrib.prometheus.application import _is_alive
from channels.testing import HttpCommunicator


async def inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ask(application, path="/metrics", *, method="GET", headers=(), client="127.0.0.1"):
    communicator = HttpCommunicator(application, method, path, headers=list(headers))
    communicator.scope["client"] = client and [client, 1]
    return await communicator.get_response(timeout=10)


async def test_metrics_are_answered_and_everything_else_is_passed_on(listener):
    application = MetricsApplication(inner, public=True)
    answer = await ask(application)
    assert answer["status"] == 200
    assert dict(answer["headers"])[b"content-type"].startswith(b"text/plain")
    assert b"# HELP channels_sync_threads Threads for handlers" in answer["body"]
    assert (await ask(application, "/metrics/"))["status"] == 200
    assert (await ask(application, "/other"))["status"] == 204
    assert (await ask(application, method="HEAD"))["body"] == b""
    assert (await ask(application, method="POST"))["status"] == 405
    openmetrics = await ask(application, headers=[(b"accept", b"application/openmetrics-text")])
    assert openmetrics["body"].endswith(b"# EOF\n")


async def test_a_token_is_required_and_logged_nowhere(listener, caplog):
    application = MetricsApplication(inner, token="s3cret", path="/m")
    for headers in ([], [(b"authorization", b"Bearer wr0ng-\xff")]):
        answer = await ask(application, "/m", headers=headers)
        assert answer["status"] == 401
        assert (b"www-authenticate", b"Bearer") in answer["headers"]
    answer = await ask(application, "/m", headers=[(b"authorization", b"Bearer s3cret")])
    assert answer["status"] == 200
    assert "no valid token" in caplog.text
    assert "s3cret" not in caplog.text + repr(application)
    assert "wr0ng" not in caplog.text


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("10.1.2.3", [], 200),
        ("::ffff:10.1.2.3", [], 200),
        ("11.1.2.3", [], 403),
        ("10.1.2.3", [(b"x-forwarded-for", b"10.1.2.3")], 403),
        ("no address", [], 403),
        (None, [], 403),
        ("fe80::1", [], 403),
    ],
)
async def test_addresses(client, headers, status, listener):
    application = MetricsApplication(networks=["10.0.0.0/8"])
    assert (await ask(application, client=client, headers=headers))["status"] == status


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "must be told which clients"),
        ({"public": True, "token": "t"}, "must be told which clients"),
        ({"public": True, "path": "metrics"}, "start with a slash"),
        ({"token": ""}, "must be a text in ASCII"),
        ({"token": "é"}, "must be a text in ASCII"),
        ({"networks": "10.0.0.0/8"}, "must be a list"),
        ({"networks": ["10.0.0.0/99"]}, "networks of MetricsApplication"),
    ],
)
def test_an_application_that_is_half_configured_says_what_is_missing(options, told, listener):
    with pytest.raises(InvalidMetrics, match=told):
        MetricsApplication(inner, **options)


async def test_gauges_of_processes_that_have_died_are_dropped(listener, monkeypatch, tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert not _is_alive(ended.pid)
    assert _is_alive(os.getpid())
    monkeypatch.setenv(listening.MULTIPROCESS, str(tmp_path))
    gone = tmp_path / f"gauge_livesum_{ended.pid}.db"
    stays = tmp_path / f"counter_{ended.pid}.db"
    mine = tmp_path / f"gauge_livesum_{os.getpid()}.db"
    for path in (gone, stays, mine):
        path.write_bytes(bytes(8))
    application = MetricsApplication(public=True)
    assert (await ask(application))["status"] == 200
    assert not gone.exists()
    assert stays.exists()
    assert mine.exists()


def test_a_process_of_another_user_is_alive(monkeypatch):
    def kill(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert _is_alive(1)
