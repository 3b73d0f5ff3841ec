"""The chat as people use it: a real server, a real browser, two people."""

import re

import pytest
from playwright.async_api import Page, expect

from .people import PHONE, People, picture
from .servers import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.server]

SCRIPT = "<img src=x onerror=\"document.title='hacked'\">"


async def enter(page: Page, room: str) -> None:
    """Go from the list of rooms into ``room``."""
    await page.get_by_role("main").get_by_role("link", name=room).click()
    await expect(page.get_by_role("heading", name=room)).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("Connected")
    await expect(page.get_by_role("log")).to_contain_text("You joined")


async def say(page: Page, text: str) -> None:
    await page.get_by_role("textbox").fill(text)
    await page.get_by_role("textbox").press("Enter")


async def expect_messages(page: Page, *texts: str) -> None:
    """Exactly these messages, in this order."""
    await expect(page.locator(".message .text")).to_have_text(list(texts))


async def expect_seen(page: Page, message: str, by: str) -> None:
    """That below ``message``, and nowhere else, it says who has seen it."""
    await expect(page.locator(".seen:not(:empty)")).to_have_text([f"Seen by {by}"])
    line = page.locator(".message").filter(has_text=message)
    await expect(line.locator(".seen")).to_have_text(f"Seen by {by}")


async def test_two_people_talk(people: People) -> None:
    alice = await people.sign_in("alice", "/chat/")
    bob = await people.sign_in("bob", "/chat/", PHONE, "dark")
    stranger = await people.sign_in("bob", "/chat/")
    await enter(stranger, "Random")
    await enter(bob, "Lobby")
    await enter(alice, "Lobby")
    await expect(bob.get_by_text("alice joined")).to_be_visible()
    await expect(bob.get_by_text("Nobody has said anything here yet")).to_be_visible()
    said: list[str] = []
    for page, text in [
        (alice, "Good morning! Is the new dashboard live already?"),
        (bob, "Yes, since eight. Orders now appear the moment they are placed."),
        (bob, SCRIPT),
        (alice, "Nice try, Bob. It is only text here."),
        (alice, "But I can see the orders ticking in. Beautiful."),
    ]:
        await say(page, text)
        said.append(text)
        for window in (alice, bob):
            await expect_messages(window, *said)
    await expect(bob.get_by_text("Nobody has said anything here yet")).to_be_hidden()
    assert await alice.title() == await bob.title() == "Lobby · Chat"
    await expect(alice.locator(".message").last).to_have_class(re.compile(r"\bown\b"))
    await expect(bob.locator(".message").last).not_to_have_class(re.compile(r"\bown\b"))
    await expect_seen(alice, said[-1], "bob")
    await bob.get_by_role("textbox").fill("No more")
    await expect(alice.get_by_text("bob is typing…")).to_be_visible()
    await expect(bob.get_by_text("typing")).to_have_count(0)
    await picture(alice, "chat", for_docs=True)
    await picture(bob, "chat-phone", for_docs=True)

    await bob.reload()
    await expect_messages(bob, *said)
    await expect(bob.get_by_role("textbox")).to_have_value("No more")
    await expect(alice.get_by_role("log")).to_contain_text("bob left")
    await bob.context.close()
    await expect(alice.locator(".notice").last).to_have_text("bob left")
    await expect(alice.get_by_text("bob is typing…")).to_have_count(0)
    await expect_messages(stranger)


async def test_typing_ends_with_the_message_or_by_itself(people: People) -> None:
    alice, bob = await people.sign_in("alice", "/chat/"), await people.sign_in("bob", "/chat/")
    await alice.clock.install()
    for page in (alice, bob):
        await enter(page, "Lobby")
    await bob.get_by_role("textbox").fill("Let me think")
    await expect(alice.get_by_text("bob is typing…")).to_be_visible()
    await alice.clock.fast_forward(6000)
    await expect(alice.get_by_text("bob is typing…")).to_have_count(0)
    await say(bob, "Yes.")
    await expect_messages(alice, "Yes.")
    await bob.get_by_role("textbox").fill("And")
    await expect(alice.get_by_text("bob is typing…")).to_be_visible()
    await say(bob, "And no.")
    await expect_messages(alice, "Yes.", "And no.")
    await expect(alice.get_by_text("bob is typing…")).to_have_count(0)


