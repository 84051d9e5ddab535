"""docs/catalogue.md is that of the tables."""

from __future__ import annotations

import re
from pathlib import Path

from victron_twin.catalog import load
from victron_twin.catalog.reference import reference

CATALOG = load()
MADE = reference(CATALOG)


def test_the_document_is_up_to_date() -> None:
    stored = Path(__file__).parents[2] / "docs" / "catalogue.md"
    assert stored.read_text(encoding="utf-8") == MADE, "python -m victron_twin.catalog.reference writes it anew"


def test_each_field_has_a_line() -> None:
    lines = [
        tuple(cell.strip() for cell in line.split(" |")[:3]) for line in MADE.splitlines() if line.startswith("| `")
    ]
    there = {(name.split("`")[1], title) for name, _, title in lines if title}
    assert {(f.name, f.title) for shadow in CATALOG.shadows for f in CATALOG.fields(shadow)} <= there


def test_links_lead_somewhere() -> None:
    headings = [
        re.sub(r"[^\w-]", "", h.lower().replace(" ", "-")) for h in re.findall(r"^#+ (.+)$", MADE, re.MULTILINE)
    ]
    assert set(re.findall(r"\]\(#([\w-]+)\)", MADE)) <= set(headings)
    assert len(headings) == len(set(headings))


def test_tables_are_whole() -> None:
    """Every line of a table has as many cells as the one above it."""
    width = 0
    for line in MADE.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not width or not cells or cells == width, line
        width = cells


def test_how_a_field_is_written() -> None:
    [line] = [line for line in MADE.splitlines() if line.startswith("| `manualStart` |")]
    assert "[manual_start](#manual_start) | | action | normal | `generator/ManualStart` |" in line
    assert "needs `vebus/ModeIsAdjustable=1`" in MADE
    assert "guarded: Off, Charger Only unless acIn.active is AC input 1 or AC input 2" in MADE
