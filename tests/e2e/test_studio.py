"""The studio: pictures that background tasks paint, and whoever ordered them watches."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from urllib.parse import urljoin

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.brokers import running as running_broker

from .people import PHONE, People, picture
from .servers import EXAMPLES, ServerProcess, environment, manage

pytestmark = [pytest.mark.e2e, pytest.mark.server]

PROJECT = EXAMPLES / "studio"
SERVER = ["manage.py", "runserver", "--noreload", "{port}"]
# Passes: two seconds of painting, and more than a test takes.
SHORT, LONG = 20, 240
# Milliseconds in which a picture is finished, also on a machine that has much else to do.
PAINTED = 30_000


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the demo's customers and no order, to be copied."""
    path = tmp_path_factory.mktemp("studio") / "db.sqlite3"
    env = {"STUDIO_DATABASE": str(path)}
    manage(PROJECT, "migrate", "--verbosity=0", env=env)
    manage(PROJECT, "create_demo", env=env)
    return path


@pytest.fixture
def env(tmp_path: Path, new_database: Path) -> dict[str, str]:
    return {"STUDIO_DATABASE": shutil.copy(new_database, tmp_path), "STUDIO_PAUSE": "0.1"}


@pytest.fixture
def studio(tmp_path: Path, env: dict[str, str]) -> Iterator[ServerProcess]:
    """The studio as `make studio` starts it: one process."""
    with ServerProcess(SERVER, cwd=PROJECT, log=tmp_path / "server.log", env=env) as server:
        yield server
        server.kill()  # Told to stop, it would first give some seconds to its painters.
    assert "Traceback" not in server.output, server.output


@pytest_asyncio.fixture(loop_scope="session")
async def customers(browser: Browser, studio: ServerProcess) -> AsyncIterator[People]:
    customers = People(browser, studio)
    yield customers
    assert customers.errors == [], list(customers.errors)


@cache
def painting_module() -> ModuleType:
    """The module of the example that paints."""
    path = PROJECT / "studio" / "painting.py"
    spec = importlib.util.spec_from_file_location("studio_painting", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def choose(page: Page, **sliders: int) -> None:
    for label, value in sliders.items():
        await page.get_by_label(label.capitalize()).fill(str(value))


async def order(page: Page, palette: str, flow: str, **sliders: int) -> Locator:
    """Order a picture, and return its card."""
    await page.get_by_text(palette, exact=True).click()
    await page.get_by_text(flow, exact=True).click()
    await choose(page, **sliders)
    await page.get_by_role("button", name=re.compile("^Order")).click()
    card = card_of(page, f"{flow} in {palette}")
    await expect(card).to_be_visible()
    return card


async def order_by_keyboard(page: Page) -> Locator:
    """Order petals in ember, with 40 passes, without a mouse."""
    await page.get_by_label("Dawn").focus()
    keys = ["ArrowRight"] * 3 + ["Tab", "ArrowRight", "ArrowRight"]  # the palette, the flow
    keys += ["Tab", "Tab", "Home", "ArrowRight", "ArrowRight"]  # past the density, the detail
    keys += ["Tab", "ControlOrMeta+a", "3", "Enter"]  # the seed
    for key in keys:
        await page.keyboard.press(key)
    card = card_of(page, "Petals in Ember")
    await expect(card).to_be_visible()
    return card


def card_of(page: Page, title: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=title))


async def expect_state(card: Locator, words: str) -> None:
    await expect(card.get_by_role("status")).to_have_text(words, timeout=PAINTED)


async def expect_preview(card: Locator) -> None:
    await expect(card.get_by_role("img")).to_have_attribute(
        "src", re.compile("^data:image/webp;base64,"), timeout=PAINTED
    )


