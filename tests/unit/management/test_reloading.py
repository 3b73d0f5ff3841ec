import os
import signal
import threading

import pytest
from django.core.management import call_command
from django.utils import autoreload

from channels.management.commands.runworker import Command
from channels.management.reloading import RELOAD, Changes
from channels.worker import Worker

from . import test_runworker
from .project import Project
from .test_runworker import LAYER

pytestmark = pytest.mark.usefixtures("measured_processes")

SETTINGS = """
from django.utils.autoreload import StatReloader
StatReloader.SLEEP_TIME = 0.05  # seconds; it would be 1
CHANNEL_LAYERS = {"default": {"BACKEND": "mysite.layer.Feeding"}}
"""

CONSUMER = """
import asyncio
from pathlib import Path
from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter

class Thumbs(AsyncConsumer):
    async def thumbs_make(self, message):
        print("begun", message["n"], flush=True)
        while not Path("release").exists():
            await asyncio.sleep(0.01)
        print("made", message["n"], flush=True)

application = ProtocolTypeRouter({"channel": ChannelNameRouter({"thumbs": Thumbs.as_asgi()})})
"""


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    project.write("mysite/layer.py", LAYER)
    project.write("mysite/asgi.py", CONSUMER)
    project.append("mysite/settings.py", SETTINGS)
    return project


def changed(worker, project, text, sign, times=1):
    """Write the application until the worker prints that it has noticed."""
    for attempt in range(60):
        project.write("mysite/asgi.py", text + f"# {attempt}\n")
        if worker.prints(sign, times, within=1):
            return
    raise AssertionError(worker.output)


@pytest.mark.server
@pytest.mark.slow
def test_when_code_changes_the_running_handler_finishes_and_a_new_worker_begins(project):
    with project.manage("runworker", "thumbs", "--reload") as worker:
        worker.wait_for("begun 0")
        changed(worker, project, CONSUMER.replace("begun", "begun anew"), "changed, reloading")
        assert "made" not in worker.output
        project.write("release", "")
        output = worker.wait_for("begun anew 0")
        assert output.index("reloading") < output.index("made 0") < output.index("begun anew")
        assert output.count("Listening to thumbs") == 2
        assert "begun 1" not in output  # it takes nothing more
        # A mistake in the code is told, and once it is mended work goes on.
        changed(worker, project, "1 +", "ended with status 1, and starts again when a file changes")
        changed(worker, project, CONSUMER, "Listening to thumbs", 3)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0


@pytest.mark.server
def test_ctrl_c_lets_the_running_handler_finish(project):
    with project.manage("runworker", "thumbs", "--reload") as worker:
        worker.wait_for("begun 0")
        worker.ctrl_c()
        assert not worker.prints("made 0", within=0.5)
        project.write("release", "")
        assert worker.wait() == 0
        assert "made 0" in worker.output
        assert "Traceback" not in worker.output


@pytest.mark.server
def test_one_that_waits_for_a_change_can_be_ended(project):
    backend = {"default": {"BACKEND": "mysite.layer.Broken"}}
    project.append("mysite/settings.py", f"CHANNEL_LAYERS = {backend!r}")
    with project.manage("runworker", "thumbs", "--reload") as worker:
        worker.wait_for("starts again when a file changes")
        assert "Cannot receive from channel" in worker.output
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 1


def test_a_worker_that_ends_because_code_has_changed_is_to_be_started_again(monkeypatch, settings):
    stopped, ended = threading.Event(), threading.Event()

    class Stopped(Worker):
        drain_timeout = -1.0  # so that nothing is left of this when the test is over

        def run(self):
            assert stopped.wait(5)

        def stop(self):
            stopped.set()

    class Work(Command):
        worker_class = Stopped

    settings.ASGI_APPLICATION = f"{test_runworker.__name__}.WITH_CHANNEL"
    monkeypatch.setenv(autoreload.DJANGO_AUTORELOAD_ENV, "true")
    monkeypatch.setattr(autoreload, "get_reloader", Changed)
    monkeypatch.setattr(os, "_exit", lambda status: ended.set())
    with pytest.raises(SystemExit) as leaving:
        call_command(Work(), "thumbs", "--reload")
    assert leaving.value.code == RELOAD
    assert ended.wait(5)


class Changed:
    """What Django does when a file has changed."""

    def run(self, thread):
        assert thread is threading.main_thread()
        autoreload.trigger_reload("asgi.py")


def test_a_process_that_does_not_end_in_time_ends_nevertheless(monkeypatch):
    statuses, stopped, ended = [], threading.Event(), threading.Event()

    def leave(status):
        statuses.append(status)
        ended.set()

    monkeypatch.setattr(autoreload, "get_reloader", Changed)
    monkeypatch.setattr(os, "_exit", leave)
    changes = Changes(stopped.set, patience=0.01)
    assert ended.wait(5)
    assert (changes.noticed, stopped.is_set(), statuses) == (True, True, [RELOAD])
