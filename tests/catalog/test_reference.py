"""docs/catalogue.md and docs/writable.md are those of the tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import CATALOG
from victron_twin.catalog.reference import reference, writable

DOCS = Path(__file__).parents[2] / "docs"
MADE, WRITABLE = reference(CATALOG), writable(CATALOG)
PAGES = {"catalogue.md": MADE, "writable.md": WRITABLE}


@pytest.mark.parametrize("page", PAGES)
def test_the_document_is_up_to_date(page: str) -> None:
    stored = DOCS / page
    assert stored.read_text(encoding="utf-8") == PAGES[page], "python -m victron_twin.catalog.reference writes it anew"


def test_each_field_has_a_line() -> None:
    lines = [
        tuple(cell.strip() for cell in line.split(" |")[:3]) for line in MADE.splitlines() if line.startswith("| `")
    ]
    there = {(name.split("`")[1], title) for name, _, title in lines if title}
    assert {(f.name, f.title) for shadow in CATALOG.shadows for f in CATALOG.fields(shadow)} <= there


def test_links_lead_somewhere() -> None:
    headings = {
        page: [re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in re.findall(r"^#+ (.+)$", made, re.MULTILINE)]
        for page, made in PAGES.items()
    }
    for page, made in PAGES.items():
        links = re.findall(r"\]\(([\w.-]*)(?:#([\w-]+))?\)", made)
        assert links
        for target, heading in links:
            assert not target or (DOCS / target).is_file(), target
            assert not heading or heading in headings[target or page], heading
        assert len(headings[page]) == len(set(headings[page]))


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_whole(page: str) -> None:
    """Every line of a table has as many cells as the one above it."""
    width = 0
    for line in PAGES[page].splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not width or not cells or cells == width, line
        width = cells


def test_how_a_field_is_written() -> None:
    [line] = [line for line in MADE.splitlines() if line.startswith("| `manualStart` |")]
    assert "[manual_start](#manual_start) | | action | normal | `generator/ManualStart` |" in line
    assert "needs `vebus/ModeIsAdjustable=1`" in MADE
    assert "guarded: Off, Charger Only unless acIn.active is AC input 1 or AC input 2" in MADE


def test_everything_writable_has_a_line_and_nothing_else() -> None:
    tables = [part.splitlines()[2:] for part in re.split(r"^#+ .*$", WRITABLE, flags=re.MULTILINE)]
    lines = [line.split("`")[1] for table in tables[2:] for line in table if line.startswith("| `")]
    names = [n for s in CATALOG.shadows for f in CATALOG.fields(s) if f.writable for n in CATALOG.commands.rows(f)]
    assert len(names) >= sum(f.writable for s in CATALOG.shadows for f in CATALOG.fields(s))
    assert sorted(lines) == sorted(names)


@pytest.mark.parametrize(
    "line",
    [
        "| `redetectSystem` | action | No action (0), Redetect (1) | | | |",
        "| `input{input}.currentLimit` | setting | 0 to 100 A | `vebus/Ac/In/{input}/CurrentLimitIsAdjustable=1` | | |",
        "| `relays.0.state` | setting | Open (0), Closed (1) | `settings/Settings/Relay/Function=2` | | |",
        "| `relays.{relay}.state` | setting | Open (0), Closed (1) | `settings/Settings/Relay/{relay}/Function=2` "
        "| | |",
        "| `ess.minimumSoc` | setting | 0 to 100 % | | | yes |",
        "| `ess.schedules.{schedule}.start` | setting | whole, 0 to 86400 s | | | yes |",
        "| `settings.bmsPresent` | setting | true, false | | true | yes |",
        "| `settings.nominalVoltage` | setting | no bounds (V) | | all | yes |",
        "| `outputs.{output}.type` | setting | Momentary (0), Toggle (1), Dimmable (2), Temperature setpoint (3), "
        "... ([all 14](catalogue.md#output_type)) | | all | yes |",
        "| `systemName` | setting | text | | | yes |",
        "| `setpoints.grid` | setpoint, let go of to 50 | -32767 to 32767 W | | | |",
    ],
)
def test_what_may_be_desired(line: str) -> None:
    assert line in WRITABLE.splitlines()
