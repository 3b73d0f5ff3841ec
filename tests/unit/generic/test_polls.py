"""Cursors and answers. Sessions are tested in test_longpoll.py, through an application."""

import json
import multiprocessing

import pytest

from channels.generic._bridge import Malformed, make_token
from channels.generic._polls import cursor_of, frame_of, has_ended, read_cursor, respond_with


@pytest.mark.parametrize(
    ("query", "cursor"),
    [(b"", ""), (b"cursor=a", "a"), (b"x=1&cursor=a%3Ab&cursor=c", "c"), (b"cursor=", "")],
)
def test_where_a_cursor_is(query, cursor):
    assert cursor_of({"query_string": query}) == cursor


def test_a_cursor_names_the_last_message_and_the_session():
    assert read_cursor(f"17:{make_token('a', 'b', 'c', '')}") == (17, ["a", "b", "c", ""])


@pytest.mark.parametrize("number", ["", "x", "-1", "+1", " 1", "²", "9" * 19])
def test_a_number_that_is_none(number):
    with pytest.raises(Malformed):
        read_cursor(f"{number}:{make_token('a', 'b', 'c', '')}")


def test_a_token_of_another_kind():
    with pytest.raises(Malformed):
        read_cursor(f"1:{make_token('a')}")


def test_a_body_is_one_frame():
    assert frame_of("ü".encode()) == {"frames": [{"text": "ü"}]}
    with pytest.raises(Malformed):
        frame_of(b"\xff")


async def answer(content, scope=None):
    sent = []

    async def send(message):
        sent.append(message)

    await respond_with(scope, send, content, "token")
    return sent


async def test_an_answer_is_one_json_object():
    content = {"last": 3, "messages": ['{"n":1}', '"two"'], "closed": {"code": 1, "reason": "é"}}
    start, body = await answer(content)
    assert start["status"] == 200
    assert json.loads(body["body"]) == {
        "cursor": "3:token",
        "messages": [{"n": 1}, "two"],
        "closed": {"code": 1, "reason": "é"},
    }


async def test_nothing_to_tell():
    start, body = await answer(None, {"headers": [(b"origin", b"https://a.example")]})
    assert (start["status"], body["body"]) == (204, b"")
    assert (b"access-control-allow-origin", b"https://a.example") in start["headers"]


def of_this_process():
    from channels.generic import _polls

    return _polls._PROCESS.get()


def test_a_forked_process_has_none_of_its_parents_sessions():
    mine = of_this_process()
    assert has_ended(mine, "no session")
    assert not has_ended("another process", "no session")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(of_this_process) != mine
