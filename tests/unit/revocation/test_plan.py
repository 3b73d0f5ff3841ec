"""The setting ``CHANNELS_REVOCATION``, and the check that reads it."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.checks import check_revocation
from channels.revocation.plan import Plan


def test_as_configured(settings):
    assert Plan.from_settings().interval == 300
    settings.CHANNELS_REVOCATION = {"INTERVAL": 30}
    assert Plan.in_force().interval == 30
    assert check_revocation(None) == []
    settings.CHANNELS_REVOCATION = None
    assert Plan.from_settings() is None


@pytest.mark.parametrize(
    "setting", [True, {"interval": 1}, {"INTERVAL": 0}, {"INTERVAL": True}, {"INTERVAL": "1"}]
)
def test_a_mistake_is_told_by_a_check_and_the_default_is_in_force(settings, setting):
    settings.CHANNELS_REVOCATION = setting
    with pytest.raises(ImproperlyConfigured, match="CHANNELS_REVOCATION"):
        Plan.from_settings()
    assert [error.id for error in check_revocation(None)] == ["channels.E016"]
    assert Plan.in_force().interval == 300
