from channels.live.figures import Crash, Group, Layer, Process
from channels.live.rates import overview
from channels.live.text import as_text


def test_processes_and_what_they_have_are_tables() -> None:
    process = Process(
        "a", 12.0, counting=1.0, host="web\x1b[2J", pid=7, consumers={"chat.Chat": 3}, lag=0.25,
        groups=[Group("lobby", 3)], layers=[Layer("default", dropped={"capacity": 2})],
        counters={"sent": 10.0}, crashes=[Crash(0.0, "chat.Chat", "/ws/", "ValueError: no", "x")],
    )  # fmt: skip
    before = Process("a", 10.0, counting=1.0)
    text = as_text(overview([process], {"a": before}, unreadable=1))
    assert "1 processes, 3 connections, 0 slow clients, 2 messages dropped" in text
    assert "\x1b" not in text
    assert "250" in text
    for words in ("chat.Chat  3", "lobby  3", "capacity  2", "/ws/: ValueError: no"):
        assert words in text
    assert "1 answers could not be read" in text
    assert " 5 " in text


def test_what_is_not_known_is_a_dash() -> None:
    text = as_text(overview([Process("a", 1.0)]))
    assert " - " in text
    assert "CRASHES" not in text
