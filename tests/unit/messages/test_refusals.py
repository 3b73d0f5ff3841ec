"""Replies have a bounded size, whatever a client or a project has put into them."""

import json

import pytest

from channels.exceptions import MessageRefused
from channels.messages import Declaration
from channels.messages.refusals import reply, select

SAY = Declaration("chat.say", dict, "say")


@pytest.mark.parametrize("ref", [5, -1, "a", "", "x" * 64])
def test_a_short_reference_comes_back(ref):
    assert reply(MessageRefused("invalid"), SAY, {"ref": ref})["ref"] == ref


@pytest.mark.parametrize("ref", [None, True, 1.5, [1], {"a": 1}, "x" * 65])
def test_nothing_else_does(ref):
    assert "ref" not in reply(MessageRefused("invalid"), SAY, {"ref": ref})
    assert "ref" not in reply(MessageRefused("invalid"), None, [ref])


def test_a_reply_is_short():
    long = "x" * 10_000
    refused = MessageRefused(long, long, [(long, long)] * 1000)
    assert len(json.dumps(reply(refused, SAY, {"ref": "x" * 64}))) < 3000


def test_the_type_selects():
    assert select({"chat.say": SAY}, {"type": "chat.say"}) is SAY
    for content in (None, [], {}, {"type": None}, {"type": "chat"}):
        with pytest.raises(MessageRefused):
            select({"chat.say": SAY}, content)
