"""What a connection knows of its user: how old that is, and when it is learned anew."""

from channels._runtime import clock
from channels.security.permissions import IsStaff
from channels.security.permissions.users import known_user


class User:
    pk = 1
    is_active = is_staff = True


def test_a_user_who_connects_is_new_and_one_who_sends_is_old(monkeypatch):
    user = User()
    monkeypatch.setattr(clock, "now", lambda: 5.0)
    known = known_user({}, user, None)
    assert known.age() == 0.0
    monkeypatch.setattr(clock, "now", lambda: 12.0)
    assert known.age() == 7.0
    old = known_user({}, user, "chat.send")
    assert old.age() == float("inf")
    assert old.ask(IsStaff()) is True
    assert old.age() == 0.0


def test_what_is_known_stays_in_the_scope_until_somebody_else_signs_in():
    scope, user = {}, User()
    known = known_user(scope, user, None)
    assert known_user(scope, user, "chat.send") is known
    assert known_user(dict(scope), user, "chat.send") is known
    assert known_user(scope, User(), "chat.send") is not known


def test_answers_are_remembered():
    known, rule = known_user({}, User(), None), IsStaff()
    assert known.answers == {}
    assert known.ask(rule)
    assert known.answers == {rule: True}
