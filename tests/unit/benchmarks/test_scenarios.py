import threading
import time
from collections import defaultdict
from contextlib import contextmanager

import pytest
from websockets.sync.server import serve

from benchmarks.contenders import CONTENDERS
from benchmarks.load import Load
from benchmarks.scenarios import GROUPS, SCENARIOS, WORK, Idle, Scenario, Storm, Traffic
from benchmarks.servers import APPS


class Rooms:
    """A chat server that delivers each message as often as `copies` says."""

    def __init__(self, copies=lambda number: 1):
        self.copies, self.numbers = copies, defaultdict(int)
        self.rooms, self.lock = defaultdict(set), threading.Lock()

    def join(self, connection, request):
        """Called before the handshake is answered, so that nobody is missed who is connected."""
        self.rooms[request.path].add(connection)

    def __call__(self, connection):
        path = connection.request.path
        room = self.rooms[path]
        for message in connection:
            with self.lock:
                number = self.numbers[path] = self.numbers[path] + 1
                for member in tuple(room):
                    for _ in range(self.copies(number)):
                        member.send(message)
        room.discard(connection)


@contextmanager
def loading(rooms):
    with serve(rooms, "127.0.0.1", 0, process_request=rooms.join) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with Load(server.socket.getsockname()[1], patience=1.0) as load:
            yield load
        server.shutdown()
    thread.join()


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("one room", members=7, in_flight=3),
        Scenario("rooms of one", rooms=5, in_flight=5),
        Scenario("rooms of two", rooms=6, members=2, in_flight=4),
    ],
    ids=lambda scenario: scenario.title,
)
def test_everybody_in_the_room_gets_every_message(scenario):
    server = Rooms()
    with loading(server) as load:
        tally = Traffic(load, scenario).run(0.1)
    assert tally.count == sum(server.numbers.values()) * scenario.members > scenario.in_flight
    assert (tally.lost, tally.duplicated) == (0, 0)
    assert len(tally.latencies_ns) == tally.count
    assert 0 < min(tally.latencies_ns) < max(tally.latencies_ns) < tally.seconds * 1e9
    assert len(server.numbers) == scenario.rooms


def test_lost_messages_are_counted():
    with loading(Rooms(copies=lambda number: 0 if number == 3 else 1)) as load:
        tally = Traffic(load, Scenario("a room", members=4, in_flight=2)).run(0.1)
    assert (tally.lost, tally.duplicated) == (4, 0)


def test_messages_that_come_twice_are_counted():
    with loading(Rooms(copies=lambda number: 2 if number == 3 else 1)) as load:
        tally = Traffic(load, Scenario("a room", members=4, in_flight=2)).run(0.1)
    assert tally.lost == 0
    assert tally.duplicated == 4


def test_a_storm_opens_and_closes_all_its_connections():
    server = Rooms()
    with loading(server) as load:
        tally = Storm(load, Scenario("a storm", members=20, in_flight=5)).run(0)
    assert (tally.count, tally.lost) == (20, 0)
    assert len(tally.latencies_ns) == 20
    deadline = time.monotonic() + 10
    while server.rooms["/chat/lobby/"] and time.monotonic() < deadline:
        time.sleep(0.01)  # a thread of the server's notices each close
    assert server.rooms == {"/chat/lobby/": set()}


def test_the_idle_stay_and_are_woken_once():
    server = Rooms()
    with loading(server) as load:
        work = Idle(load, Scenario("idle", members=20, in_flight=5))
        work.warm_up(1.0)
        tally = work.run(0)
        assert (tally.count, tally.latencies_ns) == (20, [])
        assert len(server.rooms["/chat/lobby/"]) == 20 + Idle.FIRST
        work.finish(tally)
        load.close(work.clients)
    assert (tally.lost, tally.duplicated) == (0, 0)
    assert len(tally.latencies_ns) == 20 + Idle.FIRST


def test_the_idle_who_are_not_woken_are_lost(monkeypatch):
    monkeypatch.setattr(Idle, "PATIENCE", 0.2)
    with loading(Rooms(copies=lambda number: 0)) as load:
        work = Idle(load, Scenario("idle", members=20, in_flight=5))
        tally = work.run(0)
        work.finish(tally)
        load.close(work.clients)
    assert (tally.lost, tally.duplicated) == (20, 0)


def test_every_kind_of_work_can_be_done():
    assert {scenario.kind for scenario in SCENARIOS.values()} == {*WORK, "script"}


def test_every_scenario_names_contenders_that_exist():
    for scenario in SCENARIOS.values():
        assert set(scenario.contenders) <= set(CONTENDERS)


def test_every_contender_over_redis_has_a_layer_or_an_application_for_it():
    for name in GROUPS["redis"]:
        for contender in SCENARIOS[name].contenders:
            assert CONTENDERS[contender].layer or CONTENDERS[contender].redis_app


def test_every_script_exists():
    for scenario in SCENARIOS.values():
        assert (scenario.kind == "script") == bool(scenario.script)
        assert (APPS / scenario.script).exists()


def test_the_groups_hold_every_scenario_once():
    assert GROUPS["memory"] + GROUPS["redis"] == list(SCENARIOS)
