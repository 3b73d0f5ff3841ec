"""The live page in the admin of the showcase, on two processes that share a Redis."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from .people import DESKTOP, PHONE, PROJECT, ROOT, People, picture
from .servers import ServerProcess, manage

pytestmark = [pytest.mark.e2e, pytest.mark.server]

LIVE = "/admin/channels_admin/liveconnection/"
EVIL = '<img src=x onerror="document.title=1">'


async def evil_user(people: People, env: dict[str, str]) -> Page:
    """A person whose name is HTML, in the chat."""
    make = (
        "from django.contrib.auth.models import User; "
        f"User.objects.create_user({EVIL!r}, password='pw-of-evil')"
    )
    manage(PROJECT, "shell", "-c", make, env=env)
    context = await people.open_window(DESKTOP)
    page = await context.new_page()
    await page.goto(f"{people.site.origin}/sign-in/?next=/game/")
    await page.get_by_label("Username").fill(EVIL)
    await page.get_by_label("Password").fill("pw-of-evil")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url("**/game/")
    return page


async def test_the_page_shows_both_processes_and_disconnects(
    browser: Browser, two_servers: tuple[ServerProcess, ServerProcess]
) -> None:
    first, second = two_servers
    here, there = People(browser, first), People(browser, second)
    await there.sign_in("bob", "/feed/")
    await here.sign_in("alice", "/dashboard/")
    live = await here.sign_in("alice", LIVE)
    await expect(live.locator("#live-status")).to_have_text("Live")
    await expect(live.locator("#live-process-rows tr")).to_have_count(2)
    rows = live.locator("#live-connection-rows tr")
    await expect(rows).to_have_count(3)
    figures = 30 if os.environ.get("UPDATE_SCREENSHOTS") else 2  # for a line that is seen
    line = live.locator("[data-total=sent] polyline")
    drawn = re.compile(rf"(\S+ ){{{figures}}}")
    await expect(line).to_have_attribute("points", drawn, timeout=60_000)
    await picture(live, "live-page", for_docs=True)

    await evil_user(there, dict(second.env))
    names = live.locator("#live-user-rows")
    await expect(names).to_contain_text(EVIL)  # as text
    assert await live.locator("#live img").count() == 0

    await live.get_by_role("searchbox", name="Search").fill("bob")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("/ws/feed/")
    button = rows.get_by_role("button", name="Disconnect")
    ended = live.locator(f"[data-key='{await button.get_attribute('data-key')}']")
    await button.click()
    await expect(live.get_by_role("dialog")).to_contain_text("bob, /ws/feed/, 127.0.0.1")
    await live.get_by_role("button", name="Cancel").click()
    await expect(rows).to_have_count(1)
    await rows.get_by_role("button", name="Disconnect").click()
    await live.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
    await expect(live.locator("#live-note")).to_contain_text("Disconnected:")
    # The page of the feed signs in again, and comes back as another connection.
    await expect(ended).to_have_count(0)
    await live.goto(f"{first.origin}/admin/")
    await expect(live.locator("#recent-actions-module")).to_contain_text("channel ")

    phone = await here.sign_in("alice", LIVE, viewport=PHONE, scheme="dark")
    await expect(phone.locator("#live-process-rows tr")).to_have_count(2)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await phone.evaluate(wide)
    line = phone.locator("[data-total=connections] polyline")
    await expect(line).to_have_attribute("points", drawn, timeout=60_000)
    await picture(phone, "live-page-phone", for_docs=True)
    here.forgive("404 (Not Found)")  # /favicon.ico, which the admin has not
    assert here.errors == []


async def test_a_strict_content_security_policy_needs_no_exception(
    browser: Browser, database: Path, tmp_path: Path
) -> None:
    command = ["manage.py", "runserver", "--noreload", "{port}"]
    env = {
        "SHOWCASE_DATABASE": shutil.copy(database, tmp_path),
        "DJANGO_SETTINGS_MODULE": "tests.e2e.strict_settings",
        "PYTHONPATH": str(ROOT),
    }
    with ServerProcess(command, cwd=PROJECT, log=tmp_path / "server.log", env=env) as server:
        people = People(browser, server)
        await people.sign_in("bob", "/dashboard/")
        page = await people.sign_in("alice", LIVE)
        answer = await page.reload()
        assert answer is not None
        assert answer.headers["content-security-policy"] == "default-src 'self'"
        await expect(page.locator("#live-status")).to_have_text("Live")
        rows = page.locator("#live-connection-rows tr")
        await expect(rows.filter(has_text="/ws/dashboard/")).to_have_count(1)
        line = page.locator("[data-total=connections] polyline")
        await expect(line).to_have_attribute("points", re.compile(r"(\S+ ){2}"), timeout=60_000)
        await rows.first.get_by_role("button", name="Disconnect").click()
        await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        people.forgive("404 (Not Found)")  # /favicon.ico, which the admin has not
        assert people.errors == []  # where Chromium says what a policy has refused


async def test_a_page_whose_socket_is_not_there_says_what_to_write(people: People) -> None:
    context = await people.open_window(DESKTOP)
    page = await context.new_page()
    await page.goto(f"{people.site.origin}/sign-in/?next=/")
    await page.get_by_role("button", name="Continue as alice").click()
    await page.wait_for_url(people.site.origin + "/")

    async def elsewhere(route: Any) -> None:
        answer = await route.fetch()
        body = (await answer.text()).replace("/channels/live/", "/nowhere/")
        headers = {**answer.headers, "content-security-policy": "default-src 'self'"}
        await route.fulfill(response=answer, body=body, headers=headers)

    await page.route(f"**{LIVE}", elsewhere)
    await page.goto(people.site.origin + LIVE)
    await expect(page.get_by_text("Its path is /nowhere/")).to_be_visible(timeout=20_000)
    await expect(page.get_by_text("URLRouter([live_route(), …])")).to_be_visible()
    assert not [error for error in people.errors if "Content Security Policy" in error]
    people.errors.clear()  # of the handshakes that were refused
