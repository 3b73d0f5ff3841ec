from channels.live.figures import Crash, Group, Process
from channels.live.rates import overview, rates


def made(name: str = "a", clock: float = 10.0, **figures: object) -> Process:
    return Process(name, clock, **{"counting": 1.0, **figures})  # type: ignore[arg-type]


def test_rates_are_what_has_grown_in_a_second() -> None:
    before, after = made(counters={"sent": 4}), made(clock=12.0, counters={"sent": 10})
    found = rates(before, after)
    assert found is not None
    assert (found["sent"], found["received"]) == (3.0, 0.0)


def test_there_are_none_without_two_looks_at_the_same_count() -> None:
    assert rates(None, made()) is None
    assert rates(made(), made()) is None
    assert rates(made(), made(clock=11.0, counting=2.0)) is None


def test_all_processes_are_put_together() -> None:
    one = made("a", consumers={"x.Y": 2}, user_count=1, users={"7": 2}, lag=0.5,
               groups=[Group("lobby", 2)], crashes=[Crash(1.0, "x.Y")])  # fmt: skip
    two = made("b", consumers={"x.Y": 3, "x.Z": 1}, groups=[Group("lobby", 3), Group("b", 1)],
               crashes=[Crash(2.0, "x.Z")], limits={"messages": 1})  # fmt: skip
    found = overview([two, one], {"a": made("a", 9.0)}, unreadable=1)
    assert [process.process for process in found.processes] == ["a", "b"]
    assert found.consumers == {"x.Y": 5, "x.Z": 1}
    assert found.groups == [Group("lobby", 5), Group("b", 1)]
    assert [crash.at for _, crash in found.crashes] == [2.0, 1.0]
    assert (found.totals["connections"], found.totals["lag"], found.totals["sent"]) == (6, 0.5, 0)
    assert found.rates["b"] is None
    assert found.unreadable == 1


def test_the_later_of_two_answers_of_a_process_counts() -> None:
    found = overview([made(clock=2.0, pid=2), made(clock=1.0, pid=1), made(clock=3.0, pid=3)])
    assert [process.pid for process in found.processes] == [3]


def test_nobody_is_there() -> None:
    found = overview([])
    assert found.totals["connections"] == 0
    assert found.totals["sent"] is None


def test_users_of_several_processes_are_counted_once() -> None:
    one, two = made("a", users={"7": 2}, user_count=1), made("b", users={"8": 1}, user_count=1)
    both = made("c", users={"7": 1, "8": 1}, user_count=2)
    assert overview([one, two, both]).totals["users"] == 2
    assert overview([one, made("d", users={"9": 1}, user_count=300)]).totals["users"] == 300
