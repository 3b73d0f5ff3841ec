"""The phases of a connection: which event leads where, and what else it causes.

The last section runs whole connections through random histories.
"""

import ast
import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import channels
from channels import signals
from channels._runtime import lifecycle
from channels._runtime.connections import connections
from channels._runtime.intake import Intake
from channels._runtime.lifecycle import (
    CLOSED,
    CLOSING,
    CONNECTING,
    ENDED,
    LEFT,
    OPEN,
    REFUSED,
    TRANSITIONS,
    Lifecycle,
    Phase,
    disconnect_type,
)
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from tests.asgi import DEADLINE, until

#: How to report each event.
REPORTS = {
    "accepted": lambda life: life.accepted(),
    "closed": lambda life: life.closed(4000),
    "close_failed": lambda life: life.close_failed(),
    "turned_away": lambda life: life.turned_away(1011),
    "client_left": lambda life: life.client_left(),
    "client_stalled": lambda life: life.client_stalled(),
    "send_failed": lambda life: life.send_failed(),
    "abandoned": lambda life: life.abandoned(),
    "ended": lambda life: life.ended(),
}
#: The events that lead to each phase.
WAYS = {
    CONNECTING: (),
    OPEN: ("accepted",),
    REFUSED: ("closed",),
    CLOSING: ("accepted", "closed"),
    CLOSED: ("accepted", "closed", "client_left"),
    LEFT: ("client_left",),
    ENDED: ("ended",),
}
LEAVING = ("client_left", "client_stalled", "send_failed", "abandoned")


class Handler:
    """Stands for the running handler."""

    limits = 0

    def limit(self):
        self.limits += 1


@pytest.fixture
async def make():
    """A lifecycle in a phase; its intake and its handler are ``life.reads`` and ``life.runs``."""
    made = []

    class Life(Lifecycle):  # with a __dict__
        pass

    def make(phase=CONNECTING, protocol="websocket"):
        intake, handler = Intake(disconnect_type(protocol)), Handler()
        life = Life(protocol, intake, handler)
        for event in WAYS[phase]:
            REPORTS[event](life)
        assert life.phase is phase
        life.reads, life.runs = intake, handler
        made.append(life)
        return life

    yield make
    for life in made:
        life.ended()


# The table


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", TRANSITIONS)
async def test_an_event_leads_where_the_table_says_and_else_nowhere(make, phase, event):
    life = make(phase)
    REPORTS[event](life)
    assert life.phase is TRANSITIONS[event].get(phase, phase)


def test_the_table_has_every_event_that_changes_the_phase():
    assert set(TRANSITIONS) == set(REPORTS)


def test_a_connection_never_goes_back_but_when_a_close_has_failed():
    for event, changes in TRANSITIONS.items():
        for before, after in changes.items():
            assert (after > before) is (event != "close_failed"), (event, before, after)


def test_nothing_leads_out_of_the_end():
    assert not any(ENDED in changes for changes in TRANSITIONS.values())


def test_only_the_end_follows_when_the_client_has_left():
    for event, changes in TRANSITIONS.items():
        assert event == "ended" or not {LEFT, CLOSED} & set(changes)


