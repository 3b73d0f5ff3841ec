"""Lifespan hooks: driven event by event, and by real servers."""

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from channels import lifespan as lifespan_module
from channels import signals
from channels.exceptions import ChannelsError, InvalidHookError
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.lifespan import Lifespan
from tests import asgi
from tests.asgi import until
from tests.ports import free_port

STARTED = "lifespan.startup.complete"
STOPPED = "lifespan.shutdown.complete"


class Server:
    """Speaks the lifespan protocol to an application, as servers do."""

    def __init__(self, application: Any, state: Any = None) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}}
        if state is not None:
            scope["state"] = state
        self.task = asyncio.create_task(application(scope, self.events.get, self.answers.put))

    async def say(self, event: str) -> Any:
        await self.events.put({"type": event})
        return await asyncio.wait_for(self.answers.get(), 5)

    async def run(self) -> list[str]:
        """Start and stop; returns what was answered."""
        answers = [await self.say("lifespan.startup"), await self.say("lifespan.shutdown")]
        await asyncio.wait_for(self.task, 5)
        return [answer["type"] for answer in answers]


@pytest.fixture
def emitted():
    seen: list[str] = []

    def on_started(sender: Any, **kwargs: Any) -> None:
        seen.append("server_started")

    def on_stopping(sender: Any, **kwargs: Any) -> None:
        seen.append("server_stopping")

    signals.server_started.connect(on_started)
    signals.server_stopping.connect(on_stopping)
    yield seen
    signals.server_started.disconnect(on_started)
    signals.server_stopping.disconnect(on_stopping)


async def test_without_hooks_it_only_answers(emitted):
    assert await Server(Lifespan()).run() == [STARTED, STOPPED]
    assert emitted == ["server_started", "server_stopping"]


async def test_an_event_that_lifespan_does_not_know_is_passed_over(emitted):
    server = Server(Lifespan())
    await server.events.put({"type": "lifespan.reload"})
    assert await server.run() == [STARTED, STOPPED]
    assert emitted == ["server_started", "server_stopping"]


async def cancelled_within():
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def leaving():
    sys.exit(3)


