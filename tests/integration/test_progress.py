"""Progress across processes: reporters, a real server, a real broker; and any of them dies."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import uuid

import httpx
import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.brokers import running
from tests.servers import ROOT

from ..processes import ServerProcess, environment
from .progress_site import BACKEND

pytestmark = pytest.mark.server

DEADLINE = 30.0
SITE = "tests.integration.progress_site"


@pytest.fixture(scope="module")
def broker():
    with running() as broker:
        yield broker


@pytest.fixture(scope="module")
def gone(tmp_path_factory):
    """The file that is there when the users are gone."""
    return tmp_path_factory.mktemp("users") / "gone"


@pytest.fixture(scope="module")
def server(broker, tmp_path_factory, gone):
    env = {"BROKER_PORT": str(broker.port), "SECRET": "of the site", "GONE": str(gone)}
    log = tmp_path_factory.mktemp("server") / "log"
    command = ["-W", "error", "-m", "uvicorn", "--factory", "--log-level=warning", "--port={port}"]
    command.append(f"{SITE}:make_application")
    with ServerProcess(command, cwd=ROOT, log=log, env=env) as server:
        yield server


@pytest.fixture
def job():
    return f"job-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def start(broker, tmp_path):
    """Starts reporters of a job."""
    started = []

    def start(job):
        command = [sys.executable, "-m", SITE, str(broker.port), job, str(tmp_path / job)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def cookie(settings):
    """Makes the session cookie of a user."""

    def cookie(user_id):
        settings.SECRET_KEY = "of the site"
        session = SessionStore()
        session[SESSION_KEY], session[BACKEND_SESSION_KEY] = str(user_id), BACKEND
        session[HASH_SESSION_KEY] = User(pk=user_id).get_session_auth_hash()
        session.save()
        return {"Cookie": f"sessionid={session.session_key}"}

    return cookie


@contextlib.contextmanager
def socket(server, path, headers):
    url = f"{server.ws_url}/{path}"
    with connect(url, additional_headers=headers, proxy=None, open_timeout=DEADLINE) as found:
        yield found


def hear(client, condition):
    """What the page is told, up to the first that meets a condition."""
    heard, end = [], time.monotonic() + DEADLINE
    while not heard or not condition(heard[-1]):
        assert time.monotonic() < end, heard[-3:]
        heard.append(json.loads(client.recv(timeout=DEADLINE)))
    return heard


def is_state(state):
    return lambda content: content["state"] == state


def first_event(server, path, headers):
    """The status of a stream, and what its first event tells."""
    url = f"{server.origin}/{path}"
    with httpx.stream("GET", url, headers=headers, timeout=DEADLINE, trust_env=False) as stream:
        if stream.status_code == 200:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    return 200, json.loads(line[5:])
        return stream.status_code, None


def wait_for(server, job, headers):
    """Wait until a job is known."""
    end = time.monotonic() + DEADLINE
    while first_event(server, f"progress/{job}/", headers)[0] != 200:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_reporter_is_killed_and_another_one_goes_on(server, start, job, cookie, tmp_path):
    alice = cookie(1)
    first = start(job)
    wait_for(server, job, alice)
    with (
        socket(server, f"progress/{job}/", alice) as page,
        socket(server, "progress/", alice) as all_jobs,
    ):
        heard = hear(page, lambda content: (content["current"] or 0) > 20)
        first.kill()
        first.wait()
        heard += hear(page, is_state("lost"))
        assert first_event(server, f"progress/{job}/", alice)[1]["state"] == "lost"
        second = start(job)
        heard += hear(page, is_state("running"))
        (tmp_path / job).touch()
        heard += hear(page, is_state("finished"))
        assert second.wait(DEADLINE) == 0
        assert heard[-1]["result"] == {"by": second.pid}
        assert {content["attempt"] for content in heard} == {1, 2}
        revisions = [content["revision"] for content in heard if content["state"] != "lost"]
        assert revisions == sorted(set(revisions)), "nothing older after what is newer"
        assert hear(all_jobs, lambda content: content == heard[-1])
    status, late = first_event(server, f"progress/{job}/", alice)
    assert (status, late) == (200, heard[-1]), "who comes afterwards sees the end"


def test_the_broker_loses_everything_and_the_reporter_is_interrupted(
    server, broker, start, job, cookie
):
    alice = cookie(1)
    reporter = start(job)
    wait_for(server, job, alice)
    with socket(server, f"progress/{job}/", alice) as page:
        before = hear(page, is_state("running"))[-1]["revision"]
        broker.kill()
        broker.start()
        hear(page, lambda content: content["revision"] > before and content["state"] == "running")
        reporter.send_signal(signal.SIGINT)
        hear(page, is_state("cancelled"))
    _, errors = reporter.communicate(timeout=DEADLINE)
    assert errors.strip().endswith(b"KeyboardInterrupt"), "and nothing else was raised"


def close_code(server, path, headers):
    with socket(server, path, headers) as client:
        try:
            while True:
                client.recv(timeout=DEADLINE)
        except ConnectionClosed as closed:
            return closed.rcvd.code


def test_only_its_user_sees_a_job(server, start, job, cookie, gone):
    alice, bob, nobody = cookie(1), cookie(2), {}
    start(job)
    wait_for(server, job, alice)
    for headers, code, status in ((bob, 4404, 404), (nobody, 4401, 403)):
        for name in (job, "no-such-job"):
            assert close_code(server, f"progress/{name}/", headers) == code
            assert first_event(server, f"progress/{name}/", headers) == (status, None)
    assert close_code(server, "progress/", nobody) == 4401
    with socket(server, "progress/", bob) as page:
        page.send(json.dumps({"watch": job}))
        assert json.loads(page.recv(timeout=DEADLINE)) == {"type": "refused", "job": job}
        page.send("rubbish")
        with pytest.raises(ConnectionClosed) as closed:
            page.recv(timeout=DEADLINE)
        assert closed.value.rcvd.code == 1007
    with socket(server, f"progress/{job}/", alice) as page:
        gone.touch()  # the user is deleted
        try:
            with pytest.raises(ConnectionClosed) as closed:
                hear(page, lambda content: False)
        finally:
            gone.unlink()
        assert closed.value.rcvd.code == 4401
