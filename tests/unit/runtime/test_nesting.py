"""What an application wraps. The forms of middleware that routers see through: test_routing.py."""

import functools

import pytest

from channels._runtime.nesting import inside, is_wsgi, routes_further


class Holding:
    def __init__(self, *held):
        self.held = list(held)

    def __call__(self):
        pass


def test_the_nearest_come_first_and_each_once():
    far = Holding()
    near = functools.partial(Holding(), far)
    outer = Holding(near, near)
    assert list(inside(outer)) == [outer, near, near.func, far]


def test_a_variable_that_has_no_value_yet_holds_nothing():
    def middleware():
        def application():
            return inner, known

        known = Holding()
        yield application
        inner = None

    application = next(middleware())
    found = list(inside(application))
    assert found[0] is application
    assert [type(held) for held in found[1:]] == [Holding]


def test_the_search_ends_however_much_there_is():
    assert len(list(inside(Holding(*(Holding() for _ in range(3000)))))) == 1000


@pytest.mark.parametrize(("says", "routes"), [(True, True), (1, False), (False, False)])
def test_a_router_says_that_it_is_one(says, routes):
    router = type("Router", (Holding,), {"_path_routing": says})
    assert routes_further(Holding(router())) is routes


@pytest.mark.parametrize(
    ("application", "wsgi"),
    [
        (lambda environ, start_response: None, True),
        (lambda scope, receive, send: None, False),
        (lambda *arguments: None, False),
        (7, False),
        (type("Opaque", (), {"__signature__": "none", "__call__": lambda self: None})(), False),
    ],
)
def test_a_wsgi_application_takes_two_arguments(application, wsgi):
    assert is_wsgi(application) is wsgi
