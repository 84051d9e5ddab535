"""The page in a real browser, over the real service and a simulated GX."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser
from tests.service import Service, wait_until
from tests.support import needs

pytestmark = [pytest.mark.integration, needs("chromium")]

SIX = {f"victron-{kind}" for kind in ("system", "battery", "solarcharger", "vebus", "gps", "settings")}

#: The texts of every shadow: whether its top is live, its other states, its first rows.
SHADOWS = """
Object.fromEntries([...document.querySelectorAll("article")].map((card) => [card.dataset.shadow, {
  states: [...card.querySelectorAll(".state")].map((state) => state.textContent),
  old: card.querySelectorAll(".old").length,
  version: card.querySelector("h3 small").textContent,
  rows: Object.fromEntries([...card.querySelector("table").rows].map((row) =>
    [row.cells[0].textContent, row.cells[1].textContent])),
}]))
"""
LINKS = """
Object.fromEntries([...document.querySelectorAll("#links tbody tr")].map((row) =>
  [row.cells[0].textContent, row.cells[1].textContent]))
"""


class Page:
    def __init__(self, service: Service, browser: Browser) -> None:
        self.service = service
        self.browser = browser

    def shadows(self) -> dict[str, Any]:
        return dict(self.browser.evaluate(SHADOWS))

    def links(self) -> dict[str, str]:
        return dict(self.browser.evaluate(LINKS))

    @property
    def status(self) -> str:
        return str(self.browser.evaluate("document.getElementById('service').textContent"))

    def all_live(self) -> bool:
        shadows = self.shadows()
        return set(shadows) >= SIX and all(
            state.startswith("live since") for name in SIX for state in shadows[name]["states"]
        )

    def none_live(self) -> bool:
        return all(
            not state.startswith("live") and shadow["old"]
            for name, shadow in self.shadows().items()
            if name in SIX
            for state in shadow["states"]
        )

    def wait_until_live(self) -> None:
        wait_until(self.all_live, "all six are shown as live")

    def wait_until_it_changes(self, name: str, field: str) -> None:
        before = self.shadows()[name]["rows"][field]
        wait_until(lambda: self.shadows()[name]["rows"][field] != before, f"{field} of {name} changes")


@contextmanager
def opened(folder: Path) -> Iterator[Page]:
    with Service(folder, "--demo") as service, Browser(folder) as browser:
        service.wait_until_healthy()
        browser.open(f"{service.url}/")
        page = Page(service, browser)
        page.wait_until_live()
        yield page
        assert not browser.complaints


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """For tests that only look."""
    with opened(tmp_path_factory.mktemp("page")) as page:
        yield page


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """For tests after which nothing is as it was."""
    with opened(tmp_path) as page:
        yield page


def test_it_shows_all_six_and_follows_them(shared: Page) -> None:
    assert shared.status == "following live"
    (gx, gx_state), (shadows, shadows_state) = shared.links().items()
    assert gx.startswith("GX 127.0.0.1 ")
    assert (gx_state, shadows, shadows_state) == ("live", "Shadows local", "acknowledged")
    rows = {name: shadow["rows"] for name, shadow in shared.shadows().items()}
    assert rows["victron-battery"]["voltage"].endswith(" V")
    assert rows["victron-battery"]["soc"].endswith(" %")
    assert rows["victron-solarcharger"]["yield.today"].endswith(" kWh")
    assert rows["victron-vebus"]["mode"] == "On"
    assert rows["victron-gps"]["latitude"].endswith(" °")
    assert rows["victron-settings"]["timezone"]
    assert rows["victron-twin"]["gxLink"] == "live"
    shared.wait_until_it_changes("victron-system", "ac.consumption.l1")
    shared.wait_until_it_changes("victron-battery", "power")
    shared.wait_until_it_changes("victron-solarcharger", "pv.power")


def test_all_commands_are_switched_off_and_on_by_its_button(page: Page) -> None:
    def mode() -> str:
        return str(page.browser.evaluate("document.getElementById('mode').textContent"))

    button = "document.querySelector('#switch button')"
    wait_until(lambda: page.browser.evaluate(f"!{button}.disabled"), "no token is needed in the demo")
    assert mode() == "The cloud may do: allow-list"
    page.browser.evaluate(f"{button}.click()")
    wait_until(lambda: mode() == "The cloud may do: nothing, switched off by hand", "it is off")
    assert page.browser.evaluate(f"{button}.textContent") == "Switch commands on"
    page.browser.evaluate(f"{button}.click()")
    wait_until(lambda: mode() == "The cloud may do: allow-list", "it is on again")


def test_changes_leave_the_page_in_its_place(shared: Page) -> None:
    """Cells are changed where they are: what a reader has unfolded, selected and scrolled to stays."""
    shared.browser.screen(390, 844)
    shared.browser.evaluate("""
      window.kept = [...document.querySelectorAll("article, details, table, tr, td")];
      for (const details of document.querySelectorAll("details")) details.open = true;
      window.scrollTo(0, 1500);
      window.heights = document.documentElement.scrollHeight;
      getSelection().selectAllChildren(document.querySelector("[data-shadow=victron-gps] td"));
    """)
    shared.wait_until_it_changes("victron-battery", "power")
    shared.wait_until_it_changes("victron-system", "ac.consumption.l1")
    assert shared.browser.evaluate("window.kept.every((node) => node.isConnected)")
    assert shared.browser.evaluate("[...document.querySelectorAll('details')].every((details) => details.open)")
    assert shared.browser.evaluate("window.scrollY") == 1500
    assert shared.browser.evaluate("getSelection().anchorNode.isConnected")


def test_it_is_as_wide_as_the_screen(shared: Page) -> None:
    shared.browser.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    wide = "[...document.querySelectorAll('article, #links')].filter((e) => e.scrollWidth > e.clientWidth + 1).length"
    for width in (320, 390, 800, 1280):
        shared.browser.screen(width, 800)
        assert shared.browser.evaluate("document.documentElement.scrollWidth") <= width
        assert shared.browser.evaluate(wide) == 0


def test_its_parts_have_roles_and_names(shared: Page) -> None:
    tree = shared.browser.command("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node["name"]["value"]) for node in tree if "name" in node and "role" in node]
    assert ("heading", "Victron Twin") in named
    assert [node for node in tree if node.get("role", {}).get("value") == "status"]
    assert ("region", "Links") in named
    assert {role for role, name in named if name.startswith("Battery bank")} >= {"article", "heading", "table"}
    assert ("rowheader", "voltage") in named
    assert [name for role, name in named if role == "DisclosureTriangle" and name.endswith("further fields")]


def test_a_gx_that_falls_silent_leaves_nothing_live(page: Page) -> None:
    gx = page.service.gx()
    os.kill(gx, signal.SIGSTOP)
    wait_until(page.none_live, "nothing is shown as live", 25)
    assert "silent" in str(page.links())
    assert all("not live since" in state for name in SIX for state in page.shadows()[name]["states"])
    os.kill(gx, signal.SIGCONT)
    page.wait_until_live()


def test_a_gx_that_was_killed_is_told_of_and_comes_again(page: Page) -> None:
    os.kill(page.service.gx(), signal.SIGKILL)
    wait_until(lambda: "not connected" in str(page.links()), "the link is down")
    page.wait_until_live()
    assert page.status == "following live"
    wait_until(lambda: "'live'" in str(page.links()), "the link is up")


def test_a_service_that_has_ended_is_told_of_and_followed_again(page: Page, tmp_path: Path) -> None:
    page.service.process.kill()
    page.service.process.wait()
    wait_until(lambda: page.status == "the service does not answer", "the page says so", 20)
    assert page.none_live()
    assert set(page.links().values()) == {"unknown"}
    with Service(tmp_path, "--demo", port=page.service.port) as again:
        wait_until(lambda: page.status == "following live", "the page follows again")
        again.wait_until_healthy()
        page.wait_until_live()
        wait_until(lambda: "unknown" not in page.links().values(), "the links are shown")


def test_a_service_that_hangs_is_told_of(page: Page) -> None:
    os.kill(page.service.process.pid, signal.SIGSTOP)
    wait_until(lambda: page.status == "the service does not answer", "the page says so", 20)
    assert page.none_live()
    os.kill(page.service.process.pid, signal.SIGCONT)
    page.wait_until_live()
