"""Whether users may go on, where that cannot be asked or is nobody's to say."""

import logging
from types import SimpleNamespace

from channels.revocation import validity


def connection(**scope):
    return SimpleNamespace(scope=scope, consumer=SimpleNamespace())


async def test_a_user_that_is_no_row_of_the_database_may_go_on():
    robot = SimpleNamespace(pk=7, is_authenticated=True)
    assert await validity.refused([connection(user=robot)]) == {}


async def test_a_session_that_cannot_be_asked_for_has_not_vanished(caplog):
    def fail(key):
        raise OSError("the store is away")

    session = SimpleNamespace(session_key="a-key", exists=fail)
    gone = SimpleNamespace(session_key="another", exists=lambda key: False)
    ended = connection(session=gone)
    with caplog.at_level(logging.WARNING, "channels.revocation"):
        assert await validity.vanished([connection(session=session), ended]) == [ended]
    assert "cannot be found out (OSError: the store is away)" in caplog.text
