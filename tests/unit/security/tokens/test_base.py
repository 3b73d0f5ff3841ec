import time

from channels.security.tokens import Identity

from .helpers import ANNA


def test_what_a_token_says_is_shown_without_its_claims():
    identity = Identity(ANNA, time.time() + 59.6, {"secret": "hidden"}, verifier="Known")
    assert repr(identity) == "<Identity: user 1 by Known, expires in 60 s>"
    assert identity.expires_in < 60
    assert repr(Identity(None)) == "<Identity: user None by a verifier>"
    assert Identity(ANNA).expires_in is None
