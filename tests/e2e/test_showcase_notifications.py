"""Notifications as people get them: two people, several tabs, the admin, and other processes."""

import re

import pytest
from playwright.async_api import Browser, Page, expect

from .people import PHONE, PROJECT, People, picture
from .servers import ServerProcess, manage

pytestmark = [pytest.mark.e2e, pytest.mark.server]

PAGE = "/notifications/"
SCRIPT = "<img src=x onerror=\"document.title='hacked'\">"


async def expect_told(page: Page, *texts: str) -> None:
    """Exactly these notifications, the newest first."""
    await expect(page.locator(".notification .text")).to_have_text(list(texts))


async def expect_unread(page: Page, count: int) -> None:
    """That the bell, the title and the list agree on what is unread."""
    name = f"Notifications, {count} unread" if count else "Notifications"
    await expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    await expect(page).to_have_title(f"({count}) Notifications" if count else "Notifications")
    await expect(page.locator(".notification.unread")).to_have_count(count)


async def tell(page: Page, person: str, text: str) -> None:
    await page.get_by_label("Person").select_option(label=person)
    await page.get_by_label("Text").fill(text)
    await page.get_by_role("button", name="Notify").click()


async def ready(page: Page) -> Page:
    """The page, when it is connected and shows what there was."""
    await expect(page.get_by_role("status")).to_have_text("Connected")
    await expect_told(page, "Welcome to the showcase.")
    return page


async def test_it_does_not_matter_who_saves_nor_in_which_tab_it_is_read(people: People) -> None:
    alice = await ready(await people.sign_in("alice", PAGE))
    bob = await ready(await people.sign_in("bob", PAGE, PHONE, "dark"))
    alices_other_tab = await alice.context.new_page()
    await alices_other_tab.goto(alice.url)
    tabs = (alice, await ready(alices_other_tab))
    for tab in tabs:
        await expect_unread(tab, 1)
    await bob.get_by_role("button", name="Mark as read").click()
    await expect_unread(bob, 0)
    await expect(bob.locator("#list")).to_be_focused()
    for text in ("Your table is ready.", "Lunch is at one."):
        await tell(bob, "alice", text)
    told = ["Lunch is at one.", "Your table is ready.", "Welcome to the showcase."]
    for tab in tabs:
        await expect_told(tab, *told)
        await expect_unread(tab, 3)

    admin = await people.sign_in("bob", "/admin/notifications/notification/add/")
    await admin.get_by_label("Person").select_option(label="alice")
    await admin.get_by_label("Text").fill("The invoice of March is paid.")
    await admin.get_by_role("button", name="Save", exact=True).click()
    for tab in tabs:
        await expect_told(tab, "The invoice of March is paid.", *told)
        await expect_unread(tab, 4)
    await alice.bring_to_front()  # Browsers let tabs behind others take their time.
    await alice.locator(".notification").last.get_by_role("button", name="Mark as read").click()
    await alice.locator(".notification").nth(1).get_by_role("button").click()
    for tab in tabs:
        await expect_unread(tab, 2)
    await picture(alice, "notifications", for_docs=True)
    await tell(alice, "bob", "Thank you!")
    await expect_told(bob, "Thank you!", "Welcome to the showcase.")
    await expect_unread(bob, 1)
    await picture(bob, "notifications-phone")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await bob.evaluate(wide)

    await alices_other_tab.bring_to_front()
    await alices_other_tab.get_by_role("button", name="Mark all as read").click()
    for tab in tabs:
        await expect_unread(tab, 0)
        await expect(tab.get_by_role("button", name="Mark all as read")).to_be_hidden()
    # The newest stands first in the admin's list.
    await admin.get_by_role("link", name="The invoice of March is paid.").first.click()
    await admin.get_by_role("link", name="Delete").click()
    await admin.get_by_role("button", name="Yes").click()
    for tab in tabs:
        await expect_told(tab, *told)
    people.forgive("404")  # The admin has no icon.


async def test_what_was_missed_comes_when_the_server_is_back(
    people: People, showcase: ServerProcess
) -> None:
    alice = await ready(await people.sign_in("alice", PAGE))
    bob = await ready(await people.sign_in("bob", PAGE))
    showcase.stop()
    for page in (alice, bob):
        await expect(page.get_by_role("status")).to_have_text("Reconnecting…")
    await tell(bob, "alice", "Are you there?")
    await expect(bob.get_by_role("alert")).to_contain_text("cannot be reached")
    await expect(bob.get_by_label("Text")).to_have_value("Are you there?")
    # While no page listens, and no server runs: the database is what counts.
    manage(PROJECT, "notify", "alice", "Backup done", env=showcase.env)
    showcase.start()
    for page in (alice, bob):
        await expect(page.get_by_role("status")).to_have_text("Connected", timeout=20_000)
    await expect_told(alice, "Backup done", "Welcome to the showcase.")
    await expect_unread(alice, 2)
    await bob.get_by_role("button", name="Notify").click()
    await expect_told(alice, "Are you there?", "Backup done", "Welcome to the showcase.")
    await expect(bob.get_by_role("alert")).to_have_count(0)
    people.forgive("ERR_CONNECTION_REFUSED")
    people.forgive("ERR_INCOMPLETE_CHUNKED_ENCODING")


async def test_a_proxy_that_answers_for_the_server_does_not_end_it(people: People) -> None:
    alice = await people.sign_in("alice")
    bad_gateway = re.compile("/stream/")
    await alice.route(bad_gateway, lambda route: route.fulfill(status=502))
    await alice.goto(people.site.origin + PAGE)
    await expect(alice.get_by_role("status")).to_have_text("Reconnecting…")
    await alice.unroute(bad_gateway)
    await expect(alice.get_by_role("status")).to_have_text("Connected", timeout=20_000)
    await expect_told(alice, "Welcome to the showcase.")
    people.forgive("502")


async def test_bad_input_and_a_lost_session(people: People) -> None:
    alice = await ready(await people.sign_in("alice", PAGE))
    text = alice.get_by_label("Text")
    # A script passes the limits of the page, and meets those of the server.
    await text.evaluate("field => { field.removeAttribute('maxlength'); field.required = false }")
    for words in ("", "x" * 201):
        await tell(alice, "bob", words)
        await expect(alice.get_by_role("alert")).to_be_visible()
        await expect(text).to_have_value(words)
    await tell(alice, "bob", SCRIPT)
    await expect(alice.get_by_role("alert")).to_have_count(0)
    other_tab = await alice.context.new_page()
    await other_tab.goto(people.site.origin)
    await other_tab.get_by_role("button", name="Sign out").click()
    for page in (alice, other_tab):
        await expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    await alice.get_by_role("button", name="Continue as bob").click()
    await alice.wait_for_url(people.site.origin + PAGE)
    await expect_told(alice, SCRIPT, "Welcome to the showcase.")
    await expect_unread(alice, 2)
    people.forgive("400")


async def test_any_process_may_save(
    browser: Browser, two_servers: tuple[ServerProcess, ServerProcess]
) -> None:
    first, second = (People(browser, server) for server in two_servers)
    alice = await ready(await first.sign_in("alice", PAGE))
    bob = await ready(await second.sign_in("bob", PAGE))
    await tell(bob, "alice", "From another server")
    await expect_told(alice, "From another server", "Welcome to the showcase.")
    manage(PROJECT, "notify", "alice", "From a command", env=two_servers[0].env)
    await expect(alice.locator(".notification .text").first).to_have_text("From a command")
    await expect_unread(alice, 3)
    assert first.errors == second.errors == []
