"""Limits with what was counted for them."""

from channels.security.limits.options import Limits
from channels.security.limits.policy import Policy


def test_what_limits_of_a_class_leave_out_is_counted_with_the_projects():
    project = Policy("CHANNELS_LIMITS", Limits(messages_per_connection="5/s", shared="default"))
    left = project.without(Limits(handshakes_per_address="1/s"))
    assert left.store is project.store
    assert left.shared is project.shared
    assert left.limits.given().keys() == {"messages_per_connection", "shared"}
