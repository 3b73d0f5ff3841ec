"""What a scope tells about where it comes from."""

import pytest

from channels._runtime.scopes import from_server, shares_connection


def test_a_server_is_known_by_its_scope():
    assert from_server({"type": "http", "asgi": {"version": "3.0"}})
    assert not from_server({"type": "http"})


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_http_1_has_the_connection_for_itself(version):
    assert not shares_connection({"http_version": version})


def test_a_scope_without_a_version_has_the_connection_for_itself():
    assert not shares_connection({})


@pytest.mark.parametrize("version", ["2", "2.0", "3", 2])
def test_requests_share_a_connection_from_http_2_on(version):
    assert shares_connection({"http_version": version})
