from dataclasses import asdict
from xml.etree import ElementTree as ET

import pytest

from benchmarks import chart, report
from benchmarks.measure import Result


def result(contender, scenario="echo", **values):
    values = {"count": 1000, "seconds": 1.0, "cpu_ms": 10.0, "p50_ms": 1.0, "p99_ms": 2.0} | values
    return Result(scenario=scenario, contender=contender, **values)


RESULTS = [
    result("channels-4", cpu_ms=60.0),
    result("checkout", cpu_ms=20.0, lost=1, server_core=0.75),
    result("channels-4", cpu_ms=90.0),
    result("checkout", cpu_ms=22.5, duplicated=2, server_core=0.5),
    result("channels-4", cpu_ms=30.0),
    result("checkout", cpu_ms=15.0),
    result("checkout", "layer", p50_ms=None, p99_ms=None),
]
RECORD = {
    "date": "2030-01-02",
    "machine": "a machine",
    "repeats": 3,
    "seconds": 2.0,
    "versions": {"checkout": {"channels": "5"}, "channels-4": {"channels": "4.3.2"}},
    "results": [asdict(each) for each in RESULTS],
}


def test_rows_hold_medians_and_ratios_are_taken_within_a_repeat():
    checkout, peer, layer = report.rows(RESULTS)
    assert (checkout.contender, peer.contender) == ("checkout", "channels-4")
    assert (checkout.cpu_ms, peer.cpu_ms) == (20.0, 60.0)
    assert checkout.ratios == {"channels-4": pytest.approx(1 / 3)}  # of 1/3, 1/4 and 1/2
    assert peer.ratios == {"channels-4": 1.0}
    assert checkout.lost == 3
    assert (layer.p50_ms, layer.ratios) == (None, {})


def test_the_cpu_of_redis_has_a_column():
    runs = [result("checkout", "redis-rooms", redis_ms=figure) for figure in (0.5, 7.25, 8.0)]
    (row,) = report.rows(runs)
    assert row.redis_ms == 7.25
    assert "| 7.25 |" in report.markdown([row], RECORD)


def test_idle_connections_are_compared_by_the_memory_that_each_takes():
    ours = result("checkout", "idle", memory_kib=30.0, cpu_ms=400.0)
    theirs = result("channels-4", "idle", memory_kib=40.0, cpu_ms=200.0)
    checkout, peer = rows = report.rows([ours, theirs])
    assert checkout.ratios["channels-4"] == pytest.approx(0.75)
    assert (checkout.memory_kib, peer.score) == (30.0, 40.0)
    assert "| 400 | 1,000 | 1.00 | - | 30.0 |" in report.markdown(rows, RECORD)
    assert "30.0 KiB each" in report.line(ours)
    assert "5,000 idle connections: memory, KiB each" in chart.svg(rows)


def test_contenders_that_wait_are_compared_by_time():
    slow = result("channels-4", "blocking", count=20, cpu_ms=1.0)
    fast = result("checkout", "blocking", count=400, cpu_ms=1.0)
    assert report.rows([slow, fast])[0].ratios["channels-4"] == pytest.approx(0.05)


def test_a_rate_that_the_load_generator_limited_is_marked():
    limited = result("asgi", server_core=0.7, load_core=0.99)
    assert "≥ 1,000" in report.markdown(report.rows([limited]), RECORD)


def test_the_table_has_a_line_per_row():
    text = report.markdown(report.rows(RESULTS), RECORD)
    table, origin = text.strip().split("\n\n")
    lines = table.splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == (
        "| echo, 50 clients | this checkout "
        "| 20.0 | 1,000 | 0.75 | - | - | 1.00 | 2.00 | 3 | 0.33 | - |"
    )
    assert lines[3].startswith("|  | channels 4.3.2 |")
    assert "channels 4.3.2 and 5" in origin
    assert "2030-01-02" in origin


def test_the_chart_is_valid_svg_whose_bars_are_in_proportion():
    root = ET.fromstring(chart.svg(report.rows(RESULTS)))
    space = "{http://www.w3.org/2000/svg}"
    _, checkout, peer, layer = [int(bar.get("width")) for bar in root.iter(f"{space}rect")]
    assert checkout == pytest.approx(peer / 3, abs=1)
    assert layer == peer
    words = [text.text for text in root.iter(f"{space}text")]
    assert "20.0 (0.33 of channels 4.3.2)" in words


def test_a_line_of_progress_tells_what_went_wrong():
    assert "wrong" not in report.line(result("asgi"))
    line = report.line(result("asgi", lost=7, log="first\nsomething wrong\n"))
    assert "7 lost" in line
    assert line.endswith("log: something wrong")
