import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Permission
from django.utils.functional import SimpleLazyObject

from channels.exceptions import InvalidArgument, TokenRefused
from channels.security.tokens.users import fingerprint, id_in, key_of, user_by, verify_fingerprint

from .helpers import User, create_user

pytestmark = pytest.mark.django_db


def test_users_are_found_by_a_field():
    anna = create_user()
    assert user_by("pk", key_of(anna)) == anna
    assert user_by("username", "anna") == anna


@pytest.mark.parametrize("value", ["77", "x", "9" * 50, None, [], {}, -1, "\x00"])
def test_whatever_else_is_no_user(value):
    create_user()
    with pytest.raises(TokenRefused, match="the user is gone"):
        user_by("pk", value)


def test_users_that_are_not_active_or_not_one():
    create_user("berta", is_active=False)
    with pytest.raises(TokenRefused, match="the user is not active"):
        user_by("username", "berta")
    for name in ("carla", "dora"):
        create_user(name, email="same@example.com")
    with pytest.raises(TokenRefused, match="several users have the same email"):
        user_by("email", "same@example.com")


def test_what_a_claim_calls_a_token():
    claims = {"jti": "a", "sid": 7, "odd": ["a"]}
    found = [id_in(claims, name) for name in ("jti", "sid", "odd", "none")]
    assert found == ["a", "7", None, None]


def test_a_fingerprint_ends_with_the_password(settings):
    anna = create_user()
    found = fingerprint(anna)
    verify_fingerprint(anna, found)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]
    verify_fingerprint(anna, found)
    anna.set_password("other")
    for wrong in (found, "", None, "é"):
        with pytest.raises(TokenRefused, match="the password has changed"):
            verify_fingerprint(anna, wrong)
    assert get_user_model()().pk is None


def test_users_without_a_session_hash_have_none():
    assert fingerprint(User()) == ""
    assert verify_fingerprint(User(), "anything") is None


@pytest.mark.parametrize("wrong", [None, 7, "anna", AnonymousUser(), Permission])
def test_what_is_no_user_of_the_project_has_no_key(wrong):
    with pytest.raises(InvalidArgument, match="user must be a user, a row of your user model"):
        key_of(wrong)


def test_a_user_has_a_key_when_it_is_saved():
    users = get_user_model()
    with pytest.raises(InvalidArgument, match="user must have a primary key; save <User: anna>"):
        key_of(users(username="anna"))
    assert key_of(SimpleLazyObject(lambda: users(pk=7))) == "7"
