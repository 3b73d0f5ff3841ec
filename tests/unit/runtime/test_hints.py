"""What a scope lacks is named where that is what was raised. More is in test_newcomers.py."""

import pytest

from channels._runtime.hints import explain_call, explain_scope
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator


def read(scope):
    return scope["user"]


def read_beside_a_number(scope, number=7):
    return scope["user"]


def read_other(scope):
    return scope["other"]


def read_something_else(content):
    return content["user"]


def notes_of(function, argument, times=1):
    with pytest.raises(KeyError) as caught:
        function(argument)
    for _ in range(times):
        explain_scope(caught.value)
    return getattr(caught.value, "__notes__", [])


def test_a_scope_without_the_key_is_explained_once():
    [note] = notes_of(read, {"type": "websocket"}, times=2)
    assert note.startswith("The scope has no 'user'. AuthMiddleware puts it there")


def test_objects_without_attributes_are_no_scopes():
    assert len(notes_of(read_beside_a_number, {"type": "websocket"})) == 1
    assert notes_of(read_beside_a_number, {"no": "scope"}) == []


def test_a_line_that_reads_no_scope_is_not_explained():
    assert notes_of(read_something_else, {"type": "websocket"}) == []


@pytest.mark.parametrize("error", [KeyError("user"), KeyError("other"), KeyError(7)])
def test_what_was_not_raised_or_is_no_key_of_a_scope_is_not_explained(error):
    explain_scope(error)
    assert not hasattr(error, "__notes__")


def test_a_key_that_no_middleware_sets_is_not_explained():
    with pytest.raises(KeyError) as caught:
        read_other({"type": "websocket"})
    explain_scope(caught.value)
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])
@pytest.mark.parametrize(
    ("name", "parameters", "written"),
    [
        ("connect", "self, message", "def connect(self)"),
        ("receive", "self", "def receive(self, text_data=None, bytes_data=None)"),
        ("disconnect", "self", "def disconnect(self, code)"),
        ("chat_line", "self", "def chat_line(self, event)"),
    ],
)
async def test_a_method_with_other_parameters_is_told_of(base, name, parameters, written):
    space = {}
    prefix = "" if base._sync else "async "
    exec(f"class Chat(base):\n {prefix}def {name}({parameters}): ...", {"base": base}, space)
    space["Chat"].groups = ["x"]
    socket = WebsocketCommunicator(space["Chat"], "/")
    with pytest.raises(TypeError) as raised:
        await socket.connect()
        if name == "disconnect":
            await socket.disconnect()
        elif name == "receive":
            await socket.send_to(text_data="x")
        else:
            await get_channel_layer().group_send("x", {"type": "chat.line"})
        await socket.receive_output()
    assert raised.value.__notes__ == [f"Channels calls it with what stands here: {written}"]


async def test_other_calls_of_the_project_are_not_explained():
    class Chat(AsyncWebsocketConsumer):
        def greet(self): ...

        async def connect(self):
            self.greet("you")

    with pytest.raises(TypeError) as raised:
        await WebsocketCommunicator(Chat, "/").connect()
    assert not hasattr(raised.value, "__notes__")
    explain_call(Chat(), TypeError("Chat.greet() takes 1 positional argument but 2 were given"))
