"""The editor as people use it: two of them type in one document, with and without a server."""

import json

import pytest
from playwright.async_api import Browser, Page, WebSocketRoute, expect

from .people import PHONE, People, picture
from .servers import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.server]

PLAN = """\
Launch plan

On Monday we freeze the feature list.
On Tuesday we test with two servers and one Redis, and pull the plug of each.
On Wednesday we write the announcement.
"""


async def begin(page: Page, name: str) -> str:
    """Begin a document, and return its path."""
    await page.get_by_label("Begin a new document").fill(name)
    await page.get_by_role("button", name="Begin").click()
    await expect(page.get_by_role("textbox")).to_be_enabled()
    return page.url


async def open_at(page: Page, url: str) -> None:
    await page.goto(url)
    await expect(page.get_by_role("textbox")).to_be_enabled()


async def text_of(page: Page) -> str:
    return await page.get_by_role("textbox").input_value()


async def put_caret(page: Page, behind: str) -> None:
    """Put the caret behind the first ``behind``."""
    await page.get_by_role("textbox").evaluate(
        """(box, behind) => {
            box.focus();
            box.selectionStart = box.selectionEnd = box.value.indexOf(behind) + behind.length;
        }""",
        behind,
    )


async def expect_text(text: str, *pages: Page) -> None:
    for page in pages:
        await expect(page.get_by_role("textbox")).to_have_value(text)


async def test_two_people_type_in_one_document(people: People) -> None:
    alice = await people.sign_in("alice", "/editor/")
    bob = await people.sign_in("bob", "/editor/", PHONE, "dark")
    await open_at(bob, await begin(alice, "Launch plan"))
    await expect(alice.get_by_role("list", name="Who is here")).to_have_text("alice (you)bob")
    await alice.get_by_role("textbox").press_sequentially(PLAN)
    await expect_text(PLAN, alice, bob)

    # Both type at once, and each keeps their place in the text.
    await put_caret(bob, "feature list")
    await put_caret(alice, "announcement")
    for letter in ", please 😀":
        await alice.keyboard.insert_text(letter)
        await bob.keyboard.insert_text(letter.upper())
    expected = PLAN.replace("list", "list, PLEASE 😀").replace("ment", "ment, please 😀")
    await expect_text(expected, alice, bob)

    # Undo takes back one's own changes only.
    await alice.keyboard.press("Control+z")
    await expect_text(PLAN.replace("list", "list, PLEASE 😀"), alice, bob)
    await alice.keyboard.press("Control+Shift+z")
    await expect_text(expected, alice, bob)
    # Two characters with the same first half.
    await put_caret(bob, "PLEASE 😀")
    await bob.keyboard.press("Backspace")
    await bob.keyboard.insert_text("😁")
    await expect_text(expected.replace("PLEASE 😀", "PLEASE 😁"), alice, bob)
    await expect(alice.get_by_text("Saved", exact=True)).to_be_visible()
    await alice.wait_for_function(
        """() => {
            const mark = document.querySelector(".carets [data-user=bob]");
            return mark?.previousSibling.textContent.endsWith("PLEASE 😁");
        }"""
    )
    await picture(alice, "editor", for_docs=True)
    await picture(bob, "editor-phone")

    await bob.get_by_role("link", name="All documents").click()
    await expect(bob.get_by_role("link", name="Launch plan")).to_contain_text(
        "Launch plan On Monday"
    )
    await expect(alice.get_by_role("list", name="Who is here")).to_have_text("alice (you)")
    await picture(bob, "editor-list-phone")


async def test_two_servers_and_what_is_typed_without_any(
    browser: Browser, two_servers: tuple[ServerProcess, ServerProcess]
) -> None:
    first, second = (People(browser, server) for server in two_servers)
    alice = await first.sign_in("alice", "/editor/")
    bob = await second.sign_in("bob", "/editor/")
    url = await begin(alice, "Shopping list")
    await open_at(bob, url.replace(first.site.origin, second.site.origin))
    await alice.get_by_role("textbox").fill("Milk\nEggs\n")
    await expect_text("Milk\nEggs\n", bob)
    for server in two_servers:
        server.stop()
    for page in (alice, bob):
        await expect(page.locator("#status")).to_have_text("Reconnecting…")
    await put_caret(alice, "Milk")
    await alice.keyboard.insert_text(", two bottles")
    await put_caret(bob, "Eggs")
    await bob.keyboard.insert_text(" and bread")
    await put_caret(bob, "M")
    await bob.keyboard.press("Backspace")
    await bob.keyboard.insert_text("Oat m")
    await expect(alice.get_by_text("Not saved yet")).to_be_visible()
    for server in two_servers:
        server.start()
    for page in (alice, bob):
        await expect(page.get_by_text("Saved", exact=True)).to_be_visible(timeout=20_000)
    await expect_text("Oat milk, two bottles\nEggs and bread\n", alice, bob)
    await alice.reload()
    await expect_text("Oat milk, two bottles\nEggs and bread\n", alice)
    for people in (first, second):
        people.forgive("ERR_CONNECTION_REFUSED")
        assert people.errors == []


async def test_a_change_that_gets_lost_on_its_way(people: People) -> None:
    alice = await people.sign_in("alice", "/editor/")
    bob = await people.sign_in("bob", "/editor/")
    lost: list[str] = []

    def lose_the_first_change(socket: WebSocketRoute) -> None:
        def pass_on(frame: str) -> None:
            if json.loads(frame)["type"] == "update" and not lost:
                lost.append(frame)
            else:
                socket.send(frame)

        socket.connect_to_server().on_message(pass_on)

    url = await begin(alice, "Poem")
    await bob.route_web_socket("**/ws/editor/**", lose_the_first_change)
    await open_at(bob, url)
    await alice.get_by_role("textbox").press_sequentially("Roses")
    await expect(alice.get_by_text("Saved", exact=True)).to_be_visible()
    await alice.keyboard.insert_text(" are red")
    await expect_text("Roses are red", alice, bob)
    assert lost


async def test_bad_input(people: People) -> None:
    alice = await people.sign_in("alice", "/editor/")
    bob = await people.sign_in("bob", "/editor/")
    await open_at(bob, await begin(alice, "Diary"))
    await alice.get_by_role("textbox").fill("Dear diary")
    await expect_text("Dear diary", bob)
    # A script gets past the limit of the page, and meets that of the server.
    await alice.get_by_role("textbox").evaluate(
        "box => { box.value += 'x'.repeat(50_000); box.dispatchEvent(new Event('input')); }"
    )
    await expect(alice.get_by_role("alert")).to_contain_text("The document is full.")
    await expect_text("Dear diary", alice, bob)
    await put_caret(alice, "Dear")
    await alice.keyboard.insert_text("est")
    await expect_text("Dearest diary", alice, bob)
    # Frames that no page sends.
    answers = await alice.evaluate(
        """() => new Promise((done) => {
            const url = document.querySelector("#main").dataset.socket;
            const socket = new WebSocket(url);
            const seen = [];
            socket.onopen = () => {
                socket.send(JSON.stringify({ type: "update", update: "QUJD" }));
                socket.send(JSON.stringify({ type: "save" }));
                socket.send("no JSON");
            };
            socket.onmessage = ({ data }) => seen.push(JSON.parse(data).type);
            socket.onclose = ({ code }) => done([...seen.filter((type) => type !== "here"), code]);
        })"""
    )
    assert answers == ["refused", "error", 1007]
    await expect_text("Dearest diary", alice, bob)
