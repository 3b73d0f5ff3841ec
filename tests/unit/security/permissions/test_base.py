"""Permissions of a project's own, how they are asked, and how they combine."""

import asyncio
import threading
import types

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from channels.exceptions import InvalidPermission
from channels.security.permissions import (
    AllowAny,
    IsAuthenticated,
    IsStaff,
    Permission,
    as_permission,
)
from channels.security.permissions.base import entry_rule

SCOPE = {"type": "websocket"}


class Fixed(Permission):
    """Answers what it was made with, and notes that it was asked."""

    def __init__(self, answer, asked=None):
        self.answer = answer
        self.asked = asked if asked is not None else []

    def has_permission(self, scope, message_type=None):
        self.asked.append(message_type)
        return self.answer


class FromLoop(Fixed):
    blocking = False


class Async(Fixed):
    async def has_permission(self, scope, message_type=None):
        await asyncio.sleep(0)
        return super().has_permission(scope, message_type)


class Awaitable(Fixed):
    """A plain method that returns what is to be awaited."""

    def has_permission(self, scope, message_type=None):
        return Async(self.answer, self.asked).has_permission(scope, message_type)


KINDS = [Fixed, FromLoop, Async, Awaitable]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", [True, False])
async def test_it_is_asked_from_the_event_loop(kind, answer):
    asked = []
    assert await kind(answer, asked).acheck(SCOPE, "chat.send") is answer
    assert asked == ["chat.send"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", [True, False])
async def test_it_is_asked_in_a_thread(kind, answer):
    asked = []
    assert await sync_to_async(kind(answer, asked).check)(SCOPE, "chat.send") is answer
    assert asked == ["chat.send"]


class Where(Permission):
    def has_permission(self, scope, message_type=None):
        scope["thread"] = threading.current_thread()
        return True


async def test_a_plain_one_runs_in_a_thread_unless_it_says_that_it_never_waits():
    scope = {"type": "websocket"}
    await Where().acheck(scope)
    assert scope["thread"] is not threading.current_thread()
    quick = Where()
    quick.blocking = False
    await quick.acheck(scope)
    assert scope["thread"] is threading.current_thread()


@pytest.mark.parametrize("answer", [None, 1, 0, "yes", [], object()])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_is_true_or_false_and_nothing_else(kind, answer):
    permission = kind(answer)
    for asked in (permission, permission & AllowAny(), permission | AllowAny(), ~permission):
        with pytest.raises(InvalidPermission, match=f"{kind.__name__} has answered"):
            await asked.acheck(SCOPE)
        with pytest.raises(InvalidPermission, match="return True or False"):
            await sync_to_async(asked.check)(SCOPE)


class Raising(Permission):
    def has_permission(self, scope, message_type=None):
        raise RuntimeError("the database is gone")


@pytest.mark.parametrize(
    "permission", [Raising(), ~Raising(), Raising() | AllowAny(), AllowAny() & Raising()]
)
async def test_what_it_raises_is_raised_and_not_turned_into_an_answer(permission):
    with pytest.raises(RuntimeError):
        await permission.acheck(SCOPE)
    with pytest.raises(RuntimeError):
        await sync_to_async(permission.check)(SCOPE)


class TestCombinations:
    @pytest.mark.parametrize("left", [True, False])
    @pytest.mark.parametrize("right", [True, False])
    async def test_both_either_and_the_opposite(self, left, right):
        a, b = Fixed(left), Async(right)
        for combined, expected in (
            (a & b, left and right),
            (a | b, left or right),
            (~a, not left),
            (~(a & ~b), not (left and not right)),
        ):
            assert await combined.acheck(SCOPE) is expected
            assert await sync_to_async(combined.check)(SCOPE) is expected
            assert await sync_to_async(combined.has_permission)(SCOPE) is expected

    async def test_no_more_is_asked_than_has_to_be(self):
        asked = []
        later = Fixed(True, asked)
        assert not await (Fixed(False) & later).acheck(SCOPE)
        assert await (Fixed(True) | later).acheck(SCOPE)
        assert not await sync_to_async((Fixed(False) & later).check)(SCOPE)
        assert await sync_to_async((Fixed(True) | later).check)(SCOPE)
        assert asked == []

    def test_a_class_stands_for_its_instance(self):
        assert repr(IsAuthenticated & IsStaff) == "IsAuthenticated() & IsStaff()"
        assert repr(IsAuthenticated() & IsStaff) == "IsAuthenticated() & IsStaff()"
        assert repr(IsAuthenticated | IsStaff()) == "IsAuthenticated() | IsStaff()"
        assert repr(~IsStaff) == "~IsStaff()"

    def test_a_class_can_still_be_an_annotation(self):
        assert isinstance(IsStaff | None, types.UnionType)

    def test_a_text_says_how_it_is_put_together(self):
        combined = (AllowAny | IsStaff) & ~(IsStaff & AllowAny) & ~AllowAny()
        text = "(AllowAny() | IsStaff()) & ~(IsStaff() & AllowAny()) & ~AllowAny()"
        assert repr(combined) == text

    def test_it_needs_a_user_if_one_of_its_parts_does(self):
        assert not (AllowAny() & ~Fixed(True)).needs_user
        assert (AllowAny() | ~IsStaff()).needs_user
        assert (IsAuthenticated() & Fixed(True)).needs_user

    @pytest.mark.parametrize("other", [None, "IsStaff", int, object()])
    def test_nothing_else_can_be_a_part(self, other):
        with pytest.raises(InvalidPermission, match="write for instance"):
            AllowAny() & other
        with pytest.raises(InvalidPermission):
            AllowAny() | other
        with pytest.raises(InvalidPermission):
            AllowAny & other


def test_one_that_answers_nothing_cannot_be_made():
    class Empty(Permission):
        pass

    with pytest.raises(TypeError, match="has_permission"):
        Empty()


def test_a_class_or_an_instance_is_a_permission():
    assert isinstance(as_permission(AllowAny), AllowAny)
    staff = IsStaff()
    assert as_permission(staff) is staff
    with pytest.raises(InvalidPermission, match="is no permission"):
        as_permission("IsStaff")


class TestTheAttributeOfAConsumer:
    @pytest.mark.parametrize("value", [IsStaff, IsStaff()])
    def test_it_is_a_permission(self, value):
        assert isinstance(entry_rule(value), IsStaff)

    def handler(self, event):
        """What a project may have for messages of the type ``permissions``."""

    @pytest.mark.parametrize("value", [None, handler, "chat.view", ["chat.view"], {}, 5])
    def test_something_else_of_that_name_says_nothing(self, value):
        assert entry_rule(value) is None

    def test_a_list_of_permissions_is_told_how_to_write_it(self):
        class Foreign:
            def has_permission(self, request, view):
                return True

        for value in ([IsStaff], (IsStaff(),), Foreign, Foreign(), [Foreign]):
            with pytest.raises(InvalidPermission, match="write for instance"):
                entry_rule(value)


class User:
    pk = 5

    def __init__(self, is_authenticated):
        self.is_authenticated = is_authenticated


class TestRefusals:
    def refusal(self, **scope):
        return IsStaff().refusal({"type": "http", **scope})

    def test_those_who_could_sign_in_get_401(self):
        reason = "it asks for IsStaff(), and nobody is signed in"
        assert self.refusal(user=User(False)) == (401, reason)

    def test_those_who_have_get_403(self):
        assert self.refusal(user=User(True)) == (
            403,
            "it asks for IsStaff(), which refuses the user 5",
        )

    def test_where_nobody_can_sign_in_everybody_gets_403(self):
        assert self.refusal() == (403, "it asks for IsStaff()")


def test_a_check_in_a_thread_waits_for_a_coroutine():
    assert async_to_sync(sync_to_async(Async(True).check))(SCOPE) is True
