"""What channels_top shows, without a terminal."""

import pytest

from channels.live import Connection, Group, Process
from channels.live.rates import overview
from channels.management.topview import VIEWS, Found, View, fitting_columns


def found(**options):
    processes = [
        Process("a", 1.0, host="one", pid=7, consumers={"x.Chat": 2}, users={"5": 2, "9": 1},
                lag=0.5),
        Process("b", 1.0, host="two", pid=8, kind="worker", draining=True,
                groups=[Group("lobby", 3), Group("\x1b[31mred", 9)]),
    ]  # fmt: skip
    return Found(overview(processes), **options)


def press(view, *keys):
    return all(map(view.press, keys))


def test_processes_are_sorted_by_any_column_with_unknown_figures_last():
    view = View()
    assert [row[0] for row in view.rows(found())] == ["one", "two"]
    press(view, "r")
    assert [row[0] for row in view.rows(found())] == ["two", "one"]
    press(view, *["s"] * 6)
    assert view.columns[view.order].title == "LAG ms"
    assert [row[10] for row in view.rows(found())] == ["-", "500"]
    press(view, "S", "left", "right", "r", "s")
    assert view.rows(found())[0][2] == "server"
    assert view.rows(found())[1][2] == "worker, draining"


def test_groups_and_users_are_filtered_and_hold_no_control_characters():
    view = View()
    press(view, "3")
    assert [row[2] for row in view.rows(found())] == ["9", "3"]
    assert "\x1b" not in "".join("".join(row) for row in view.rows(found()))
    press(view, "/", "L", "o", "x", "backspace", "left", "enter")
    assert view.filter == "Lo"
    assert [row[0] for row in view.rows(found())] == ["lobby"]
    press(view, "escape", "4")
    assert view.filter == ""
    assert view.rows(found()) == [("5", "2"), ("9", "1")]


def test_connections_are_sorted_by_what_processes_sort_by():
    view = View()
    assert view.query is None
    press(view, "2")
    assert (view.query.sort, view.query.ascending) == ("age", False)
    press(view, "left", "r", "/", "a", "escape", "/", "c", "enter")
    assert (view.query.sort, view.query.ascending, view.query.text) == ("groups", True, "c")
    assert view.rows(found()) == []
    rows = [("a", Connection("x.Chat", path="/c/", username="anna")), ("?", Connection("x.Chat"))]
    shown = view.rows(found(connections=(2, rows)))
    assert shown[0][:3] == ("Chat", "/c/", "anna")
    assert [row[-1] for row in shown] == ["one:7", ""]


def test_tab_goes_round_and_scrolling_begins_anew():
    view = View()
    seen = []
    for _ in VIEWS:
        press(view, "down", "page down", "up")
        assert view.offset == 10
        seen.append(view.name)
        press(view, "tab")
        assert view.offset == 0
    assert seen == list(VIEWS)
    assert view.name == VIEWS[0]
    press(view, "down", "home")
    assert view.offset == 0


@pytest.mark.parametrize("typing", [True, False])
def test_what_ends_it(typing):
    view = View()
    if typing:
        press(view, "/")
    assert press(view, "x", "q") is typing
    assert not press(view, "end of input")


TITLES = ["NAME", "PATH", "COUNT v", "LAG ms"]
ROWS = [("a name that is long", "/" * 40, "7", "-"), ("b", "", "12345", "500")]


@pytest.mark.parametrize(
    ("width", "order", "shown"),
    [
        (200, 2, {0: 19, 1: 40, 2: 7, 3: 6}),
        (75, 2, {0: 19, 1: 40, 2: 7, 3: 6}),
        (50, 2, {0: 19, 1: 15, 2: 7, 3: 6}),
        (35, 2, {0: 14, 1: 12, 2: 7}),
        (33, 3, {0: 13, 1: 12, 3: 6}),
        (20, 2, {0: 12, 2: 7}),
        (10, 3, {3: 6}),
        (5, 2, {2: 5}),
    ],
)
def test_a_narrow_screen_shows_some_columns_whose_headings_are_whole(width, order, shown):
    assert fitting_columns(TITLES, ROWS, order, width) == shown
    assert sum(shown.values()) + len(shown) - 1 <= width


def test_without_rows_no_column_is_numeric():
    assert fitting_columns(TITLES, [], 2, 80) == {0: 4, 1: 4, 2: 7, 3: 6}
