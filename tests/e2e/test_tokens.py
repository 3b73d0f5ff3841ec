"""A browser that signs its sockets in: with a ticket, and with a token as a subprotocol."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.processes import environment
from tests.servers import ROOT, SERVERS, RunningServer

pytestmark = [pytest.mark.e2e, pytest.mark.server]

PREPARE = """
import tests.e2e.tokens_site
from django.core.management import call_command
call_command("migrate", verbosity=0)
"""


async def test_a_page_signs_its_sockets_in(browser: Browser, tmp_path: Path) -> None:
    extra = {"SITE_FOLDER": str(tmp_path)}
    prepare = [sys.executable, "-c", PREPARE]
    subprocess.run(prepare, cwd=ROOT, env=environment(**extra), check=True)
    with RunningServer(
        SERVERS["uvicorn"],
        "tests.e2e.tokens_site:application",
        log=tmp_path / "server.log",
        env=extra,
    ) as server:
        page = await browser.new_page()
        await page.goto(f"{server.origin}/?lifetime=3")
        lines = page.locator("#log li")
        for line in (
            "ticket open -",
            "ticket is anna",
            "token open channels.bearer",
            "token is anna",
            "token close 4419",
        ):
            await expect(lines.get_by_text(line, exact=True)).to_be_visible(timeout=20_000)
        await page.evaluate("fetch('/out/')")
        closed = lines.get_by_text("ticket close 4401", exact=True)
        await expect(closed).to_be_visible(timeout=20_000)
        assert await page.evaluate("byTicket.status") == "failed"
        await page.close()