@pytest.mark.parametrize("hook", [leaving, lambda: sys.exit(3), cancelled_within])
async def test_a_hook_that_raises_what_is_no_error_has_failed(hook, caplog):
    server = Server(Lifespan(on_startup=[hook]))
    answer = await server.say("lifespan.startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "SystemExit: 3" in answer["message"] or "CancelledError" in answer["message"]
    await asyncio.wait_for(server.task, 5)
    assert [record.name for record in caplog.records] == ["channels.lifespan"]


async def test_a_hook_that_is_cancelled_with_its_server_ends():
    server = Server(Lifespan(on_startup=[partial(asyncio.sleep, 60)]))
    server.events.put_nowait({"type": "lifespan.startup"})
    await asyncio.sleep(0)
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(server.task, 5)


async def test_hooks_run_in_order_and_in_reverse_with_the_signals_inside(emitted):
    def hook(name: str) -> Any:
        return lambda: emitted.append(name)

    lifespan = Lifespan(
        on_startup=[hook("open a"), hook("open b")],
        on_shutdown=[hook("close a"), hook("close b")],
    )
    assert await Server(lifespan).run() == [STARTED, STOPPED]
    assert emitted == [
        "open a",
        "open b",
        "server_started",
        "server_stopping",
        "close b",
        "close a",
    ]


async def test_every_kind_of_callable_is_a_hook():
    ran: list[str] = []

    async def coroutine() -> None:
        await asyncio.sleep(0)
        ran.append("coroutine")

    async def with_argument(name: str) -> None:
        ran.append(name)

    class Callable:
        async def __call__(self) -> None:
            ran.append("object")

        async def method(self) -> None:
            ran.append("method")

    hooks = [
        coroutine,
        partial(with_argument, "partial"),
        Callable(),
        Callable().method,
        lambda: with_argument("lambda"),
        lambda name="default": ran.append(name),
    ]
    await Server(Lifespan(on_startup=hooks)).run()
    assert ran == ["coroutine", "partial", "object", "method", "lambda", "default"]


async def test_plain_hooks_run_in_a_thread_and_leave_the_loop_free():
    released = threading.Event()
    threads: list[threading.Thread] = []

    def blocking() -> None:
        threads.append(threading.current_thread())
        assert released.wait(5)

    server = Server(Lifespan(on_startup=[blocking]))
    starting = asyncio.create_task(server.say("lifespan.startup"))
    async with asyncio.timeout(5):
        while not threads:
            await asyncio.sleep(0)  # the loop turns while the hook blocks
    assert not starting.done()
    released.set()
    assert (await starting)["type"] == STARTED
    assert threads != [threading.current_thread()]
    await server.say("lifespan.shutdown")


async def test_a_hook_that_takes_an_argument_gets_the_state():
    state: dict[str, Any] = {}
    closed: list[Any] = []

    async def open_pool(state: Any) -> None:
        state["pool"] = "a pool"

    def close_pool(state: Any) -> None:
        closed.append(state["pool"])

    await Server(Lifespan([open_pool], [close_pool]), state).run()
    assert state == {"pool": "a pool"}
    assert closed == ["a pool"]


async def test_hooks_share_a_state_where_the_server_has_none():
    seen: list[Any] = []
    lifespan = Lifespan([lambda state: state.update(n=1)], [lambda state: seen.append(dict(state))])
    await Server(lifespan).run()
    await Server(lifespan).run()
    assert seen == [{"n": 1}, {"n": 1}]


@pytest.mark.parametrize(
    ("hook", "message"),
    [(lambda a, b: None, "must take no argument, or one"), ("open_pool", "must be callable")],
)
def test_other_hooks_are_refused_at_construction(hook, message):
    for arguments in ({"on_startup": [hook]}, {"on_shutdown": [hook]}):
        with pytest.raises(InvalidHookError, match=message) as caught:
            Lifespan(**arguments)
        assert isinstance(caught.value, ChannelsError)
        assert isinstance(caught.value, TypeError)


async def test_a_failing_startup_is_answered_logged_once_and_final(emitted, caplog):
    def open_pool() -> None:
        raise OSError("no route to host")

    lifespan = Lifespan(
        on_startup=[open_pool, lambda: emitted.append("next")],
        on_shutdown=[lambda: emitted.append("shutdown")],
    )
    server = Server(lifespan)
    answer = await server.say("lifespan.startup")
    await asyncio.wait_for(server.task, 5)
    assert answer["type"] == "lifespan.startup.failed"
    assert "open_pool: OSError: no route to host" in answer["message"]
    assert emitted == []
    [record] = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "channels.lifespan")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], OSError)


async def test_every_shutdown_hook_runs_even_if_others_fail(caplog):
    ran: list[str] = []

    async def close_a() -> None:
        ran.append("a")

    async def close_b() -> None:
        ran.append("b")
        raise RuntimeError("b is stuck")

    def close_c() -> None:
        ran.append("c")
        raise ValueError("c is broken")

    server = Server(Lifespan(on_shutdown=[close_a, close_b, close_c]))
    assert (await server.say("lifespan.startup"))["type"] == STARTED
    answer = await server.say("lifespan.shutdown")
    await asyncio.wait_for(server.task, 5)
    assert ran == ["c", "b", "a"]
    assert answer["type"] == "lifespan.shutdown.failed"
    assert "b is stuck" in answer["message"]
    assert "c is broken" in answer["message"]
    assert len(caplog.records) == 2


async def test_a_server_that_goes_away_without_shutdown_just_ends_it(emitted):
    server = Server(Lifespan(on_shutdown=[lambda: emitted.append("shutdown")]))
    await server.say("lifespan.startup")
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert emitted == ["server_started"]


async def test_cancelled_hooks_are_cancelled():
    running = asyncio.Event()

    async def forever() -> None:
        running.set()
        await asyncio.Event().wait()

    server = Server(Lifespan(on_startup=[forever]))
    await server.events.put({"type": "lifespan.startup"})
    await asyncio.wait_for(running.wait(), 5)
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.task
    assert server.answers.empty()


