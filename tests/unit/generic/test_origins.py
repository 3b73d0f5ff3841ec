import pytest

from channels.generic._origins import cross_origin_headers, origin_refusal, origin_validator


def scope_with(**headers):
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": pairs}


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "cross-site"}, True),
        ({"origin": "https://good.example"}, False),
        ({"origin": "https://good.example", "sec_fetch_site": "cross-site"}, False),
        ({"origin": "https://bad.example"}, True),
        ({"origin": "null"}, True),
        ({"Origin": "https://bad.example"}, True),
    ],
)
def test_which_pages_are_refused(headers, refused):
    validator = origin_validator(["https://good.example"])
    assert (origin_refusal(validator, scope_with(**headers)) is not None) is refused


def test_two_origins_are_refused():
    scope = scope_with(origin="https://good.example")
    scope["headers"] *= 2
    assert origin_refusal(origin_validator(["https://good.example"]), scope) is not None


def test_by_default_those_of_the_allowed_hosts_are_allowed(settings):
    settings.ALLOWED_HOSTS = ["good.example"]
    validator = origin_validator(None)
    assert origin_refusal(validator, scope_with(origin="https://good.example")) is None
    assert "bad.example" in origin_refusal(validator, scope_with(origin="https://bad.example"))


def test_a_page_of_another_origin_may_read_what_it_was_allowed_to():
    assert cross_origin_headers(scope_with()) == []
    headers = dict(cross_origin_headers(scope_with(origin="https://good.example")))
    assert headers[b"access-control-allow-origin"] == b"https://good.example"
