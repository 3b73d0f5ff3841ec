"""What is counted of clients that were over a limit, and who is told."""

from channels import signals
from channels.security.limits import counts as module


def test_it_is_counted_where_nobody_listens(monkeypatch):
    monkeypatch.setattr(signals.limit_exceeded, "receivers", [])
    monkeypatch.setattr(module, "counts", module.Counter())
    module.count({}, None, "messages", "connection", "closed")
    assert module.counts == {("messages", "connection", "closed"): 1}


def test_listeners_are_told(monkeypatch):
    told = []

    def hear(sender, **arguments):
        told.append((sender, arguments["limit"], arguments["action"]))

    signals.limit_exceeded.connect(hear)
    monkeypatch.setattr(module, "counts", module.Counter())
    consumer = object()
    module.count({}, consumer, "bytes", "user", "waited")
    module.count({}, None, "bytes", "user", "refused")
    signals.limit_exceeded.disconnect(hear)
    assert told == [(object, "bytes", "waited"), (module.count, "bytes", "refused")]
