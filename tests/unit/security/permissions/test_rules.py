"""What each permission lets in, and what it asks the database for."""

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.contrib.auth.models import Permission as DjangoPermission

from channels.exceptions import InvalidPermission, ScopeError
from channels.messages.refusals import forbidden
from channels.security.permissions import (
    AllowAny,
    HasPermission,
    InGroup,
    IsAnonymous,
    IsAuthenticated,
    IsStaff,
    IsSuperuser,
    UserPermission,
    forget_permissions,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return get_user_model().objects.create_user("alice", password="secret")


@pytest.fixture(params=["async", "sync"])
def ask(request):
    """Ask a permission about a user, as an async or a sync consumer does."""

    def ask(permission, user, scope=None, message_type=None):
        scope = {"type": "websocket"} if scope is None else scope
        scope["user"] = user
        if request.param == "sync":
            return permission.check(scope, message_type)
        return async_to_sync(permission.acheck)(scope, message_type)

    return ask


def changed(user, **fields):
    for name, value in fields.items():
        setattr(user, name, value)
    user.save()
    return user


def grant(user, name):
    user.user_permissions.add(DjangoPermission.objects.get(codename=name))


def test_everybody(ask):
    assert ask(AllowAny(), None) is True


def test_those_who_have_signed_in_and_those_who_have_not(ask, alice):
    assert ask(IsAuthenticated(), alice) is True
    assert ask(IsAuthenticated(), AnonymousUser()) is False
    assert ask(IsAnonymous(), alice) is False
    assert ask(IsAnonymous(), AnonymousUser()) is True


@pytest.mark.parametrize(
    ("permission", "flag"), [(IsStaff(), "is_staff"), (IsSuperuser(), "is_superuser")]
)
def test_flags_of_active_users(ask, alice, permission, flag):
    assert ask(permission, AnonymousUser()) is False
    assert ask(permission, alice) is False
    assert ask(permission, changed(alice, **{flag: True})) is True
    assert ask(permission, changed(alice, is_active=False)) is False


def test_permissions_of_django(ask, alice):
    both = HasPermission("auth.add_user", "auth.change_user")
    assert ask(HasPermission("auth.add_user"), AnonymousUser()) is False
    assert ask(HasPermission("auth.add_user"), alice) is False
    grant(alice, "add_user")
    found = get_user_model().objects.get(pk=alice.pk)
    assert ask(HasPermission("auth.add_user"), found) is True
    assert ask(both, found) is False
    group = Group.objects.create(name="editors")
    group.permissions.add(DjangoPermission.objects.get(codename="change_user"))
    alice.groups.add(group)
    assert ask(both, get_user_model().objects.get(pk=alice.pk)) is True
    assert ask(both, changed(alice, is_active=False)) is False
    assert repr(both) == "HasPermission('auth.add_user', 'auth.change_user')"


@pytest.mark.parametrize("name", ["change_user", "auth.", ".change_user", "", 5, None])
def test_a_permission_is_named_as_django_names_it(name):
    with pytest.raises(InvalidPermission, match=r"app\.codename"):
        HasPermission("auth.add_user", name)


def test_groups(ask, alice):
    rule = InGroup("editors", "authors")
    assert ask(rule, AnonymousUser()) is False
    assert ask(rule, alice) is False
    alice.groups.add(Group.objects.create(name="authors"))
    assert ask(rule, alice) is True
    assert ask(InGroup("editors"), alice) is False
    assert ask(rule, changed(alice, is_active=False)) is False
    assert repr(rule) == "InGroup('editors', 'authors')"


@pytest.mark.parametrize("names", [("",), (None,), ("editors", 5), (["editors"],)])
def test_groups_have_names(names):
    with pytest.raises(InvalidPermission, match="The name of a group must be text"):
        InGroup(*names)


def test_none_is_nobody_as_middleware_of_projects_has_it(ask):
    assert ask(IsAnonymous(), None) is True
    for permission in (IsAuthenticated(), IsStaff(), HasPermission("auth.add_user"), InGroup("a")):
        assert ask(permission, None) is False
        assert permission.refusal({"user": None})[0] == 401
        assert forbidden({"user": None}).code == "unauthorized"


@pytest.mark.parametrize("permission", [IsAuthenticated(), IsAnonymous(), IsStaff()])
def test_without_a_user_in_the_scope_it_says_which_middleware_is_missing(permission):
    assert permission.needs_user
    with pytest.raises(ScopeError, match=r"AuthMiddlewareStack\(\.\.\.\)"):
        permission.check({"type": "websocket"})
    with pytest.raises(ScopeError, match=type(permission).__name__):
        async_to_sync(permission.acheck)({"type": "websocket"})


class TestWhatIsRemembered:
    RULE = HasPermission("auth.add_user") & InGroup("editors") & IsStaff()

    @pytest.fixture
    def editor(self, alice):
        grant(alice, "add_user")
        alice.groups.add(Group.objects.create(name="editors"))
        changed(alice, is_staff=True)
        return get_user_model().objects.get(pk=alice.pk)

    @pytest.fixture
    def queries(self, django_assert_num_queries):
        return django_assert_num_queries

    def test_messages_do_not_ask_the_database(self, ask, editor, queries):
        scope = {"type": "websocket"}
        assert ask(self.RULE, editor, scope)
        with queries(0):
            assert ask(self.RULE, editor, scope, "chat.send")
            assert ask(self.RULE, editor, scope, "chat.send")

    def test_a_user_who_connects_has_just_been_fetched(self, ask, editor, queries):
        with queries(3):  # permissions of the user, those of the groups, and the group
            assert ask(self.RULE, editor)
        with queries(0):
            assert ask(IsStaff(), editor)

    def test_the_first_message_fetches_a_user_of_whom_nothing_was_asked_yet(self, ask, editor):
        get_user_model().objects.filter(pk=editor.pk).update(is_staff=False)
        assert ask(IsStaff(), editor, message_type="chat.send") is False

    def test_after_a_while_the_user_is_fetched_anew(self, ask, editor, monkeypatch):
        scope, rule = {"type": "websocket"}, IsStaff() & HasPermission("auth.add_user")
        assert ask(rule, editor, scope)
        get_user_model().objects.filter(pk=editor.pk).update(is_staff=False)
        assert ask(rule, editor, scope, "chat.send")
        monkeypatch.setattr(UserPermission, "max_age", 0.0)
        assert not ask(rule, editor, scope, "chat.send")
        get_user_model().objects.filter(pk=editor.pk).update(is_staff=True)
        assert ask(rule, editor, scope, "chat.send")
        editor.user_permissions.clear()
        assert not ask(rule, editor, scope, "chat.send")

    def test_it_can_be_asked_by_another_permission(self, editor):
        scope = {"type": "websocket", "user": editor}
        assert InGroup("editors").has_permission(scope) is True

    def test_one_rule_may_be_asked_more_often_than_others(self, ask, editor):
        class Exact(IsStaff):
            max_age = 0.0

        scope, exact, staff = {"type": "websocket"}, Exact(), IsStaff()
        assert ask(staff & exact, editor, scope)
        get_user_model().objects.filter(pk=editor.pk).update(is_staff=False)
        assert ask(staff, editor, scope, "chat.send")
        assert not ask(exact, editor, scope, "chat.send")
        assert not ask(staff, editor, scope, "chat.send")  # who has been fetched for the other

    def test_it_can_be_forgotten(self, ask, editor):
        scope = {"type": "websocket"}
        assert ask(InGroup("editors"), editor, scope)
        rule = InGroup("editors")
        assert ask(rule, editor, scope)
        editor.groups.clear()
        assert ask(rule, editor, scope, "chat.send")
        forget_permissions(scope)
        assert not ask(rule, editor, scope, "chat.send")
        forget_permissions({"type": "websocket"})

    def test_another_user_is_asked_anew(self, ask, editor):
        scope = {"type": "websocket"}
        rule = IsStaff()
        assert ask(rule, editor, scope)
        assert not ask(rule, AnonymousUser(), scope, "chat.send")
        assert not ask(rule, get_user_model().objects.create_user("bob"), scope, "chat.send")

    def test_a_deleted_user_may_nothing(self, ask, editor):
        scope = {"type": "websocket"}
        get_user_model().objects.filter(pk=editor.pk).delete()
        assert not ask(IsStaff(), editor, scope, "chat.send")

    def test_a_user_of_no_table_is_asked_as_is(self, ask):
        class TokenUser:
            pk = 7
            is_active = is_staff = is_authenticated = True

        assert ask(IsStaff(), TokenUser(), message_type="chat.send")

    def test_an_answer_is_true_or_false(self, ask, editor):
        class Unfinished(UserPermission):
            def allows(self, user):
                pass

        with pytest.raises(InvalidPermission, match="Unfinished has answered NoneType"):
            ask(Unfinished(), editor)
        assert ask(IsStaff(), editor)


def test_no_thread_is_asked_for_what_is_remembered(alice, monkeypatch):
    from channels._runtime import threads

    calls = []
    original = threads.run

    async def run(function, *arguments, **options):
        calls.append(function)
        return await original(function, *arguments, **options)

    monkeypatch.setattr(threads, "run", run)
    scope = {"type": "websocket", "user": alice}
    rule = HasPermission("auth.add_user")
    for message_type in (None, "a", "b"):
        async_to_sync(rule.acheck)(scope, message_type)
    assert len(calls) == 1
    for permission in (IsAuthenticated(), IsAnonymous(), AllowAny(), IsStaff()):
        async_to_sync(permission.acheck)(scope)
    assert len(calls) == 1
