import json

from channels.contrib.admin.picture import connections_picture, overview_picture
from channels.live.figures import Connection, Crash, Group, Process
from channels.live.rates import overview

LONG = "x" * 200


def test_a_large_site_makes_no_large_page():
    row = Connection(
        consumer=LONG, path=LONG, username=LONG, groups=[LONG] * 10, group_count=50, waiting=2.0
    )
    processes = [
        Process(
            process=f"p{number}",
            clock=1.0,
            pid=number,
            consumers={f"{LONG}{n}": 1000 for n in range(200)},
            users={f"{number} {n}": 2 for n in range(200)},
            slow=[row] * 10,
            groups=[Group(f"{LONG}{number} {n}", 3) for n in range(20)],
            crashes=[Crash(float(n), LONG, LONG, LONG, LONG) for n in range(20)],
            limits={f"{LONG}{n}": 1 for n in range(50)},
        )
        for number in range(300)
    ]
    picture = overview_picture(overview(processes), {"1 1": "ada"})
    picture["connections"] = connections_picture((100_000, [("p", row)] * 50), 0)
    assert len(json.dumps(picture)) < 200_000
    assert picture["totals"]["processes"] == 300
    assert len(picture["processes"]) == 100
    assert {len(picture[name]) for name in ("consumers", "users", "groups", "slow", "limits")} == {
        20
    }
    assert picture["connections"]["rows"][0]["more_groups"] == 47
    assert picture["connections"]["total"] == 100_000


def test_rates_are_shown_once_they_are_known():
    counters = {"received": 10.0, "sent": 4.0}
    before = Process(process="p", clock=1.0, crashes=[Crash(1.0, "x.Y", "/", "E: e", "f")])
    after = Process(process="p", clock=3.0, counters=counters, users={"7": 1})
    first = overview_picture(overview([before]), {})
    assert first["processes"][0]["received"] is None
    assert first["crashes"] == [[1.0, "x.Y", "/", "E: e", "f"]]
    then = overview_picture(overview([after], {"p": before}), {"7": "ada"})
    assert (then["processes"][0]["received"], then["processes"][0]["sent"]) == (5.0, 2.0)
    assert then["users"] == [["7", "ada", 1]]
