"""The devices as people see and steer them."""

import contextlib
import os
import re
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.processes import ServerProcess

from .people import PHONE, PROJECT, People, picture

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.server,
    pytest.mark.skipif(
        not (
            os.environ.get("CI")
            or find_spec("amqtt")
            or shutil.which("mosquitto", path=f"{os.environ.get('PATH')}:/usr/sbin")
        ),
        reason="no MQTT broker: install mosquitto",
    ),
]


def device(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem", name=name)


async def expect_online(page: Page, *names: str) -> None:
    for name in names:
        await expect(device(page, name).get_by_text("Online")).to_be_visible(timeout=20_000)


async def expect_offline(page: Page, *names: str) -> None:
    for name in names:
        await expect(device(page, name).get_by_text("Offline")).to_be_visible(timeout=20_000)


def child_named(name: str, parent: int) -> int | None:
    """The process of this name that ``parent`` has started, if it has."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and (folder / "comm").read_text().strip() == name:
                return int(folder.name)
    return None


async def test_two_people_steer_a_lamp(people: People) -> None:
    alice = await people.sign_in("alice", "/devices/")
    bob = await people.sign_in("bob", "/devices/", PHONE, "dark")
    for page in (alice, bob):
        await expect_online(page, "desk-lamp", "hall-lamp", "kitchen", "living-room")
    switch = device(alice, "desk-lamp").get_by_role("switch")
    await expect(switch).not_to_be_checked()
    await device(bob, "desk-lamp").get_by_role("switch").click()
    await expect(switch).to_be_checked()
    await device(alice, "desk-lamp").get_by_role("slider").fill("90")
    await expect(device(bob, "desk-lamp").get_by_role("slider")).to_have_value("90")
    await expect(device(bob, "kitchen").locator(".celsius")).to_have_text(
        re.compile(r"^\d+\.\d °C$")
    )
    await picture(alice, "devices", for_docs=True)
    await picture(bob, "devices-phone")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await bob.evaluate(wide)


async def test_devices_of_another_process_come_and_break_off(
    people: People, showcase: ServerProcess, tmp_path: Path
) -> None:
    page = await people.sign_in("alice", "/devices/")
    await expect_online(page, "desk-lamp")
    address = (await page.locator("#broker").inner_text()).rpartition(" ")[2]
    # It listens nowhere, so that it counts as started as soon as the broker accepts connections.
    port = int(address.rpartition(":")[2])
    command = ["manage.py", "simulate_devices", address]
    with ServerProcess(command, cwd=PROJECT, log=tmp_path / "log", env={}, port=port) as devices:
        await expect_online(page, "simulated-lamp-1", "simulated-room-1")
        await device(page, "simulated-lamp-1").get_by_role("switch").click()
        await expect(device(page, "simulated-lamp-1").get_by_role("switch")).to_be_checked()
        os.killpg(devices.process.pid, signal.SIGKILL)
        await expect_offline(page, "simulated-lamp-1", "simulated-room-1")
    assert "Traceback" not in devices.output, devices.output


async def test_the_broker_and_the_server_end_and_return(
    people: People, showcase: ServerProcess
) -> None:
    page = await people.sign_in("alice", "/devices/")
    await expect_online(page, "desk-lamp")
    await device(page, "desk-lamp").get_by_role("switch").click()
    await expect(device(page, "desk-lamp").get_by_role("switch")).to_be_checked()
    # Without mosquitto the broker is part of the server.
    if (mosquitto := child_named("mosquitto", showcase.process.pid)) is not None:
        os.kill(mosquitto, signal.SIGKILL)
        await expect(page.locator("#broker")).to_contain_text("is away")
        await expect_offline(page, "desk-lamp")
        await expect_online(page, "desk-lamp", "kitchen")
        await expect(device(page, "desk-lamp").get_by_role("switch")).to_be_checked()
        mosquitto = child_named("mosquitto", showcase.process.pid)
    showcase.stop()
    assert mosquitto is None or not Path(f"/proc/{mosquitto}").exists()
    await expect(page.get_by_role("status").first).to_have_text("Reconnecting…")
    showcase.start()
    await expect(page.get_by_role("status").first).to_have_text("Connected", timeout=20_000)
    await expect_online(page, "desk-lamp", "kitchen")
    await expect(device(page, "desk-lamp").get_by_role("switch")).not_to_be_checked()
    people.forgive("ERR_CONNECTION_REFUSED")
