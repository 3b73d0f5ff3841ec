import pytest

from channels.layers.redis.streams import progress as progress_module
from channels.layers.redis.streams.progress import Progress


@pytest.fixture
def progress():
    """That of a reader which has registered once and read up to entry 5-0."""
    progress = Progress()
    assert progress.registered(True, "1-0", True, b"server", b"", 10.0) is None
    progress.last = "5-0"
    return progress


def test_reading_begins_after_the_last_entry_that_was_there():
    progress = Progress()
    assert progress.registered(False, "7-0", True, b"server", b"", 10.0) is None
    assert (progress.last, progress.emptied) == ("7-0", 10.0)


def test_a_server_that_has_the_last_entry_has_lost_nothing(progress):
    assert progress.registered(False, "9-0", True, b"server", b"", 20.0) is None
    assert (progress.last, progress.emptied) == ("5-0", 10.0), "there is more to be read"


def test_an_inbox_that_was_made_again_is_read_from_its_start(progress):
    assert progress.registered(True, "3-0", True, b"server", b"", 20.0) == "the inbox was gone"
    assert progress.last == "3-0"


@pytest.mark.parametrize(("last", "goes_on"), [("4-9", "4-9"), ("5-1", "5-0"), ("12-0", "5-0")])
def test_an_older_state_is_read_from_its_end_unless_something_came_since(progress, last, goes_on):
    gap = progress.registered(False, last, False, b"server", b"", 20.0)
    assert gap == "the server has an older state"
    assert progress.last == goes_on


def test_a_failover_is_a_gap_although_the_last_entry_is_there(progress):
    gap = progress.registered(False, "9-0", True, b"replica", b"server", 20.0)
    assert gap == "another server took over"
    assert progress.last == "5-0"
    assert progress.registered(False, "9-0", True, b"replica", b"server", 30.0) is None


def test_servers_that_do_not_tell_their_replication_are_not_taken_for_others():
    progress = Progress()
    for _ in range(3):
        assert progress.registered(False, "1-0", True, b"", b"", 10.0) is None


def test_the_offset_leads_from_our_clock_to_that_of_the_server(progress, monkeypatch):
    monkeypatch.setattr(progress_module, "now", lambda: 100.0)
    progress.set_clock(1_700_000_000_500)
    assert progress.offset == 1_700_000_000.5 - 100.0


def test_a_message_that_the_server_appends_once_more_is_a_repeat(progress, monkeypatch):
    monkeypatch.setattr(progress_module, "_SENDERS", 3)
    assert not progress.is_repeat(b"a:1")
    assert progress.is_repeat(b"a:1")
    assert not progress.is_repeat(b"a:3")
    assert progress.is_repeat(b"a:2")
    for sender in (b"b", b"c"):  # now there are as many as are kept
        assert not progress.is_repeat(sender + b":1")
    assert progress.is_repeat(b"a:3")
    assert not progress.is_repeat(b"a:4")


@pytest.mark.parametrize("origin", [b"rubbish", b"", b"a:"])
def test_an_origin_without_a_number_is_no_repeat(progress, origin):
    assert not progress.is_repeat(origin)
    assert not progress.is_repeat(origin)
