"""Orders as a customer with two tabs and staff with two windows see them."""

import asyncio

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from .people import PHONE, PROJECT, People, picture
from .servers import ServerProcess, manage

pytestmark = [pytest.mark.e2e, pytest.mark.server]

# What a button of the first order does, without waiting for what the socket says.
PRESS = """async (to) => {
    const form = document.querySelector("#orders form");
    const body = new FormData(form);
    body.set("to", to);
    return (await fetch(form.action, { method: "POST", body })).status;
}"""


def first(page: Page) -> Locator:
    """The newest order on a page."""
    return page.locator("#orders > li").first


async def open_at(page: Page, path: str) -> None:
    await page.goto(path)
    await expect(page.locator("#status")).to_have_text("Connected")


async def press(page: Page, name: str) -> None:
    await first(page).get_by_role("button", name=name).click()


async def expect_step(name: str, *pages: Page) -> None:
    for page in pages:
        await expect(first(page).locator("[aria-current=step]")).to_have_text(name)


async def test_an_order_moves_on_in_every_tab(people: People) -> None:
    staff = await people.sign_in("bob", "/orders/all/")
    alice = await people.sign_in("alice", "/orders/", PHONE, "dark")
    await alice.get_by_label("What would you like?").select_option("Coffee beans, 1 kg")
    await alice.get_by_role("button", name="Order", exact=True).click()
    await expect(first(staff)).to_contain_text("Coffee beans, 1 kg")
    await expect(first(staff)).to_contain_text("alice")
    tab = await alice.context.new_page()
    await open_at(tab, alice.url)
    await expect_step("Placed", alice, tab, staff)

    await alice.bring_to_front()
    await first(alice).get_by_role("button", name="Pay").focus()
    await alice.keyboard.press("Enter")
    await expect_step("Paid", alice, tab, staff)
    await expect(first(alice)).to_be_focused()  # The button is gone, the place is not.
    await expect(tab.locator("#news")).to_have_text(r"Order 3: Paid")
    await press(staff, "Pack")
    await expect_step("Packed", alice, tab, staff)
    await expect(first(alice).get_by_role("button")).to_have_count(0)
    await press(staff, "Ship")
    await expect_step("Shipped", alice, tab, staff)
    await picture(alice, "orders-phone")

    await tab.get_by_label("What would you like?").select_option("Kettle")
    await tab.get_by_role("button", name="Order", exact=True).click()
    await expect(first(alice)).to_contain_text("Kettle")
    await press(alice, "Cancel")
    for page in (alice, tab, staff):
        await expect(first(page)).to_contain_text("Cancelled")
    await picture(staff, "orders", for_docs=True)


async def test_two_servers_and_two_who_press_at_the_same_moment(
    browser: Browser, two_servers: tuple[ServerProcess, ServerProcess]
) -> None:
    first_site, second_site = (People(browser, server) for server in two_servers)
    one = await first_site.sign_in("bob", "/orders/all/")
    two = await second_site.sign_in("alice", "/orders/all/")
    await expect_step("Paid", one, two)
    answers = await asyncio.gather(*(page.evaluate(PRESS, "packed") for page in (one, two) * 3))
    assert sorted(answers) == [204, 409, 409, 409, 409, 409]
    await expect_step("Packed", one, two)
    await expect(first(one)).to_have_attribute("data-version", "2")
    assert await one.evaluate(PRESS, "lost") == 400
    # One whose page does not know it yet is told why.
    await two.evaluate(
        """() => {
            const button = document.querySelector("#orders button[value=packed]");
            button.hidden = false;
            button.click();
        }"""
    )
    await expect(two.get_by_role("alert")).to_contain_text("is packed, so this is not possible.")
    for people in (first_site, second_site):
        people.forgive("409 (Conflict)")
        people.forgive("400 (Bad Request)")
        assert people.errors == []


async def test_a_page_that_was_away_sees_how_things_are(
    people: People, showcase: ServerProcess
) -> None:
    alice = await people.sign_in("alice", "/orders/")
    await expect_step("Paid", alice)
    showcase.stop()
    await expect(alice.locator("#status")).to_have_text("Reconnecting…")
    await press(alice, "Cancel")
    await expect(alice.get_by_role("alert")).to_have_text(
        "The server cannot be reached. Try again."
    )
    ship = "from orders.models import *; Order.objects.update(status='shipped', version=5)"
    manage(PROJECT, "shell", "-c", ship, env=showcase.env)
    showcase.start()
    await expect_step("Shipped", alice)
    await expect(alice.get_by_role("alert")).to_be_hidden()
    people.forgive("ERR_CONNECTION_REFUSED")

    # A press without a session leads to the sign-in page.
    await open_at(alice, f"{showcase.origin}/orders/")
    await alice.get_by_label("What would you like?").select_option("Kettle")
    await alice.get_by_role("button", name="Order", exact=True).click()
    await expect_step("Placed", alice)
    await alice.context.clear_cookies(name="sessionid")
    await press(alice, "Pay")
    await expect(alice.get_by_role("heading", name="Welcome")).to_be_visible()