async def test_read_is_what_was_seen(people: People) -> None:
    alice, bob = await people.sign_in("alice", "/chat/"), await people.sign_in("bob", "/chat/")
    for page in (alice, bob):
        await enter(page, "Lobby")
    tall = "\n".join(["Long"] * 60)
    await say(alice, tall)
    await expect_seen(alice, "Long", "bob")
    await bob.get_by_role("log").evaluate("log => log.scrollTo(0, 0)")
    await say(alice, "Short")
    await expect(bob.locator(".message")).to_have_count(2)
    assert await bob.get_by_role("log").evaluate("log => log.scrollTop") == 0
    await expect_seen(alice, "Long", "bob")
    await bob.get_by_role("log").evaluate("log => log.scrollTo(0, log.scrollHeight)")
    await expect_seen(alice, "Short", "bob")
    await alice.reload()
    await expect_seen(alice, "Short", "bob")
    # An answer says that it was read.
    await say(bob, "Fine")
    await expect(alice.locator(".seen:not(:empty)")).to_have_count(0)
    await expect_seen(bob, "Fine", "alice")


async def test_server_restarts_and_the_conversation_goes_on(
    people: People, showcase: ServerProcess
) -> None:
    alice, bob = await people.sign_in("alice", "/chat/"), await people.sign_in("bob", "/chat/")
    for page in (alice, bob):
        await enter(page, "Lobby")
    await say(alice, "Before")
    await expect_messages(bob, "Before")
    showcase.stop()
    for page in (alice, bob):
        await expect(page.get_by_role("status")).to_have_text("Reconnecting…")
    await say(alice, "Said too early")
    await expect_messages(alice, "Before", "Said too early")
    await expect(alice.locator("#unsent .seen")).to_be_visible()
    await bob.get_by_role("textbox").fill("Not said yet")
    await picture(alice, "chat-away")
    showcase.start()
    await alice.reload()
    for page in (alice, bob):
        await expect(page.get_by_role("status")).to_have_text("Connected", timeout=20_000)
        await expect_messages(page, "Before", "Said too early")
        await expect(page.locator("#unsent .message")).to_have_count(0)
    await bob.get_by_role("button", name="Send").click()
    for page in (alice, bob):
        await expect_messages(page, "Before", "Said too early", "Not said yet")
    people.forgive("ERR_CONNECTION_REFUSED")


async def test_signing_out_leads_to_the_sign_in_page_and_loses_nothing(
    people: People, showcase: ServerProcess
) -> None:
    alice = await people.sign_in("alice", "/chat/")
    await enter(alice, "Lobby")
    room = alice.url
    await alice.get_by_role("textbox").fill("Where was I?")
    other_tab = await alice.context.new_page()
    await other_tab.goto(showcase.origin)
    await other_tab.get_by_role("button", name="Sign out").click()
    for page in (alice, other_tab):
        await expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    await alice.get_by_role("button", name="Continue as bob").click()
    await alice.wait_for_url(room)
    await expect(alice.get_by_role("status")).to_have_text("Connected")
    await expect(alice.get_by_role("textbox")).to_have_value("")
    await alice.get_by_role("button", name="Sign out").click()
    await alice.goto(room)
    await alice.get_by_role("button", name="Continue as alice").click()
    await alice.wait_for_url(room)
    await expect(alice.get_by_role("textbox")).to_have_value("Where was I?")


async def test_own_account_and_own_room_on_a_phone(people: People) -> None:
    context = await people.open_window(PHONE)
    page = await context.new_page()
    await page.goto(people.site.origin + "/sign-in/")
    await page.get_by_role("link", name="Create one").click()
    await page.get_by_label("Username").fill("carol")
    await page.get_by_label("Password:", exact=True).fill("correct-horse")
    await page.get_by_label("Password confirmation:").fill("correct-horse")
    await page.get_by_role("button", name="Create account").click()
    await page.get_by_role("link", name="Chat").click()
    await page.get_by_label("Open a new room").fill("Book club")
    await page.get_by_role("button", name="Open room").click()
    await expect(page.get_by_role("status")).to_have_text("Connected")
    await expect(page.get_by_role("log")).to_contain_text("Nobody has said anything here yet")
    for text in ("   ", "", "Chapter one:\nwho liked it?"):
        await say(page, text)
    await expect_messages(page, "Chapter one:\nwho liked it?")
    await say(page, "x" * 501)
    await expect_messages(page, "Chapter one:\nwho liked it?", "x" * 500)
    # A script passes the limit of the page, and meets that of the server.
    await page.get_by_role("textbox").evaluate("box => { box.value = 'x'.repeat(501) }")
    await page.get_by_role("textbox").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("at most 500 characters")
    await expect(page.get_by_role("textbox")).to_have_value("x" * 501)
    await expect(page.locator(".message")).to_have_count(2)
    # Neither this nor the box, which has grown, covers the last message.
    at_end = (
        "() => { const { scrollHeight, scrollTop, clientHeight } = document.querySelector('#log');"
    )
    await page.wait_for_function(at_end + " return scrollHeight - scrollTop - clientHeight < 2 }")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await page.evaluate(wide)
    await picture(page, "chat-refused-phone")
    await page.get_by_role("link", name="All rooms").click()
    await expect(page.get_by_role("link", name="Book club")).to_be_visible()
    await picture(page, "chat-rooms-phone")
