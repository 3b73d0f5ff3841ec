"""What a scope tells about where it comes from."""

from channels._runtime.scopes import from_server


def test_a_server_is_known_by_its_scope():
    assert from_server({"type": "http", "asgi": {"version": "3.0"}})
    assert not from_server({"type": "http"})
