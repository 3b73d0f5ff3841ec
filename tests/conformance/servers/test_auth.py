"""Who signs in over HTTP is known to the WebSocket."""

import json

import pytest

from .site import Site

pytestmark = pytest.mark.server


async def user_of(site: Site, flavour: str) -> str:
    """Who the WebSocket takes a client for that has our cookies."""
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in site.http.cookies.items())}
    client = await site.connect(f"{flavour}/auth/", additional_headers=headers)
    await client.send("!describe")
    return json.loads(await client.recv())["user"]


async def test_sign_in_and_out(site: Site, flavour):
    assert await user_of(site, flavour) == "AnonymousUser"

    response = await site.http.get("/login/", params={"name": "ada"})
    assert response.text == "ada"
    assert await user_of(site, flavour) == "ada"

    cookie = site.http.cookies["sessionid"]
    assert (await site.http.get("/logout/")).status_code == 200
    site.http.cookies.set("sessionid", cookie)  # a client that keeps what it should forget
    assert await user_of(site, flavour) == "AnonymousUser"


async def test_a_wrong_password(site: Site, flavour):
    assert (await site.http.get("/login/", params={"name": "eve"})).status_code == 403
    await site.expect_line("WARNING django.request: Forbidden: /login/")
    assert await user_of(site, flavour) == "AnonymousUser"


async def test_two_users_at_the_same_time(site: Site, flavour):
    await site.http.get("/login/", params={"name": "ada"})
    known = await site.connect(
        f"{flavour}/auth/",
        additional_headers={"Cookie": f"sessionid={site.http.cookies['sessionid']}"},
    )
    unknown = await site.connect(f"{flavour}/auth/")
    for client, name in ((known, "ada"), (unknown, "AnonymousUser")):
        await client.send("!describe")
        assert json.loads(await client.recv())["user"] == name