async def test_shutdown_without_startup_is_answered(emitted):
    server = Server(Lifespan())
    assert (await server.say("lifespan.shutdown"))["type"] == STOPPED
    await asyncio.wait_for(server.task, 5)


async def test_events_it_does_not_know_are_passed_over():
    server = Server(Lifespan())
    await server.events.put({"type": "lifespan.something"})
    assert await server.run() == [STARTED, STOPPED]


async def test_other_scopes_are_an_error():
    with pytest.raises(ValueError, match="'http'"):
        await Lifespan()({"type": "http"}, asyncio.Queue().get, asyncio.Queue().put)


@pytest.mark.django_db(transaction=True)
async def test_connections_that_hooks_opened_are_closed_as_after_a_request():
    events: list[str] = []

    def query() -> None:
        opened = connections["default"]
        opened.ensure_connection()
        opened.close_at = 0  # as CONN_MAX_AGE = 0 has it
        opened.close = lambda: events.append("closed")  # shadows the method
        events.append("opened")

    server = Server(Lifespan(on_startup=[query]))
    await server.say("lifespan.startup")
    await sync_to_async(lambda: delattr(connections["default"], "close"))()
    assert events == ["opened", "closed"]
    await server.say("lifespan.shutdown")


# -- Draining


@pytest.fixture
def sigterm():
    """A handler of SIGTERM, as a server's."""
    calls: list[int] = []

    def handler(number: int, frame: Any) -> None:
        calls.append(number)

    before = signal.signal(signal.SIGTERM, handler)
    yield handler
    assert signal.getsignal(signal.SIGTERM) is handler
    signal.signal(signal.SIGTERM, before)


async def test_the_process_gets_ready_to_be_told_to_end_and_is_left_as_it_was(sigterm, monkeypatch):
    monkeypatch.setattr(lifespan_module, "SETTLED", 0.01)
    server = Server(Lifespan())
    await server.say("lifespan.startup")
    assert signal.getsignal(signal.SIGTERM) is sigterm  # not yet
    await until(lambda: signal.getsignal(signal.SIGTERM) is not sigterm)
    await server.say("lifespan.shutdown")
    assert signal.getsignal(signal.SIGTERM) is sigterm


async def test_a_server_that_was_held_up_gets_as_long_once_more(sigterm, monkeypatch):
    monkeypatch.setattr(lifespan_module, "SETTLED", 0.01)
    looks = []
    prepare = lifespan_module._prepare_when_settled

    def note(here, attempts):
        looks.append(attempts)
        prepare(here, attempts)

    server = Server(Lifespan())
    await server.say("lifespan.startup")
    monkeypatch.setattr(lifespan_module, "_prepare_when_settled", note)
    time.sleep(0.2)
    await until(lambda: signal.getsignal(signal.SIGTERM) is not sigterm)
    assert looks[0] == lifespan_module._ATTEMPTS - 1
    await server.say("lifespan.shutdown")


async def test_a_server_that_stops_at_once_leaves_nothing_to_come(sigterm, monkeypatch):
    monkeypatch.setattr(lifespan_module, "SETTLED", 0.01)
    assert await Server(Lifespan()).run() == [STARTED, STOPPED]
    due = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, due.set)
    await due.wait()  # what was to be done after the startup has been
    assert signal.getsignal(signal.SIGTERM) is sigterm


async def test_a_wrong_setting_fails_the_startup(settings, emitted):
    settings.CHANNELS_DRAIN = {"SPREAD": "5 seconds"}
    server = Server(Lifespan([lambda: emitted.append("hook")]))
    answer = await server.say("lifespan.startup")
    await asyncio.wait_for(server.task, 5)
    assert answer == {
        "type": "lifespan.startup.failed",
        "message": "CHANNELS_DRAIN['SPREAD'] must be a number of seconds, not '5 seconds'.",
    }
    assert emitted == []


class Idle(AsyncWebsocketConsumer):
    left: ClassVar[list[str]] = []
    gate: ClassVar[asyncio.Event]

    async def disconnect(self, code: int) -> None:
        await self.gate.wait()
        self.left.append("disconnected")