async def test_a_customer_watches_and_changes_pictures_in_two_tabs(customers: People) -> None:
    page = await customers.sign_in("ada", "/")
    await expect(page.get_by_text("Your pictures will hang here")).to_be_visible()
    sketches = [
        await order(page, "Lagoon", "Petals", detail=SHORT, density=80, seed=9),
        await order(page, "Ember", "Hills", detail=SHORT, density=80, seed=14),
    ]
    for card in sketches:
        await expect_state(card, "Done")
    first = await order(page, "Meadow", "Hills", detail=LONG, density=40, seed=5)
    second = await order(page, "Dawn", "Waves", detail=LONG, seed=7)
    waiting = await order(page, "Ember", "Whirls", detail=LONG, seed=13)
    for card in (first, second):
        await expect_preview(card)
    await expect_state(waiting, "Ordered")

    # A tab that comes late is told the last state, and what is new from then on.
    phone = await customers.sign_in("ada", "/", PHONE, "dark")
    on_phone = card_of(phone, "Hills in Meadow")
    await expect_preview(on_phone)
    await expect_state(on_phone, "Painting")
    await expect_state(card_of(phone, "Petals in Lagoon"), "Done")
    await expect(phone.get_by_role("listitem").get_by_role("heading")).to_have_text(
        [
            "Whirls in Ember",
            "Waves in Dawn",
            "Hills in Meadow",
            "Hills in Ember",
            "Petals in Lagoon",
        ]
    )
    stranger = await customers.sign_in("grace", "/")
    await expect(stranger.get_by_text("Your pictures will hang here")).to_be_visible()

    # A change begins at once, although another order waits, and in both tabs.
    await first.get_by_role("button", name="Change").click()
    await page.get_by_text("Paper", exact=True).click()
    await page.get_by_text("Whirls", exact=True).click()
    for tab in (page, phone):
        changed = card_of(tab, "Whirls in Paper")
        await expect_state(changed, "Painting")
        await expect(card_of(tab, "Hills in Meadow")).to_have_count(0)
    await expect_preview(changed)
    await expect_state(card_of(page, "Whirls in Ember"), "Ordered")
    await picture(page, "studio", for_docs=True)
    await changed.scroll_into_view_if_needed()
    await picture(phone, "studio-phone")

    # Who cancels in one tab sees it in the other, and can go on there.
    await second.get_by_role("button", name="Cancel").click()
    on_phone = card_of(phone, "Waves in Dawn")
    await expect_state(on_phone, "Cancelled")
    await expect_state(waiting, "Painting")
    await choose(page, detail=SHORT)
    for tab in (page, phone):
        finished = card_of(tab, "Whirls in Paper")
        await expect_state(finished, "Done")
        await expect(finished.get_by_role("img")).to_have_attribute(
            "src", re.compile(r"^/orders/\d+/picture/")
        )
    await on_phone.get_by_role("button", name="Go on").click()
    await expect_state(second, "Painting")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await phone.evaluate(wide)
    await expect(stranger.get_by_role("listitem")).to_have_count(0)
    # What the page would not send is refused, and said.
    await page.get_by_label("Seed").fill("0")
    await page.get_by_role("button", name="Order as a new one").click()
    await expect(page.get_by_role("alert")).to_contain_text("greater than or equal to 1")
    customers.forgive("400 (Bad Request)")


async def test_a_picture_is_finished_after_the_server_was_killed(
    customers: People, studio: ServerProcess
) -> None:
    page = await customers.sign_in("ada", "/")
    card = await order_by_keyboard(page)
    await expect(card.locator(".passes")).to_have_text(re.compile(r"^Pass [23]\d "))
    studio.kill()
    await expect(page.get_by_role("status").first).to_have_text("Reconnecting…")
    studio.start()
    await expect(page.get_by_role("status").first).to_have_text("Connected", timeout=PAINTED)
    await expect_state(card, "Done")
    await expect_as_painted_without_interruption(page, card)
    customers.forgive("ERR_CONNECTION_REFUSED")


async def expect_as_painted_without_interruption(page: Page, card: Locator) -> None:
    """The picture has all passes, each of them once."""
    orders = await page.request.get(urljoin(page.url, "/orders/"))
    [order] = (await orders.json())["orders"]
    painting = painting_module().Painting(painting_module().Parameters(**order["parameters"]))
    while not painting.is_finished:
        painting.paint_pass()
    source = await card.get_by_role("img").get_attribute("src") or ""
    shown = await (await page.request.get(urljoin(page.url, source))).body()
    assert shown == painting.picture()


@pytest.fixture
def cluster(tmp_path: Path, env: dict[str, str]) -> Iterator["Cluster"]:
    """The studio as `make studio REDIS=1` starts it: a server and two workers, on Redis."""
    with running_broker() as broker:
        env |= {"STUDIO_REDIS": broker.url, "STUDIO_LEASE": "1"}
        with Cluster(tmp_path, env) as cluster:
            yield cluster
    for log in tmp_path.glob("*.log"):
        assert "Traceback" not in log.read_text(), log.read_text()


class Cluster(ExitStack):
    """A server, and workers that one can kill."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__()
        self.server = self.enter_context(
            ServerProcess(SERVER, cwd=PROJECT, log=folder / "server.log", env=env)
        )
        self.workers = [
            self.enter_context(worker_process(folder / f"{name}.log", env))
            for name in ("first", "second")
        ]


@contextmanager
def worker_process(log: Path, env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "runtasks"], cwd=PROJECT, env=environment(**env),
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_a_killed_workers_picture_is_finished_by_the_other(
    browser: Browser, cluster: Cluster
) -> None:
    customers = People(browser, cluster.server)
    page = await customers.sign_in("ada", "/")
    card = await order(page, "Lagoon", "Whirls", detail=40, seed=11)
    await expect(card.locator(".passes")).to_have_text(
        re.compile(r"^Pass [23]\d "), timeout=PAINTED
    )
    first = await card.get_attribute("data-painter") or ""
    [killed] = [worker for worker in cluster.workers if f"-{worker.pid}-" in first]
    killed.kill()
    await expect(card).not_to_have_attribute("data-painter", first, timeout=PAINTED)
    second = await card.get_attribute("data-painter") or ""
    [other] = [worker for worker in cluster.workers if worker is not killed]
    assert f"-{other.pid}-" in second
    await expect_state(card, "Done")
    await expect_as_painted_without_interruption(page, card)
    assert customers.errors == []
