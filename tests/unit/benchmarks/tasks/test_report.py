from dataclasses import asdict

from benchmarks.tasks import report
from benchmarks.tasks.measure import Result


def result(contender, worker_cpu_ms, **found):
    return Result(
        contender=contender,
        enqueued=1000.0,
        finished=500.0,
        enqueue_cpu_ms=100.0,
        worker_cpu_ms=worker_cpu_ms,
        **{
            "broker_cpu_ms": 50.0,
            "p50_ms": 1.0,
            "p95_ms": 2.0,
            "resumed_s": None,
            "replaced_s": None,
        }
        | found,
    )


RESULTS = [
    result("celery-prefork", 400.0, replaced_s=0.5),
    result("checkout", 100.0, resumed_s=12.0),
    result("celery-prefork", 600.0),
    result("checkout", 120.0, resumed_s=14.0, lost=1),
    result("django-tasks-db", 2000.0, broker_cpu_ms=None),
]
RECORD = {
    "date": "2026-11-27",
    "machine": "Linux",
    "repeats": 2,
    "tasks": 2000,
    "versions": {"celery": {"python": "3.11.7", "celery": "5.7.0"}},
    "results": [asdict(each) for each in RESULTS],
}


def test_the_table_has_medians_and_what_they_are_of_those_of_celery():
    table = report.markdown(RESULTS, RECORD)
    row = "| this checkout | 1,000 | 500 | 100 | 110 | 50 | 1.0 | 2.0 | 13.0 |  | 1 | 4.50 |"
    assert row in table
    assert "| Celery, processes |" in table
    assert "| not within 30 | 0.5 | 0 | 1.00 |" in table
    assert "| django-tasks-db, SQLite | 1,000 | 500 | 100 | 2,000 |  |" in table
    assert "medians of 2 runs in turns, of 2,000 tasks each" in table
    assert "celery: python 3.11.7, celery 5.7.0." in table


def test_without_the_reference_there_are_no_ratios():
    assert report.markdown(RESULTS[1:2], RECORD).splitlines()[2].endswith("| 0 |  |")


def test_a_line_tells_of_one_run():
    assert report.line(RESULTS[0]).endswith("p95 2.0 ms, resumed not, 0 lost")
    assert "resumed after 12.0 s" in report.line(RESULTS[1])
    assert RESULTS[1].cpu_ms == 250.0
