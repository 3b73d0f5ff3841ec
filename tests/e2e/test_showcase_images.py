"""Images as people have them painted."""

import re

import pytest
from playwright.async_api import Page, expect

from .people import PHONE, People, picture
from .servers import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.server]

# Far more work than a test waits for: much of this is the inside, which no iteration leaves.
LONG = {"Zoom": "6", "Detail": "1000", "Centre, x": "-0.75", "Centre, y": "0.07"}


async def choose(page: Page, values: dict[str, str]) -> None:
    for label, value in values.items():
        await page.get_by_label(label).fill(value)


async def expect_state(page: Page, words: str) -> None:
    await expect(page.locator("#state")).to_have_text(words, timeout=20_000)


async def test_a_picture_is_painted_and_changed_in_two_windows(people: People) -> None:
    page = await people.sign_in("alice", "/images/")
    paint = page.get_by_role("button", name="Paint a new picture")
    await choose(page, {"Detail": "50"})
    await paint.click()
    await expect_state(page, "Done")
    await expect(page.locator("#percent")).to_have_text("100 %")
    await expect(page.get_by_role("img", name="Mandelbrot, Done")).to_be_visible()
    await picture(page, "images", for_docs=True)

    await choose(page, LONG)
    await expect_state(page, "Painting")
    phone = await people.sign_in("alice", "/images/", PHONE, "dark")
    await expect_state(phone, "Painting")
    await expect(phone.get_by_label("Zoom")).to_have_value("6")
    await expect(phone.locator("#picture")).to_have_attribute("src", re.compile("^data:image/webp"))
    await expect(phone.locator("#percent")).to_have_text(re.compile(r"^([5-9]|\d\d) %$"))
    await picture(phone, "images-phone")
    await phone.get_by_label("Colours").select_option("Fire")
    await phone.get_by_label("Zoom").fill("0")
    await phone.get_by_label("Detail").fill("25")
    for window in (phone, page):
        await expect_state(window, "Done")
    stranger = await people.sign_in("bob", "/images/")
    await expect(stranger.locator(".job")).to_have_count(0)

    await choose(page, LONG)
    await paint.click()
    await expect(phone.locator(".job")).to_have_count(2)
    await expect_state(page, "Painting")
    await page.get_by_role("button", name="Cancel").click()
    await expect_state(page, "Cancelled")
    await page.get_by_role("button", name="Remove").click()
    await expect(page.locator(".job")).to_have_count(1)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await phone.evaluate(wide)


async def test_the_server_restarts_and_the_picture_is_finished(
    people: People, showcase: ServerProcess
) -> None:
    page = await people.sign_in("alice", "/images/")
    await choose(page, LONG)
    await page.get_by_role("button", name="Paint a new picture").click()
    await expect_state(page, "Painting")
    showcase.stop()
    await expect(page.get_by_role("status").first).to_have_text("Reconnecting…")
    showcase.start()
    await expect(page.get_by_role("status").first).to_have_text("Connected", timeout=20_000)
    await choose(page, {"Zoom": "0", "Detail": "25"})
    await expect_state(page, "Done")
    # What the page would not send is refused, and said.
    await choose(page, {"Centre, x": "9"})
    await expect(page.get_by_role("alert")).to_contain_text("less than or equal to 2.5")
    people.forgive("ERR_CONNECTION_REFUSED")
