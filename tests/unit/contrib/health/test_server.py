"""Everything together, in a real server."""

import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import call_command
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.brokers import Broker, find_servers, unavailable
from tests.servers import SERVERS

from .site_facts import TIMEOUT

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("measured_processes")]

# What the machine may need beyond a timeout, in seconds.
SLACK = 1.5

PATHS = [("/healthz", "/readyz"), ("/django/healthz", "/django/readyz")]


@pytest.fixture
def broker():
    servers = find_servers()
    if not servers:
        unavailable("a Redis server")
    broker = Broker(next(iter(servers.values())))
    yield broker
    broker.stop()


def failing(response):
    checks = response.json()["checks"]
    return {name: found["error"] for name, found in checks.items() if not found["ok"]}


@pytest.mark.parametrize(("live_path", "ready_path"), PATHS)
def test_all_is_well(shared, live_path, ready_path):
    live, ready = shared.get(live_path), shared.get(ready_path)
    assert (live.status_code, ready.status_code) == (200, 200)
    assert live.json()["status"] == ready.json()["status"] == "ok"
    assert set(live.json()["checks"]) == {"process", "event_loop"}
    assert set(ready.json()["checks"]) == {"serving", "layer:default", "database:default"}
    for response in (live, ready):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["content-type"] == "application/json"
        for check in response.json()["checks"].values():
            assert check["ok"] is True
            assert check["error"] is None
            assert check["ms"] >= 0


@pytest.mark.parametrize("path", [path for pair in PATHS for path in pair])
def test_methods(shared, path):
    assert shared.http.head(path).status_code == 200
    assert shared.http.head(path).content == b""
    assert int(shared.http.head(path).headers["content-length"]) > 0
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        response = shared.http.request(method, path)
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def test_everything_else_is_passed_on(shared):
    assert "tasks" in shared.state()
    assert shared.get("/healthzz").status_code == 404
    assert shared.get("/readyz/more").status_code == 404


def test_a_host_that_django_would_refuse_is_answered_in_front_of_it(shared):
    unknown = {"host": "10.0.0.7"}
    assert shared.get("/readyz", headers=unknown).status_code == 200
    assert shared.get("/django/readyz", headers=unknown).status_code == 400


@pytest.mark.parametrize("path", [ready for _, ready in PATHS])
def test_draining(site, path):
    site.get("/ready/off")
    response = site.get(path)
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert failing(response) == {"serving": "draining"}
    assert site.get("/healthz").status_code == 200
    site.get("/ready/on")
    assert site.get(path).status_code == 200


def test_a_database_that_is_gone_and_comes_back(site):
    assert site.get("/readyz").status_code == 200
    shutil.rmtree(site.directory)
    response = site.until("/readyz", lambda r: r.status_code == 503)
    assert failing(response) == {
        "database:default": "OperationalError: unable to open database file"
    }
    site.directory.mkdir()
    site.until("/readyz", lambda r: r.status_code == 200)
    assert site.server.output.count("Health check database:default fails") == 1


def test_a_broker_that_is_down_is_noticed_in_time_and_nothing_piles_up(site):
    """The layer itself goes on trying for 30 seconds; each answer takes no longer than ours."""
    before = 0
    for _ in range(4):
        response, seconds = site.ask_anew()
        assert seconds < TIMEOUT + SLACK
        assert response.status_code == 503
        assert failing(response) == {"layer:redis": f"no answer within {TIMEOUT:g} s"}
        # The first leaves what the layer keeps for itself, as long as it is.
        before = before or site.state()["tasks"]
        site.until("/state", lambda r, most=before: r.json()["tasks"] <= most)
    assert "hunter2" not in response.text + site.server.output


def test_askers_at_the_same_time_share_one_attempt(site):
    with ThreadPoolExecutor(10) as pool:
        responses = list(pool.map(lambda _: site.get("/all/ready").status_code, range(10)))
    assert responses == [503] * 10
    state = site.state()
    assert (state["sync"], state["async"]) == (1, 1)


def test_a_broker_that_is_paused_and_goes_on(start, broker):
    broker.start()
    site = start(broker.url)
    site.until("/all/ready", lambda r: r.status_code == 200)
    broker.pause()
    response = site.until("/all/ready", lambda r: r.status_code == 503)
    assert failing(response) == {"layer:redis": f"no answer within {TIMEOUT:g} s"}
    broker.resume()
    site.until("/all/ready", lambda r: r.status_code == 200)


def test_a_broker_that_is_killed_and_comes_back(start, broker):
    broker.start()
    site = start(broker.url)
    site.until("/all/ready", lambda r: r.status_code == 200)
    tasks = site.state()["tasks"]
    broker.kill()
    site.until("/all/ready", lambda r: r.status_code == 503)
    broker.start()
    site.until("/all/ready", lambda r: r.status_code == 200)
    site.until("/state", lambda r: r.json()["tasks"] <= tasks)


