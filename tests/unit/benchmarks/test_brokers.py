"""The benchmark of brokers does what it says, with real ones."""

import contextlib
import shutil
import sys

import pytest

from benchmarks import brokers
from benchmarks.contenders import ENVIRONMENTS
from benchmarks.servers import APPS
from tests.brokers import unavailable


def test_contenders_take_turns_and_the_reader_gets_figures(rabbitmq, capsys, monkeypatch):
    if shutil.which("redis-server") is None:
        unavailable("redis-server")
    monkeypatch.setattr(brokers, "environment", lambda name: sys.executable)
    monkeypatch.setattr(brokers.rabbit, "running", lambda: contextlib.nullcontext(rabbitmq))
    brokers.main(
        ["--contenders", "rabbitmq", "redis", "--scenarios", "broadcast", "rooms", "--turns", "1"]
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in capsys.readouterr().out.splitlines()[2:]
        if line.startswith("|")
    ]
    assert sorted(row[:2] for row in rows) == sorted(
        [brokers.SCENARIOS[scenario].title, brokers.CONTENDERS[name].title]
        for scenario in ("broadcast", "rooms")
        for name in ("rabbitmq", "redis")
    )
    for _, layer, sender, receiver, broker, to_peer, to_redis in rows:
        assert float(receiver) > 0
        assert float(broker) >= 0
        assert not sender or float(sender) > 0
        assert to_peer == ""
        assert layer != "this checkout, Redis" or float(to_redis) == 1


def test_a_process_that_fails_ends_the_benchmark(monkeypatch):
    wrong = brokers.Broker("amqp://guest:guest@127.0.0.1:1/", 1)
    monkeypatch.setitem(brokers.CONTENDERS, "none", brokers.Contender("", "", "", "no.Layer", "x"))
    with (
        pytest.raises(RuntimeError, match="A process ended in join"),
        brokers.Turns("none", brokers.SCENARIOS["rooms"], sys.executable, wrong),
    ):
        raise AssertionError("It joined.")


def test_every_contender_has_an_environment():
    assert (APPS / "layer_process.py").exists()
    for contender in brokers.CONTENDERS.values():
        assert contender.environment in ENVIRONMENTS
