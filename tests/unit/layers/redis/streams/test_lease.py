import pytest

from channels.layers.redis.streams.lease import Lease


class Recorder:
    def __init__(self, count=0):
        self.groups = [f"group:{n}" for n in range(count)]
        self.missing, self.refused = [], []

    def inbox_groups(self, partition):
        for group in list(self.groups):
            if group in self.groups:
                yield group

    def inbox_groups_missing(self, partition, keys):
        self.missing += keys

    def inbox_overflowed(self, partition, count):
        self.refused.append(count)


def answer(*, alive=1, overflowed=0, foreign=(), missing=()):
    """What the script ``renew`` answers."""
    return [1_700_000_000_000, alive, overflowed, list(foreign), list(missing)]


def lease(recorder):
    return Lease(0, "{x:0}", "p", 60, recorder)


@pytest.mark.parametrize(
    ("count", "chunks"), [(0, [0]), (1, [1]), (1000, [1000]), (2500, [1000, 1000, 500])]
)
def test_a_thousand_groups_are_renewed_at_a_time(count, chunks):
    recorder = Recorder(count)
    renewals = list(lease(recorder).renewals())
    assert [len(keys) - 2 for keys, _ in renewals] == chunks
    assert [key for keys, _ in renewals for key in keys[2:]] == recorder.groups
    for keys, arguments in renewals:
        assert keys[:2] == ["{x:0}:inbox:p", "{x:0}:lost:p"]
        assert arguments == ["p:p", 60_000]


def test_a_group_that_was_left_meanwhile_is_not_renewed():
    recorder = Recorder(1002)
    renewals = lease(recorder).renewals()
    next(renewals)
    recorder.groups.remove("group:1000")
    assert next(renewals)[0][2:] == ["group:1001"]


def test_what_did_not_fit_in_is_told_once():
    recorder = Recorder()
    first = lease(recorder)
    for overflowed in (3, 3, 5, 4):  # an answer may be older than the one before it
        assert first.heed(answer(overflowed=overflowed))
    assert recorder.refused == [3, 2]
    second = lease(recorder)
    second.resume_from(first)
    second.heed(answer(overflowed=5))
    assert recorder.refused == [3, 2], "another event loop tells nothing again"


def test_a_server_that_forgot_its_count_with_the_inbox_begins_anew():
    recorder = Recorder()
    kept = lease(recorder)
    kept.heed(answer(overflowed=5))
    kept.heed(answer(overflowed=2), anew=True)
    assert recorder.refused == [5, 2]


def test_memberships_that_the_server_lost_are_told_unless_all_are_told_of_a_gap():
    recorder = Recorder()
    kept = lease(recorder)
    kept.heed(answer(missing=[b"group:1"]), told=True)
    assert recorder.missing == []
    kept.heed(answer(missing=[b"group:2"]))
    assert recorder.missing == [b"group:2"]


def test_an_inbox_that_is_gone_is_told():
    assert lease(Recorder()).heed(answer(alive=0)) is False


def test_what_took_a_groups_place_is_logged(caplog):
    lease(Recorder()).heed(answer(foreign=[b"group:7"]))
    assert "should hold groups and hold something else" in caplog.text
    assert "group:7" in caplog.text