async def test_shutdown_hooks_run_when_the_last_connection_has_ended():
    Idle.left, Idle.gate = [], asyncio.Event()
    server = Server(Lifespan([], [lambda: Idle.left.append("hook")]))
    await server.say("lifespan.startup")
    client = await asgi.Server(Idle.as_asgi()).connect()
    client.put("websocket.disconnect", code=1006)  # cut by the server
    stopping = asyncio.create_task(server.say("lifespan.shutdown"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not stopping.done()
    Idle.gate.set()
    assert (await stopping)["type"] == STOPPED
    assert Idle.left == ["disconnected", "hook"]
    await client.ended()


async def test_shutdown_hooks_do_not_wait_for_a_connection_for_ever(monkeypatch):
    monkeypatch.setattr(lifespan_module, "_CUT", 0.02)
    Idle.left, Idle.gate = [], asyncio.Event()
    server = Server(Lifespan([], [lambda: Idle.left.append("hook")]))
    await server.say("lifespan.startup")
    client = await asgi.Server(Idle.as_asgi()).connect()
    assert (await server.say("lifespan.shutdown"))["type"] == STOPPED
    assert Idle.left == ["hook"]
    Idle.gate.set()
    await client.leave()


# -- Real servers

MODULE = """
import asyncio
from django.conf import settings
settings.configure()
from channels.lifespan import Lifespan
from channels.routing import ProtocolTypeRouter

def say(text):
    print(text, flush=True)

async def open_pool(state):
    if {broken}:
        raise OSError("no pool today")
    state["pool"] = "pool " + str(id(asyncio.get_running_loop()))
    say("opened")

def close_pool(state):
    say("closed " + state["pool"][:4])

async def http(scope, receive, send):
    body = scope["state"]["pool"][:4].encode()
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": body}})

application = ProtocolTypeRouter(
    {{"http": http, "lifespan": Lifespan(on_startup=[open_pool], on_shutdown=[close_pool])}}
)
"""


def command(server: str, port: int) -> list[str]:
    pytest.importorskip(server)
    arguments = {
        "uvicorn": ["lifespan_project:application", "--host", "127.0.0.1", "--port", str(port)],
        "hypercorn": ["lifespan_project:application", "--bind", f"127.0.0.1:{port}"],
    }
    return [sys.executable, "-m", server, *arguments[server]]


@contextmanager
def running(
    server: str, folder: Path, port: int, *, broken: bool = False
) -> Iterator[subprocess.Popen[str]]:
    (folder / "lifespan_project.py").write_text(MODULE.format(broken=broken))
    with subprocess.Popen(
        command(server, port),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def get(url: str, process: subprocess.Popen[str]) -> httpx.Response:
    deadline = time.monotonic() + 20
    while True:
        try:
            return httpx.get(url)
        except httpx.TransportError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)


@pytest.mark.server
@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_a_real_server_runs_the_hooks_and_shares_the_state(server, tmp_path):
    port = free_port()
    with running(server, tmp_path, port) as process:
        response = get(f"http://127.0.0.1:{port}/", process)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert response.text == "pool"
    lines = [line for line in output.splitlines() if line in {"opened", "closed pool"}]
    assert lines == ["opened", "closed pool"]


@pytest.mark.server
@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_a_real_server_does_not_start_when_a_hook_fails(server, tmp_path):
    with running(server, tmp_path, free_port(), broken=True) as process:
        output, _ = process.communicate(timeout=20)
    # It has ended by itself; Hypercorn does so with 0.
    assert server == "hypercorn" or process.returncode != 0
    assert "no pool today" in output
    assert "opened" not in output.splitlines()
    assert "closed" not in output


async def test_a_hook_that_does_not_tell_its_arguments_gets_none() -> None:
    """As some built-in functions; ``inspect.signature`` raises ``ValueError`` for them."""
    calls: list[tuple[object, ...]] = []

    class Silent:
        @property
        def __signature__(self) -> None:
            raise ValueError("no signature found")

        def __call__(self, *arguments: object) -> None:
            calls.append(arguments)

    assert await Server(Lifespan(on_startup=[Silent()])).run() == [STARTED, STOPPED]
    assert calls == [()]
