"""The data feed as people watch it."""

import re

import pytest
from playwright.async_api import Page, expect

from .people import PHONE, People, picture
from .servers import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.server]


async def number_of(page: Page) -> int:
    """The number of the last update that the page shows."""
    await expect(page.locator("#number")).to_have_text(re.compile(r"^\d+$"))
    return int(await page.locator("#number").inner_text())


async def expect_progress(page: Page, since: int, updates: int = 5) -> None:
    """The page goes on."""
    shown = "document.querySelector('#number').textContent"
    await page.wait_for_function(f"Number({shown}) >= {since + updates}")


async def test_two_people_see_the_same_prices(people: People) -> None:
    alice = await people.sign_in("alice", "/feed/")
    await expect(alice.get_by_role("status").first).to_have_text("Connected")
    await expect_progress(alice, await number_of(alice))
    bob = await people.sign_in("bob", "/feed/", PHONE, "dark")
    await expect_progress(bob, await number_of(alice))
    await bob.get_by_role("button", name="Pause").click()
    await expect(bob.get_by_text("Paused.")).to_be_visible()
    number = await number_of(bob)
    await expect_progress(alice, number)
    assert await number_of(bob) == number
    await bob.get_by_role("button", name="Continue").click()
    await expect_progress(bob, await number_of(alice))
    # A browser that is too slow gets the newest, and is told how many it has missed.
    await expect(bob.locator("#missed")).to_have_text(re.compile(r"^\d+$"))
    row = alice.get_by_role("row", name="Wheat")
    await expect(row.locator(".price")).to_have_text(re.compile(r"^\d+\.\d\d$"))
    await row.get_by_role("checkbox").uncheck()
    await alice.evaluate("scrollTo(0, 0)")
    await picture(alice, "feed", for_docs=True)
    await picture(bob, "feed-phone")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await bob.evaluate(wide)


async def test_the_server_restarts_and_the_chart_goes_on(
    people: People, showcase: ServerProcess
) -> None:
    page = await people.sign_in("alice", "/feed/")
    await expect_progress(page, 0, 10)
    showcase.stop()
    await expect(page.get_by_role("status").first).to_have_text("Reconnecting…")
    showcase.start()
    await expect(page.get_by_role("status").first).to_have_text("Connected", timeout=20_000)
    await expect_progress(page, 0, 10)
    await expect(page.locator("#problem")).to_be_empty()
    people.forgive("ERR_CONNECTION_REFUSED")
