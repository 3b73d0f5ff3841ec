from channels import signals
from channels.live import crashes


class Consumer:
    pass


def crash(error: BaseException, **scope: str) -> None:
    signals.emit(signals.consumer_crashed, Consumer, consumer=None, scope=scope, exception=error)


def test_the_latest_are_kept_without_what_would_fill_a_page() -> None:
    crashes._forget()
    crash(ValueError("first"))
    try:
        raise RuntimeError("a" * 5000)
    except RuntimeError as error:
        crash(error, path="/ws/\n", query_string="token=secret")
    first, second = crashes.latest()
    assert first.where == ""
    assert first.error == "ValueError: first"
    assert len(second.error) <= 200
    assert "test_crashes.py" in second.where
    assert second.path == "/ws/\\n"
    assert "secret" not in str(second)
    assert crashes.count() == 2
    crashes._forget()


def test_only_so_many_are_kept_and_all_are_counted() -> None:
    crashes._forget()
    for _ in range(crashes.KEPT + 1):
        crash(ValueError("x"), channel="jobs")
    assert len(crashes.latest()) == crashes.KEPT
    assert crashes.count() == crashes.KEPT + 1
    crashes._forget()
    assert crashes.latest() == []
