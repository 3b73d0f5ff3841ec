import time
from datetime import UTC, datetime

import pytest

from channels.exceptions import InvalidArgument
from channels.security.tokens import Identity

from .helpers import ANNA


def test_what_a_token_says_is_shown_without_its_claims():
    identity = Identity(ANNA, time.time() + 59.6, {"secret": "hidden"}, verifier="Known")
    assert repr(identity) == "<Identity: user 1 by Known, expires in 60 s>"
    assert identity.expires_in < 60
    assert repr(Identity(None)) == "<Identity: user None by a verifier>"
    assert Identity(ANNA).expires_in is None


async def revoked():
    """No plain function."""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"expires_at": datetime.now(UTC)}, r"write timestamp\(\)"),
        ({"expires_at": True}, "in seconds since the epoch"),
        ({"token_id": 7}, "token_id must be text"),
        ({"is_revoked": revoked}, "is_revoked must be a plain function"),
        ({"is_revoked": True}, "is_revoked must be a plain function"),
    ],
)
def test_what_a_verifier_cannot_say(wrong, told):
    with pytest.raises(InvalidArgument, match=told):
        Identity(ANNA, **wrong)
    assert Identity(ANNA, 5, token_id="7", is_revoked=lambda: True).expires_in < 0