def test_a_check_that_hangs_is_given_up_in_time_and_not_started_twice(start, broker):
    broker.start()
    site = start(broker.url)
    site.until("/all/ready", lambda r: r.status_code == 200)
    before = site.state()
    site.get("/hang/on")
    site.until("/all/ready", lambda r: set(failing(r)) == {"sync", "async"})
    for _ in range(3):
        response, seconds = site.ask_anew()
        assert seconds < TIMEOUT + SLACK
        assert response.status_code == 503
        assert set(failing(response)) == {"sync", "async"}
        # The task of the request before may not have ended yet.
        state = site.until("/state", lambda r: r.json()["tasks"] <= before["tasks"]).json()
        assert state["threads"] == 1  # a thread cannot be ended, but it is the only one
    assert failing(response)["sync"].startswith("an attempt has been hanging for ")
    assert failing(response)["async"] == f"no answer within {TIMEOUT:g} s"
    assert site.state()["sync"] == before["sync"] + 1
    site.get("/hang/off")
    site.until("/all/ready", lambda r: r.status_code == 200)
    site.until("/state", lambda r: r.json()["threads"] == 0)


def test_a_server_stops_in_time_while_a_check_hangs(start, broker):
    broker.start()
    site = start(broker.url)
    site.get("/hang/on")
    assert site.get("/all/ready").status_code == 503
    started = time.monotonic()
    site.server.stop()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("kind", SERVERS.values(), ids=SERVERS)
def test_every_server(start, kind, capsys):
    kind.require()
    site = start(None, kind)
    url, ws = f"{site.url}/readyz", f"{site.ws_url}/ws/health/"
    call_command("channels_health", url, "--websocket", ws, "--host", "health.example")
    assert capsys.readouterr().out.startswith(f"OK: {url} in ")
    head = site.http.head("/readyz")
    assert (head.status_code, head.content) == (200, b"")
    assert site.http.post("/readyz").status_code == 405
    assert site.get("/all/ready").status_code == 503
    with connect(ws, origin="http://health.example", proxy=None) as client:
        client.send("else")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        assert closed.value.rcvd.code == 4400
    assert "Traceback" not in site.server.output


def test_a_blocked_loop_cannot_answer_and_is_told_of_afterwards(site):
    site.until("/healthz", lambda r: r.json()["checks"]["event_loop"]["max_ms"] is not None)
    with ThreadPoolExecutor(1) as pool:
        blocking = pool.submit(site.get, "/block")
        deadline = time.monotonic() + 20
        answered_after = 0.0
        while not blocking.done() and time.monotonic() < deadline:
            started = time.monotonic()
            site.get("/healthz")
            answered_after = max(answered_after, time.monotonic() - started)
    assert answered_after > 0.5  # of the 1.5 s, what was left when it was asked
    lag = site.until(
        "/healthz", lambda r: r.json()["checks"]["event_loop"]["max_ms"] > 1000
    ).json()["checks"]["event_loop"]
    assert lag["max_ms"] < 5000
    assert lag["p99_ms"] > 1000


class TestWebSocketProbe:
    def connect(self, shared, origin="http://health.example", **options):
        url = f"{shared.ws_url}/ws/health/"
        return connect(url, origin=origin, proxy=None, **options)

    def close_code(self, client):
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=10)
        return closed.value.rcvd.code

    def test_ping(self, shared):
        with self.connect(shared) as client:
            client.send("ping")
            assert client.recv(timeout=10) == "pong"
            assert self.close_code(client) == 1000

    @pytest.mark.parametrize("message", ["", "Ping", "ping ping", b"ping", "x" * 100_000])
    def test_anything_else(self, shared, message):
        with self.connect(shared) as client:
            client.send(message)
            assert self.close_code(client) == 4400

    def test_silence(self, shared):
        with self.connect(shared) as client:
            assert self.close_code(client) == 4408

    def test_it_is_behind_the_same_rules_as_other_websockets(self, shared):
        with (
            pytest.raises(InvalidStatus) as refused,
            self.connect(shared, origin="http://elsewhere.example"),
        ):
            pass
        assert refused.value.response.status_code == 403

    def test_clients_that_vanish_leave_nothing(self, shared):
        before = shared.state()["tasks"]
        for _ in range(20):
            with self.connect(shared) as client:
                client.socket.shutdown(socket.SHUT_RDWR)
        shared.until("/state", lambda r: r.json()["tasks"] <= before)
        assert "Traceback" not in shared.server.output
