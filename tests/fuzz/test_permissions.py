"""Laws of permissions, for any combination of any parts."""

import asyncio

from asgiref.sync import async_to_sync
from hypothesis import given
from hypothesis import strategies as st

from channels.security.permissions import Permission

from . import fuzz


class Answer(Permission):
    """One part: what it answers is in the scope."""

    blocking = False

    def __init__(self, name):
        self.name = name

    def has_permission(self, scope, message_type=None):
        return scope[self.name]

    def __repr__(self):
        return self.name


class AsyncAnswer(Answer):
    async def has_permission(self, scope, message_type=None):
        await asyncio.sleep(0)
        return scope[self.name]


def combined(*kinds):
    return st.recursive(
        st.sampled_from([kind(name) for kind in kinds for name in "abcd"]),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
            st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
            inner.map(lambda one: ~one),
        ),
        max_leaves=12,
    )


rules = combined(Answer)
mixed = combined(Answer, AsyncAnswer)
scopes = st.fixed_dictionaries({name: st.booleans() for name in "abcd"})


def answer(rule, scope):
    return async_to_sync(rule.acheck)(scope)


@given(rules, rules, rules, scopes)
@fuzz
def test_they_obey_the_laws_of_logic(a, b, c, scope):
    for left, right in (
        (~~a, a),
        (a & b, b & a),
        (a | b, b | a),
        (a & (b & c), (a & b) & c),
        (a | (b | c), (a | b) | c),
        (~(a & b), ~a | ~b),
        (~(a | b), ~a & ~b),
        (a & (b | c), (a & b) | (a & c)),
    ):
        assert left.check(scope) is right.check(scope)


@given(rules, scopes)
@fuzz
def test_the_text_of_one_means_what_it_answers(rule, scope):
    """Python reads it with its own rules of precedence."""
    said = eval(repr(rule), {name: Answer(name) for name in "abcd"})
    assert said.check(scope) is rule.check(scope)


@given(mixed, scopes)
@fuzz
def test_it_answers_a_thread_as_it_answers_the_event_loop(rule, scope):
    assert rule.check(scope) is answer(rule, scope)
