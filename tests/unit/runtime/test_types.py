"""Two decorators for type checkers, which change nothing."""

from channels._runtime.types import any_arguments, any_name


def test_a_method_stays_itself():
    def method(self, argument):
        """A method."""

    assert any_name(method) is method
    assert any_arguments(method) is method