def test_only_the_lifecycle_assigns_to_its_attributes():
    found = []
    for path in sorted(Path(channels.__file__).parent.rglob("*.py")):
        if path == Path(lifecycle.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                owner = ast.unparse(node.value)
                if owner.rpartition(".")[2] in {"life", "_life"}:
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


# What an event causes besides


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(lifecycle, "CLOSE_TIMEOUT", 0.0)


@pytest.mark.parametrize(
    ("event", "code"),
    [("closed", 4000), ("turned_away", 1011), ("send_failed", 1006)],
)
async def test_a_disconnect_that_the_server_owes_is_made(make, at_once, event, code):
    life = make()
    REPORTS[event](life)
    made = await until(life.reads.next)
    assert made == {"type": "websocket.disconnect", "code": code}
    assert life.phase in {LEFT, CLOSED}
    assert life.runs.limits == 1


async def test_a_disconnect_is_waited_for_once(make, at_once):
    life = make(OPEN)
    for _ in range(3):
        life.closed(4000)
    await until(life.reads.next)
    await asyncio.sleep(0.01)
    assert life.reads.next() is None


async def test_no_disconnect_is_waited_for_when_the_close_has_failed(make, at_once):
    life = make(CLOSING)
    life.close_failed()
    await asyncio.sleep(0.01)
    assert life.reads.next() is None
    assert life.phase is OPEN


async def test_a_disconnect_is_waited_for_when_a_send_failed_before_the_close(make, at_once):
    life = make(CLOSING)
    life.send_failed()
    life.close_failed()
    assert await until(life.reads.next)


async def test_nothing_is_waited_for_after_the_end(make, at_once):
    life = make(CLOSING)
    life.ended()
    life.closed()
    life.send_failed()
    await asyncio.sleep(0.01)
    assert life.reads.next() is None


async def test_a_disconnect_of_a_request_has_no_code(make):
    life = make(OPEN, "http")
    life.disconnect_missing()
    assert life.reads.next() == {"type": "http.disconnect"}


@pytest.mark.parametrize("event", LEAVING)
async def test_layer_messages_are_not_wanted_when_the_client_has_left(make, event):
    life = make(OPEN)
    life.reads.mailbox = object()
    REPORTS[event](life)
    assert life.reads.mailbox is None


@pytest.mark.parametrize(
    ("event", "limits"),
    [("client_left", 1), ("client_stalled", 1), ("send_failed", 0), ("abandoned", 0)],
)
async def test_the_running_handler_is_limited_when_the_client_has_left(make, event, limits):
    """Not when a send fails: the handler may be told by an error, and the disconnect follows."""
    life = make(OPEN)
    REPORTS[event](life)
    assert life.runs.limits == limits


@pytest.mark.parametrize(("left", "phase"), [(True, LEFT), (False, OPEN)])
async def test_the_running_handler_is_limited_when_reading_has_ended(make, left, phase):
    life = make(OPEN)
    life.reading_ended(left)
    assert (life.phase, life.runs.limits) == (phase, 1)


async def test_a_client_that_stalls_is_disconnected_with_1013(make):
    life = make(OPEN)
    life.client_stalled()
    assert life.reads.next() == {"type": "websocket.disconnect", "code": 1013}


# The code for disconnect()


@pytest.mark.parametrize("told", [None, 1000, 1005, 1006])
async def test_the_code_is_the_applications_if_the_server_knows_no_better(make, told):
    life = make(CLOSING)
    life.client_left()
    assert life.disconnecting(told) == life.code == 4000


async def test_the_code_is_the_clients_if_the_server_tells_one(make):
    life = make(CLOSING)
    life.client_left()
    assert life.disconnecting(3000) == life.code == 3000


@pytest.mark.parametrize(("told", "code"), [(None, 1005), (1006, 1006)])
@pytest.mark.parametrize("client_left", [True, False])
async def test_the_code_of_a_refused_handshake_is_the_servers(make, told, code, client_left):
    life = make(REFUSED)
    if client_left:
        life.client_left()
    assert life.disconnecting(told) == life.code == code


async def test_a_crash_after_a_refusal_tells_the_code_of_the_crash(make):
    life = make(REFUSED)
    life.ending(1011)
    life.abandoned()
    assert life.disconnecting(life.make_disconnect()["code"]) == life.code == 1011


@pytest.mark.parametrize("event", LEAVING)
async def test_a_refusal_keeps_its_code_if_the_server_sends_no_disconnect(make, event):
    life = make(REFUSED)
    REPORTS[event](life)
    code = 1013 if event == "client_stalled" else 4000
    assert life.disconnecting(life.make_disconnect()["code"]) == life.code == code


async def test_a_socket_that_was_accepted_after_a_refusal_failed_has_the_code_of_its_close(make):
    life = make(REFUSED)
    life.close_failed()
    life.accepted()
    life.closed(4001)
    assert life.disconnecting(1006) == 4001


async def test_a_close_that_failed_leaves_no_code(make):
    life = make(CLOSING)
    life.close_failed()
    assert life.disconnecting(None) == 1005


async def test_a_request_has_no_code(make):
    life = make(OPEN, "http")
    assert life.disconnecting(None) is None


# The consumer


@pytest.mark.parametrize(("protocol", "owed"), [("websocket", True), ("http", True), ("x", False)])
async def test_a_consumer_with_an_event_is_owed_a_disconnect_once(make, protocol, owed):
    life = make(protocol=protocol)
    assert (life.opened_at, life.disconnect_owed) == (None, False)
    life.opened()
    assert life.opened_at is not None
    assert life.disconnect_owed is owed
    life.disconnecting(None)
    assert not life.disconnect_owed


async def test_a_consumer_whose_first_event_was_skipped_is_owed_none(make):
    life = make()
    life.opened()
    life.first_event_skipped()
    assert not life.disconnect_owed


# Whole connections


class Driven(AsyncWebsocketConsumer):
    """Does what a frame or a message says."""

    disconnect_grace = 0.0
    machine: "Histories"

    async def connect(self):
        await self.do(self.machine.answer)

    async def receive(self, text_data=None, bytes_data=None):
        await self.do(text_data)

    async def note(self, event):
        await self.do(event["do"])

    async def disconnect(self, code):
        self.machine.disconnected += 1
        await self.send("bye")
        await self.close(4001)

    async def do(self, what):
        if what == "accept":
            await self.accept()
        elif what == "send":
            await self.send("x")
        elif what == "close":
            await self.close(4000)
        elif what == "crash":
            raise RuntimeError("as the test wants it")
        elif what == "stop":
            raise StopConsumer
        elif what == "hang":
            await self.machine.gate.wait()


DOING = st.sampled_from(["nothing", "send", "close", "crash", "stop", "hang"])


class Histories(RuleBasedStateMachine):
    """One WebSocket connection behind a server, and all that can happen to it, in any order."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.changes, self.sent, self.too_late = [], [], []
        self.opened = self.disconnected = self.closed = 0
        self.client_left = False  # as far as the application knows
        self.leaves = False
        self.others: list[asyncio.Task[None]] = []
        self.fails: Exception | None = None
        self.patches = pytest.MonkeyPatch()
        slot = vars(Lifecycle)["phase"]

        def change(life, phase):
            with contextlib.suppress(AttributeError):  # there is none before the first
                self.changes.append((slot.__get__(life), phase))
            slot.__set__(life, phase)

        self.patches.setattr(Lifecycle, "phase", property(slot.__get__, change))
        self.layer = InMemoryChannelLayer()
        self.old_layer = channel_layers.set("default", self.layer)
        signals.connection_opened.connect(self.on_opened)
        signals.connection_closed.connect(self.on_closed)

    def on_opened(self, **arguments):
        self.opened += 1

    def on_closed(self, **arguments):
        self.closed += 1

    # The server

    async def receive(self):
        event = await self.events.get()
        if isinstance(event, Exception):
            self.client_left = isinstance(event, OSError)
            raise event
        self.client_left = event["type"] == "websocket.disconnect"
        return event

    async def send(self, message):
        if self.client_left:
            self.too_late.append(message)
        await self.room.wait()
        if self.fails is not None:
            raise self.fails
        self.sent.append(message["type"])

    # What happens

    def run(self, function=None):
        """Call ``function`` on the event loop, and let the loop run for some turns."""

        async def run():
            if function is not None:
                function()
            for _ in range(self.turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(run())

    def put(self, event):
        self.run(lambda: self.events.put_nowait(event))

    @initialize(
        answer=st.sampled_from(["accept", "accept", "accept", "nothing", "close", "crash", "hang"]),
        impatient=st.booleans(),
        handshake_timeout=st.sampled_from([None, 0.0, 30.0]),
        turns=st.sampled_from([1, 2, 5, 20]),
    )
    def begin(self, answer, impatient, handshake_timeout, turns):
        self.answer, self.turns = answer, turns
        if impatient:
            self.patches.setattr(lifecycle, "CLOSE_TIMEOUT", 0.0)
        consumer_class = type("Consumer", (Driven,), {"machine": self, "groups": ["everybody"]})
        self.consumer = consumer_class()
        self.consumer.handshake_timeout = handshake_timeout
        scope = {"type": "websocket", "asgi": {}, "path": "/", "headers": []}

        def start():
            self.events, self.gate, self.room = asyncio.Queue(), asyncio.Event(), asyncio.Event()
            self.room.set()
            self.events.put_nowait({"type": "websocket.connect"})
            self.task = self.loop.create_task(self.consumer(scope, self.receive, self.send))

        self.run(start)

    @rule()
    def time_passes(self):
        self.run()

    @rule(what=DOING)
    def the_client_sends_a_frame(self, what):
        if not self.leaves:
            self.put({"type": "websocket.receive", "text": what})

    @precondition(lambda self: not self.leaves)
    @rule(code=st.sampled_from([1000, 1001, 1005, 1006, 4002]))
    def the_client_leaves(self, code):
        self.leaves = True
        self.put({"type": "websocket.disconnect", "code": code})

    @precondition(lambda self: not self.leaves)
    @rule(error=st.sampled_from([ConnectionResetError, RuntimeError]))
    def reading_fails(self, error):
        self.leaves = True
        self.put(error("reading"))

    @rule(error=st.sampled_from([None, ConnectionResetError, RuntimeError]))
    def sending_fails_from_now_on(self, error):
        self.fails = None if error is None else error("sending")

    @rule()
    def the_client_stops_to_read(self):
        self.room.clear()

    @rule()
    def the_client_reads_on(self):
        self.run(self.room.set)

    @rule()
    def the_client_is_given_up(self):
        def look():
            pending, now = connections.get().pending_sends, self.loop.time()
            pending.look(now)
            pending.look(now + 3600)

        self.run(look)

    @rule(what=DOING)
    def a_group_sends(self, what):
        self.loop.run_until_complete(
            self.layer.group_send("everybody", {"type": "note", "do": what})
        )

    @rule()
    def a_group_disconnects(self):
        message = {"type": "websocket.disconnect", "code": 4003}
        self.loop.run_until_complete(self.layer.group_send("everybody", message))

    @rule()
    def another_task_sends(self):
        async def send():
            with contextlib.suppress(Exception):
                await self.consumer.send("x")

        self.run(lambda: self.others.append(self.loop.create_task(send())))

    @rule()
    def the_process_drains(self):
        self.run(lambda: [connection.drain() for connection in connections.get().open])

    @rule()
    def the_server_cancels(self):
        self.run(self.task.cancel)

    # What holds

    @invariant()
    def nothing_is_sent_after_the_client_has_left(self):
        assert self.too_late == []

    @invariant()
    def every_change_is_in_the_table(self):
        possible = {change for changes in TRANSITIONS.values() for change in changes.items()}
        assert [c for c in self.changes if c[0] is not c[1] and c not in possible] == []

    @invariant()
    def it_is_disconnected_at_most_once(self):
        assert self.opened <= 1
        assert self.disconnected <= self.opened
        assert self.closed <= self.disconnected

    def teardown(self):
        try:
            if hasattr(self, "task"):
                self.loop.run_until_complete(self.end())
                self.nothing_is_sent_after_the_client_has_left()
                self.every_change_is_in_the_table()
                assert self.disconnected == self.closed == self.opened
                assert self.changes == [] or self.changes[-1][1] is ENDED
                assert self.layer.groups == {}
        finally:
            self.loop.close()
            channel_layers.set("default", self.old_layer)
            signals.connection_opened.disconnect(self.on_opened)
            signals.connection_closed.disconnect(self.on_closed)
            self.patches.undo()

    async def end(self):
        self.fails = None
        self.room.set()
        self.gate.set()
        if not self.leaves:
            self.events.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait((self.task, *self.others), timeout=DEADLINE)
        assert self.task.done()
        assert not connections.get().open
        if not self.task.cancelled():
            self.task.result()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=15)
