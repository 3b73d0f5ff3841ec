"""The benchmark of whole stacks does what it says, with real brokers and servers."""

import contextlib
import os
import shutil
import sys

import pytest

from benchmarks import stacks
from benchmarks.brokers import Broker
from benchmarks.contenders import ENVIRONMENTS, UNDECLARED
from benchmarks.scenarios import Scenario
from benchmarks.stacks import CONTENDERS, SCENARIOS, Cost, Stack
from tests.brokers import unavailable


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setitem(
        SCENARIOS, "rooms", Scenario("few", rooms=2, members=2, in_flight=1, processes=2)
    )
    monkeypatch.setattr(stacks, "_WARM_UP", 0.05)


@pytest.mark.server
@pytest.mark.usefixtures("few")
def test_stacks_take_turns_and_the_reader_gets_figures(rabbitmq, capsys, monkeypatch):
    if shutil.which("redis-server") is None:
        unavailable("redis-server")
    monkeypatch.setattr(stacks, "environment", lambda name: sys.executable)
    monkeypatch.setattr("tests.rabbit.running", lambda: contextlib.nullcontext(rabbitmq))
    names = ["rabbitmq", "redis"]
    stacks.main(
        ["--contenders", *names, "--scenarios", "rooms", "--turns", "1", "--seconds", "0.05"]
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in capsys.readouterr().out.splitlines()[2:]
        if line.startswith("|")
    ]
    assert [row[:2] for row in rows] == [["few", CONTENDERS[name].title] for name in names]
    for _, _, servers, broker, to_peer, to_redis, lost in rows:
        assert float(servers) > 0
        assert float(broker) >= 0
        assert to_peer == ""
        assert float(to_redis) > 0
        assert lost == "0.0%"


def test_figures_are_medians_beside_the_peers():
    costs = {
        "rabbitmq": [Cost(10, 1, 0), Cost(20, 2, 0), Cost(60, 3, 0)],
        "redis": [Cost(10, 1, 0)],
        "theirs": [Cost(80, 4, 0.25), Cost(80, 4, 0.75)],
    }
    rows = [row.split(" | ")[2:] for row in stacks.table(SCENARIOS["rooms"], costs)]
    assert rows == [
        ["20.0", "2", "0.25", "2.00", "0.0% |"],
        ["10.0", "1", "0.12", "1.00", "0.0% |"],
        ["80.0", "4", "1.00", "8.00", "50.0% |"],
    ]


@pytest.mark.usefixtures("few")
def test_a_stack_over_which_nothing_arrives_ends_the_benchmark(monkeypatch):
    monkeypatch.setattr(stacks, "_PATIENCE", 0.1)
    silent = Scenario("silent", rooms=0, in_flight=0, processes=0)
    with contextlib.ExitStack() as stack:
        contender = Stack("rabbitmq", silent, sys.executable, Broker("", os.getpid()), stack)
        with pytest.raises(RuntimeError, match="no message arrived"):
            contender.take(0.0)


def test_every_contender_has_an_environment():
    assert {contender.environment for contender in CONTENDERS.values()} <= set(ENVIRONMENTS)
    assert set(UNDECLARED) <= set(ENVIRONMENTS)
