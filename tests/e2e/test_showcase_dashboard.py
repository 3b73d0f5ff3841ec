"""The dashboard as the people who run the site see it."""

import re

import pytest
from playwright.async_api import expect

from .people import PHONE, People, picture
from .servers import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.server]


async def test_it_shows_what_people_do(people: People) -> None:
    alice = await people.sign_in("alice", "/dashboard/")
    row = alice.get_by_role("row", name="DashboardConsumer")
    await expect(row).to_have_text(re.compile(r"websocket\s*1$"))
    bob = await people.sign_in("bob", "/dashboard/", PHONE, "dark")
    await expect(row).to_have_text(re.compile(r"websocket\s*2$"))
    watcher = await people.sign_in("bob", "/feed/")
    await expect(alice.get_by_role("row", name="WatcherConsumer websocket 1")).to_be_visible()
    # The feed brings twenty messages a second.
    rate = "Number(document.querySelector('#rate').textContent)"
    await alice.wait_for_function(f"{rate} >= 10")
    await picture(alice, "dashboard", for_docs=True)
    await picture(bob, "dashboard-phone")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await bob.evaluate(wide)
    await bob.context.close()
    await watcher.context.close()
    await expect(row).to_have_text(re.compile(r"websocket\s*1$"))


async def test_another_process_is_told_from_the_first(
    people: People, showcase: ServerProcess
) -> None:
    page = await people.sign_in("alice", "/dashboard/")
    await expect(page.locator("#pid")).to_have_text(str(showcase.process.pid))
    showcase.stop()
    await expect(page.get_by_role("status")).to_have_text("Reconnecting…")
    showcase.start()
    await expect(page.get_by_role("status")).to_have_text("Connected", timeout=20_000)
    await expect(page.locator("#pid")).to_have_text(str(showcase.process.pid))
    people.forgive("ERR_CONNECTION_REFUSED")
