"""What is kept within a room, and that following a sheet's changes gives what looking at all of it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import CATALOG, size
from victron_twin.catalog.model import Cadence
from victron_twin.twin.fit import MARGIN, Fit
from victron_twin.twin.flat import Flat, Path
from victron_twin.twin.ledger import Ledger
from victron_twin.twin.sheet import Sheet

ROW = CATALOG.fields("victron-battery")[0]
CADENCES = [Cadence.CRITICAL, Cadence.NORMAL, Cadence.SLOW]

PATHS: list[Path] = [
    *((f"field{n}",) for n in range(6)),
    *(("devices", d, name) for d in ("279", "ä-1") for name in ("voltage", "current", "customName")),
    *(("pv", "trackers", n, "power") for n in "0123"),
]
VALUES = st.one_of(
    st.integers(-1000, 1000), st.floats(-100, 100), st.booleans(), st.text(max_size=40), st.just('say "ä"')
)


def sheet_of(values: Flat, followed: bool = True) -> Sheet:
    rows = {
        path: replace(ROW, priority=n % 10, cadence=CADENCES[n % 3], deadband=0.5 * (n % 2))
        for n, path in enumerate(PATHS)
        if path in values and n % 5
    }
    return Sheet(dict(values), rows, followed)


SHEETS = st.dictionaries(st.sampled_from(PATHS), VALUES, min_size=1)
CHANGES = st.lists(st.tuples(st.sampled_from(PATHS), VALUES, st.integers(0, 400)), max_size=30)


@settings(deadline=None)
@given(SHEETS, CHANGES)
def test_sizes_are_exact_and_within_the_room(values: Flat, changes: list[tuple[Path, Any, int]]) -> None:
    sheet, fit, room = sheet_of(values), Fit(), 400
    for path, value, less in changes:
        kept = fit.of(sheet, room - less)
        assert kept.keys() == sheet.values.keys() - fit.left_out
        assert not kept or fit._total == size(kept)
        assert not kept or size(kept) <= room - less
        assert all(kept[p] == sheet.values[p] for p in kept)
        if path in sheet.values:
            sheet.set(path, value)


def test_what_was_left_out_comes_back_only_with_room_to_spare() -> None:
    values: Flat = {("a",): "x" * 300, ("b",): "y" * 100}
    sheet = Sheet(values, {("b",): replace(ROW, priority=1)}, True)
    fit = Fit()
    fit.of(sheet, 400)
    assert fit.left_out == {("b",)}
    sheet.set(("a",), "x" * 280)
    fit.of(sheet, 400)
    assert fit.left_out == {("b",)}
    sheet.set(("a",), "x" * (400 - MARGIN - 130))
    assert fit.of(sheet, 400) is sheet.values


@settings(deadline=None)
@given(SHEETS, st.lists(st.tuples(st.sampled_from(PATHS), VALUES, st.sampled_from("lapsrf")), max_size=30))
def test_following_gives_what_looking_at_all_does(values: Flat, steps: list[tuple[Path, Any, str]]) -> None:
    """l: a look, a: a patch that is taken, p: one that is lost, s: more is set, r: read again, f: forgotten."""
    followed, plain = Ledger(limit=400), Ledger(limit=400)
    sheet, version = sheet_of(values), 0
    for path, value, step in steps:
        other = Sheet(dict(sheet.values), sheet.fields)
        one, two = followed.wanted(sheet), plain.wanted(other)
        if followed.left_out != plain.left_out:
            plain._fit.left_out = set(followed.left_out)
            two = plain.wanted(other)
        assert dict(one) == two
        if step == "l":
            assert [followed.due(sheet, one, c) for c in CADENCES] == [plain.due(other, two, c) for c in CADENCES]
        elif step in "ap":
            patch = followed.patch(one)
            assert patch == plain.patch(two)
            if patch is not None and step == "a":
                version += 1
                followed.accept(patch, version)
                plain.accept(patch, version)
        elif step == "r":
            for ledger in (followed, plain):
                ledger.load({"state": {"reported": ledger.reported()}, "version": version})
        elif step == "f":
            followed.forget([path])
            plain.forget([path])
        if path in sheet.values:
            sheet.set(path, value)
