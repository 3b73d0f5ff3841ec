import msgspec
import pytest

from channels.live.figures import Layer, Process, as_message, read


def test_what_one_process_sends_another_reads() -> None:
    process = Process(
        "a", 1.0, consumers={"x.Y": 2}, layers=[Layer("default", dropped={"full": 3})]
    )
    message = msgspec.msgpack.decode(msgspec.msgpack.encode(as_message(process)))
    assert read(Process, message) == process
    assert (process.connections, process.dropped) == (2, 3)


def test_other_versions_may_have_more_and_less() -> None:
    assert read(Process, {"process": "a", "clock": 1.0, "new": [1]}) == Process("a", 1.0)


@pytest.mark.parametrize(
    "rubbish",
    [None, [], "text", {}, {"process": 1, "clock": 1.0}, {"process": "a" * 501, "clock": 1.0},
     {"process": "a", "clock": 1.0, "pid": -1}, {"process": "a", "clock": 1.0, "groups": [1]}],
)  # fmt: skip
def test_rubbish_is_no_answer(rubbish: object) -> None:
    assert read(Process, rubbish) is None
