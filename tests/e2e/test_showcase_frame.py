"""What all pages of the showcase share: the index, accounts, and that a keyboard is enough."""

import pytest
from playwright.async_api import Page, expect

from .people import PHONE, People, picture

pytestmark = [pytest.mark.e2e, pytest.mark.server]


async def expect_no_sideways_scrolling(page: Page) -> None:
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await page.evaluate(wide), page.url


async def test_the_index_leads_to_every_app(people: People) -> None:
    alice = await people.sign_in("alice")
    await picture(alice, "showcase", for_docs=True)
    phone = await people.sign_in("bob", viewport=PHONE, scheme="dark")
    await picture(phone, "showcase-phone")
    await expect_no_sideways_scrolling(phone)
    cards = alice.get_by_role("main").get_by_role("listitem").get_by_role("link")
    links = await cards.evaluate_all("cards => cards.map(card => card.href)")
    assert len(links) > 1
    for link in links:
        for page in (alice, phone):
            answer = await page.goto(link)
            assert answer is not None
            assert answer.ok, link
            await expect(page.locator("h1")).to_have_count(1)
        await expect_no_sideways_scrolling(phone)
        await phone.get_by_role("link", name="Channels").click()
        await phone.wait_for_url(people.site.origin + "/")


async def test_a_keyboard_is_enough(people: People) -> None:
    context = await people.open_window(PHONE)
    page = await context.new_page()
    await page.goto(people.site.origin)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    first = page.get_by_role("main").get_by_role("link").first
    await expect(first).to_be_focused()
    assert await first.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
    await page.get_by_role("link", name="Sign in").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/sign-in/")
    await picture(page, "sign-in-phone")
    await page.get_by_role("button", name="Continue as bob").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url(people.site.origin + "/")
    await page.get_by_role("button", name="Sign out").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Welcome")).to_be_visible()


async def test_a_wrong_password_and_a_weak_one_are_told(people: People) -> None:
    context = await people.open_window(PHONE, "dark")
    page = await context.new_page()
    await page.goto(people.site.origin + "/sign-in/")
    await page.get_by_label("Username").fill("alice")
    await page.get_by_label("Password").fill("wrong")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(page.get_by_text("enter a correct username and password")).to_be_visible()
    await page.get_by_role("link", name="Create one").click()
    await page.get_by_label("Username").fill("alice")
    await page.get_by_label("Password:", exact=True).fill("short")
    await page.get_by_label("Password confirmation:").fill("short")
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_text("already exists")).to_be_visible()
    await expect(page.get_by_text("too short")).to_be_visible()
    await picture(page, "sign-up-phone")
    await expect_no_sideways_scrolling(page)
