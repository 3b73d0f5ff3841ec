"""What a class declares, what it inherits, and the mistakes that are told when it is made."""

from typing import TYPE_CHECKING

import msgspec
import pytest

from channels.exceptions import InvalidDeclaration, InvalidPermission
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from channels.messages import Declaration, accepts
from channels.security.permissions import IsAuthenticated, IsStaff

if TYPE_CHECKING:
    from somewhere import Unknown


class Text(msgspec.Struct):
    text: str


class Tagged(msgspec.Struct, tag="chat.tagged"):
    text: str


class Mixin:
    @accepts("chat.leave", Text)
    async def leave(self, message):
        """Leave the room."""


class Chat(Mixin, AsyncJsonWebsocketConsumer):
    @accepts("chat.send", permissions=IsStaff)
    async def send_message(self, message: Text) -> None:
        """Say something."""

    @accepts()
    async def tagged(self, message: "Tagged"):
        pass


def types(cls):
    return {it.type: it.handler for it in cls.message_types()}


def test_a_class_tells_what_it_accepts():
    found = {it.type: it for it in Chat.message_types()}
    assert types(Chat) == {
        "chat.send": "send_message",
        "chat.tagged": "tagged",
        "chat.leave": "leave",
    }
    sending = found["chat.send"]
    assert isinstance(sending, Declaration)
    assert (sending.schema, sending.description) == (Text, "Say something.")
    assert isinstance(sending.permissions, IsStaff)
    assert found["chat.leave"].description == "Leave the room."
    assert found["chat.tagged"].description == ""
    assert found["chat.tagged"].permissions is None
    assert AsyncJsonWebsocketConsumer.message_types() == ()


class TestSubclasses:
    def test_an_override_stays_declared(self):
        class Child(Chat):
            async def send_message(self, message):
                pass

        assert types(Child) == types(Chat)
        assert isinstance(Child.message_types()[0].permissions, IsStaff)

    def test_another_declaration_takes_its_place(self):
        class Child(Chat):
            @accepts("chat.say", permissions=IsAuthenticated)
            async def send_message(self, message: Tagged2):
                pass

        assert types(Child)["chat.say"] == "send_message"
        assert "chat.send" not in types(Child)
        assert "chat.send" in types(Chat)

    def test_a_declaration_can_be_taken_back(self):
        class Child(Chat):
            send_message = None

        assert "chat.send" not in types(Child)

    def test_the_annotation_of_the_overridden_method_counts(self):
        class Child(Chat):
            @accepts("chat.say")
            async def send_message(self, message):
                pass

        assert {it.type: it.schema for it in Child.message_types()}["chat.say"] is Text


class Tagged2(msgspec.Struct):
    text: str


def make(function, base=AsyncJsonWebsocketConsumer, **names):
    return type("Made", (base,), {"handle": function, **names})


class TestMistakes:
    def expect_error(self, text):
        return pytest.raises(InvalidDeclaration, match=text)

    def test_without_parentheses(self):
        with self.expect_error("write @accepts"):

            @accepts
            async def handle(self, message: Text):
                pass

    @pytest.mark.parametrize("what", [staticmethod(print), classmethod(print), Text])
    def test_not_above_a_method(self, what):
        with self.expect_error("which is no method"):
            accepts("chat.send")(what)

    def test_without_a_shape(self):
        async def handle(self, message):
            pass

        async def empty(self):
            pass

        for function in (handle, empty):
            with self.expect_error(r"annotate the argument, as in `message: SendMessage`"):
                make(accepts("chat.send")(function))

    def test_with_an_annotation_that_cannot_be_read(self):
        async def handle(self, message: "Unknown"):
            pass

        with self.expect_error("means nothing where Channels reads it"):
            make(accepts("chat.send")(handle))

    def test_without_a_type(self):
        async def handle(self, message: Text):
            pass

        with self.expect_error("does not say which type"):
            make(accepts()(handle))

    def test_with_two_types(self):
        async def handle(self, message: Tagged):
            pass

        with self.expect_error("let the two agree"):
            make(accepts("chat.send")(handle))

    @pytest.mark.parametrize("message_type", ["x" * 101, 5])
    def test_with_a_type_that_is_no_short_text(self, message_type):
        async def handle(self, message: Text):
            pass

        with self.expect_error("1 to 100 characters"):
            make(accepts(message_type)(handle))

    @pytest.mark.parametrize("message_type", ["error", "channels.ping", "channels."])
    def test_with_a_type_of_channels(self, message_type):
        async def handle(self, message: Text):
            pass

        with self.expect_error("take another type"):
            make(accepts(message_type)(handle))

    def test_two_handlers_for_one_type(self):
        async def handle(self, message: Text):
            pass

        async def other(self, message: Text):
            pass

        with self.expect_error(r"handle\(\) and other\(\) both accept 'chat.send'"):
            make(accepts("chat.send")(handle), other=accepts("chat.send")(other))

    def test_a_consumer_that_speaks_no_json(self):
        async def handle(self, message: Text):
            pass

        with self.expect_error("derive Made from AsyncJsonWebsocketConsumer"):
            make(accepts("chat.send")(handle), AsyncWebsocketConsumer)

    def test_a_coroutine_in_a_synchronous_consumer(self):
        async def handle(self, message: Text):
            pass

        with self.expect_error("write `def handle"):
            make(accepts("chat.send")(handle), JsonWebsocketConsumer)

    def test_a_method_of_channels(self):
        async def receive_json(self, content: Text):
            pass

        with self.expect_error("give it another name"):
            make(None, receive_json=accepts("chat.send")(receive_json))

    def test_permissions_that_are_none(self):
        with pytest.raises(InvalidPermission):
            accepts("chat.send", Text, permissions="IsStaff")
