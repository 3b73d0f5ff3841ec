"""What holds for every test."""

import gc
import importlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import settings

from channels import signals
from channels._runtime import lograte

from . import rabbit

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
# Tests that are measured take twice as long. CI runs them with all examples on the newest Python.
settings.register_profile("measured", deadline=None, max_examples=25)


@pytest.fixture(autouse=True)
def log_rates():
    """No test has used up the lines in the log that the next one looks for."""
    lograte.reset()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rabbit.Rabbit]:
    """A RabbitMQ for everybody: tests have prefixes of their own, and leave it as it is."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which is that of all workers
    with rabbit.shared(folder) as node:
        yield node


@pytest.fixture(scope="session")
def own_rabbitmq() -> Iterator[rabbit.Rabbit]:
    """One for tests that restart it, or pause it; they leave it running."""
    with rabbit.running() as node:
        yield node


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever listens to what happens with each message, such as the live page, is deaf for now."""
    for signal in (
        signals.message_received,
        signals.message_sent,
        signals.handler_started,
        signals.handler_finished,
    ):
        monkeypatch.setattr(signal, "receivers", [])
        signal.sender_receivers_cache.clear()
    monkeypatch.setattr(signals.listened, "hook", None)
    signals.listened.update()
    yield
    monkeypatch.undo()
    signals.listened.update()


# What coverage tells, in the environment, to every Python that a process which it measures starts.
COVERAGE = "COVERAGE_PROCESS_CONFIG"
measuring = pytest.StashKey[str | None]()


def pytest_configure(config: pytest.Config) -> None:
    """`make coverage` measures the processes that run tests, but few of those that tests start.

    There are hundreds, each takes half as long again to start when it is measured, and most of what
    they run of src is run by tests of its own as well.
    """
    starts_tests_elsewhere = config.option.numprocesses and not hasattr(config, "workerinput")
    config.stash[measuring] = None if starts_tests_elsewhere else os.environ.pop(COVERAGE, None)
    if config.stash[measuring]:
        settings.load_profile("measured")


@pytest.fixture
def measured_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that this test starts are measured, for what nothing else could run."""
    if how := request.config.stash[measuring]:
        monkeypatch.setenv(COVERAGE, how)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session):
    """Collecting ten thousand tests makes millions of objects, and nearly all of them stay.

    The garbage collector looks at them neither now nor, frozen, in the tests that call it.
    """
    gc.disable()
    try:
        import_share(session.config)
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def import_share(config: pytest.Config) -> None:
    """Let each process of pytest-xdist begin with other modules.

    Each collects all tests, in the same order. In a new clone each would compile every module anew.
    What goes wrong here goes wrong again, and is told, when the module is collected.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None:
        return
    number, workers = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for path in islice(modules(config), number, None, workers):
        name = ".".join(path.relative_to(config.rootpath).with_suffix("").parts)
        try:
            importlib.import_module(name)
        except (Exception, pytest.skip.Exception):
            continue


def modules(config: pytest.Config) -> Iterator[Path]:
    """The files with tests that this run of pytest was asked for."""
    ignored = [config.rootpath / path for path in config.option.ignore or ()]
    for argument in config.args:
        path = (config.invocation_params.dir / argument.partition("::")[0]).resolve()
        for file in sorted(path.rglob("test_*.py")) if path.is_dir() else [path]:
            if not any(file.is_relative_to(folder) for folder in ignored):
                yield file
