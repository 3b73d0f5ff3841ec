"""The benchmark of refusals does what it says, on a real server."""

import pytest

from benchmarks import refusals

pytestmark = pytest.mark.server


def test_each_kind_of_client_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(refusals, "cores", lambda: None)  # the test stays where it is
    refusals.main(["--turns", "1", "--number", "100"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        [f"| {style}", kind] for style in ("async", "sync") for kind in refusals.KINDS
    ]
    assert all(row[2].endswith("µs") and row[3].endswith("µs") for row in rows)


def test_messages_need_a_connection():
    with (
        refusals.Server(refusals.sys.executable, "limited") as server,
        pytest.raises(RuntimeError, match="was refused"),
    ):
        path = "/async/handshake/refused"
        refusals.messages(server.port, path, 100)
        refusals.messages(server.port, path, 100)
