import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.generic._events import Comments, encode_event, encode_retry
from tests.asgi import until


def parse(stream):
    """As the HTML standard says (section 9.2.6), for whole events."""
    events, data, event, last_id = [], [], "", None
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(("\n".join(data), event or "message", last_id))
            data, event = [], ""
        elif name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id":
            last_id = value
    return events


ONE_LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(
    data=st.text(st.characters(exclude_categories=["Cs"])),
    event=st.none() | ONE_LINE,
    id=st.none() | ONE_LINE,
)
def test_what_is_encoded_is_what_a_browser_reads(data, event, id):  # noqa: A002
    lines = data.replace("\r\n", "\n").replace("\r", "\n")
    assert parse(encode_event(data, event, id)) == [(lines, event or "message", id)]


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\r\n", "a\0"])
@pytest.mark.parametrize("what", ["event", "id"])
def test_a_type_or_an_id_that_no_browser_takes_is_refused(what, text):
    with pytest.raises(ValueError, match=f"The {what} of an event must have no line break"):
        encode_event("data", **{what: text})


def test_a_retry():
    assert encode_retry(1500) == b"retry: 1500\n\n"


async def test_comments_come_until_they_are_stopped():
    written = []

    async def write(body):
        written.append(body)

    comments = Comments(0.01, write)
    comments.start()
    await until(lambda: len(written) >= 3)
    comments.stop()
    count = len(written)
    await asyncio.sleep(0.05)
    assert written == [b":\n\n"] * count


async def test_one_comment_at_a_time_waits_for_the_client():
    begun, cancelled = [], []

    async def write(body):
        begun.append(body)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(body)
            raise

    comments = Comments(0.01, write)
    comments.start()
    await until(lambda: begun)
    await asyncio.sleep(0.05)
    assert len(begun) == 1
    comments.stop()
    await until(lambda: cancelled)


async def test_a_client_that_has_gone_is_no_failure():
    tried = []

    async def write(body):
        tried.append(body)
        raise OSError("gone")

    comments = Comments(0.01, write)
    comments.start()
    await until(lambda: len(tried) >= 2)
    comments.stop()


async def test_there_may_be_no_comments():
    written = []

    async def write(body):
        written.append(body)

    before = asyncio.all_tasks()
    comments = Comments(None, write)
    comments.start()
    await asyncio.sleep(0.02)
    comments.stop()
    assert written == []
    assert asyncio.all_tasks() == before
